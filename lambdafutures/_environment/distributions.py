"""Which installed package a module belongs to, and which others that package requires."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import metadata

from lambdafutures._environment.origins import PROVIDED
from lambdafutures._environment.requirements import Request, normalised

_REQUIRED = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_EXTRA = re.compile(r"\bextra\s*==")

# What Lambda's Python has besides the standard library: the AWS SDK and what it requires.
IN_LAMBDA = frozenset(
    {"boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3"}
)


@lru_cache(1)
def _owners() -> dict[str, list[str]]:
    with warnings.catch_warnings():
        # What is left over from a removal has no name, which Python 3.12 and later warn of.
        warnings.simplefilter("ignore", DeprecationWarning)
        found = metadata.packages_distributions()
    return {
        module: sorted({normalised(name) for name in names if name})
        for module, names in found.items()
    }


def owners(module: str) -> Sequence[str]:
    """Return the packages that a module may belong to: several share a namespace.

    Args:
        module: Its full name.
    """
    return _owners().get(module.partition(".")[0], ())


def owners_of_file(module: str) -> Sequence[str]:
    """Return the packages that a module may belong to, by its file where a namespace is shared.

    Args:
        module: Its full name.
    """
    names = owners(module)
    return [name for name in names if _has(name, module)] or names if len(names) > 1 else names


def _has(name: str, module: str) -> bool:
    path = module.replace(".", "/")
    try:
        files = metadata.files(name) or ()
    except metadata.PackageNotFoundError:
        return False
    return any(file.as_posix().startswith((f"{path}.", f"{path}/")) for file in files)


def version(name: str) -> str | None:
    """Return the version of a package in this process; None if it is not installed.

    Args:
        name: The package's name.
    """
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def pinned(names: Iterable[str], without: Sequence[str] = ()) -> Request:
    """Return a request for installed packages in the versions that they have here.

    What they require is held to this process's versions, too.

    Args:
        names: Normalised names.
        without: Names of packages that workers have already.
    """
    wanted = sorted(set(names) - set(without) - PROVIDED)
    pins = [f"{name}=={version(name)}" for name in wanted if version(name) is not None]
    around = _required(wanted) - set(wanted) - PROVIDED
    constraints = [f"{name}=={version(name)}" for name in sorted(around) if version(name)]
    return Request(tuple(pins), tuple(constraints), tuple(sorted(without)))


def _required(names: Iterable[str]) -> set[str]:
    """Return what packages require, on whatever condition, less what only extras do."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        try:
            lines = metadata.requires(pending.pop()) or []
        except metadata.PackageNotFoundError:
            continue
        for line in lines:
            match = _REQUIRED.match(line)
            if match and not _EXTRA.search(line):
                name = normalised(match[1])
                if name not in found:
                    found.add(name)
                    pending.append(name)
    return found
