"""Whether an executor's calls need an environment of their own, and which."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lambdafutures._environment.environment import Environment
    from lambdafutures._environment.requirements import Requirements
    from lambdafutures.deployment import Deployment


# The backend whose workers are threads of this process: they have what it has.
MEMORY = "memory"


def choose(
    backend: str,
    deployment: Deployment | None,
    serializer: str,
    wanted: Sequence[str | os.PathLike[str] | ModuleType] = (),
    exclude: Sequence[str] = (),
    requirements: Requirements | None = None,
) -> Environment | None:
    """Return what watches over an executor's environment; None if its workers have the client's.

    Args:
        backend: Name of the backend.
        deployment: Where the workers are; None on this machine.
        serializer: Who pickles what plain pickle cannot.
        wanted: Modules, files and folders that travel in any case.
        exclude: What does not travel.
        requirements: Packages that travel: requirements, a file of them, or ``"auto"``.

    Raises:
        ValueError: If `wanted` or `requirements` names what does not exist.
    """
    is_plain = requirements is None and not wanted and not exclude
    if backend == MEMORY or (deployment is None and is_plain):
        return None
    from lambdafutures._environment import distributions, modules
    from lambdafutures._environment.environment import Environment
    from lambdafutures._environment.packages import Packages
    from lambdafutures._environment.requirements import AUTO, read
    from lambdafutures._environment.target import Target

    named = [modules.named_by_user(each) for each in wanted]
    request = requirements if requirements is None or requirements == AUTO else read(requirements)
    if deployment is None:
        if requirements is None:
            return None  # workers have the client's path, and with it all that was named
        target = Target.here()
        packages = Packages(target, request, {}, is_here=True)
    else:
        python = deployment.python or f"{sys.version_info.major}.{sys.version_info.minor}"
        target = Target.of_lambda(python, deployment.arch)
        deployed = deployment.packages
        if deployed is not None:
            deployed = dict.fromkeys(distributions.IN_LAMBDA, "") | dict(deployed)
        packages = Packages(target, request, deployed, is_here=False)
    return Environment(
        serializer,
        target,
        packages,
        is_here=deployment is None,
        wanted=named,
        exclude=exclude,
    )
