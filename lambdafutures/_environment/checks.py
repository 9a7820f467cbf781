"""Where client and worker differ in packages: refused before a call runs, if it can be known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lambdafutures._environment import distributions
from lambdafutures._environment.reach import Need
from lambdafutures.exceptions import PackageError

_REMEDY = (
    "name it in LambdaPoolExecutor(requirements=[{pin!r}]), let requirements='auto' find what is "
    "needed, or run `lambdafutures deploy --requirements FILE` with it"
)


def check(
    needs: Iterable[Need],
    carried: Iterable[str],
    packages: Mapping[str, str],
    *,
    is_all_known: bool,
) -> None:
    """Refuse what no worker could import, and data of a package in two versions.

    Args:
        needs: Modules of installed packages that are reached.
        carried: Modules whose functions, classes or objects a pickle holds.
        packages: Version of each package that workers are known to have.
        is_all_known: They have no others.

    Raises:
        PackageError: If a package is missing, or differs; says which, where, and what mends it.
    """
    for need in needs:
        if need.is_certain and is_all_known:
            _check_present(need, packages)
    for module in sorted(carried):
        _check_version(module, packages)


def _check_present(need: Need, packages: Mapping[str, str]) -> None:
    names = distributions.owners(need.module)
    if not names or any(name in packages for name in names):
        return
    name = names[0]
    here = distributions.version(name)
    remedy = _REMEDY.format(pin=f"{name}=={here}")
    raise PackageError(
        f"the worker lacks the package {name}, which the client has as {here} and the call needs: "
        f"it imports {need.module} ({need.reason}); {remedy}"
    )


def _check_version(module: str, packages: Mapping[str, str]) -> None:
    for name in distributions.owners_of_file(module):
        there, here = packages.get(name), distributions.version(name)
        if there and here and there != here:  # (of what Lambda brings, no version is known)
            raise PackageError(
                f"the call carries objects of {module}, from {name} {here} in the client, and the "
                f"worker has {name} {there}: what one version pickles another may misread; run "
                f"`pip install {name}=={there}` here, name '{name}=={here}' in requirements=[...], "
                "or hand over plain data"
            )
