"""The packages that an executor's workers have: those of the deployment, and those that travel."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from lambdafutures._environment import checks, distributions, runtimes
from lambdafutures._environment.reach import Need
from lambdafutures._environment.requirements import AUTO, Request
from lambdafutures._environment.runtimes import Runtime
from lambdafutures._environment.target import Target
from lambdafutures._wire.bundle import Bundle


class Packages:
    """Provide packages, and refuse what workers will not have.

    Args:
        target: What they are for.
        request: What is to travel: a request, ``"auto"``, or None for nothing.
        deployed: Version of each package that workers have anyway; None if nobody knows.
        is_here: Workers are on this machine: packages are unpacked for them.
    """

    def __init__(
        self,
        target: Target,
        request: Request | str | None,
        deployed: Mapping[str, str] | None,
        *,
        is_here: bool,
    ) -> None:
        self._target = target
        self._request = request
        self._is_here = is_here
        self._is_all_known = deployed is not None
        self.known: dict[str, str] = dict(deployed or {})
        """Version of each package that workers are known to have, by its normalised name."""
        self.bundles: tuple[Bundle, ...] = ()
        """The packages that travel."""

    def open(self) -> None:
        """Have what was asked for.

        Raises:
            PackageError: If it cannot be had.
        """
        if isinstance(self._request, Request):
            self._add(self._request)

    def take(self, needs: Iterable[Need], carried: Collection[str]) -> None:
        """See to it that workers have what is reached.

        Args:
            needs: Modules of installed packages that are reached.
            carried: Modules whose functions, classes or objects a pickle holds.

        Raises:
            PackageError: If they cannot have it.
        """
        found = list(needs)
        if self._request == AUTO and found:
            lacking = {name for need in found for name in self._wanted_for(need)}
            if lacking - set(self.known):
                self._add(distributions.pinned(lacking, sorted(self.known)))
        checks.check(found, carried, self.known, is_all_known=self._is_all_known)

    def _wanted_for(self, need: Need) -> Iterable[str]:
        # What is imported on some condition only is taken along where the client has imported it.
        if need.is_certain or _is_loaded(need.module):
            yield from distributions.owners(need.module)

    def _add(self, request: Request) -> None:
        runtime: Runtime = runtimes.provide(request, self._target)
        if not runtime.packages:
            return
        if self._is_here:
            runtimes.make_ready(runtime)
        self.known |= runtime.packages
        self.bundles = (*self.bundles, runtime.bundle)


def _is_loaded(module: str) -> bool:
    import sys

    return module.partition(".")[0] in sys.modules
