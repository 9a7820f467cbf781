"""Which backend: the argument, the environment, a deployment that was set up, else local."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NamedTuple

from lambdafutures._backends.base import Invoker
from lambdafutures.deployment import DEPLOY_COMMAND, find_deployment, path_of
from lambdafutures.exceptions import DeploymentNotFound
from lambdafutures.options import Limits

BACKENDS = ("local", "aws")
# What AWS allows a region of an account at first (Lambda quotas); deployment asks for the real one.
LAMBDA_CONCURRENCY = 1000
BACKEND_VARIABLE = "LAMBDAFUTURES_BACKEND"


class Choice(NamedTuple):
    """Say which backend was chosen, and why.

    Args:
        name: The backend's name.
        reason: What decided, in words.
    """

    name: str
    reason: str


def choose_backend(argument: str | None, environ: Mapping[str, str] | None = None) -> Choice:
    """Return the backend to use.

    Args:
        argument: The executor's `backend`, or None.
        environ: Environment variables; the process's own by default.

    Raises:
        ValueError: If there is no backend of that name.
    """
    environ = os.environ if environ is None else environ
    if argument is not None:
        return _checked(argument, f"backend={argument!r} was given")
    named = environ.get(BACKEND_VARIABLE)
    if named:
        return _checked(named, f"{BACKEND_VARIABLE}={named}")
    deployment = find_deployment(environ=environ)
    if deployment is not None:
        return Choice("aws", f"deployment {deployment.name!r} is set up")
    return Choice("local", f"nothing is deployed (see `{DEPLOY_COMMAND}`)")


def _checked(name: str, reason: str) -> Choice:
    if name not in BACKENDS:
        known = " or ".join(repr(backend) for backend in BACKENDS)
        raise ValueError(f"{reason}, but there is no such backend: use {known}")
    return Choice(name, reason)


def default_max_workers() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def connect(
    choice: Choice, max_workers: int | None, limits: Limits, max_tasks_per_child: int | None
) -> tuple[Invoker, int]:
    """Return the chosen backend's invoker, and how many workers there are.

    Args:
        choice: The backend.
        max_workers: What the user asked for; None for the backend's own number.
        limits: What a call may use.
        max_tasks_per_child: Chunks after which a local worker is replaced.

    Raises:
        DeploymentNotFound: If the backend is AWS and nothing is deployed.
        RuntimeError: If this system cannot run the local backend.
    """
    if choice.name == "aws":
        return _connect_aws(choice, max_workers)
    if sys.platform == "win32":
        raise RuntimeError(
            "the local backend needs Unix sockets that pass descriptors, which Windows lacks; "
            "use it in WSL, or backend='aws'"
        )
    from lambdafutures._backends.process_invoker import ProcessInvoker

    workers = max_workers or default_max_workers()
    return ProcessInvoker(workers, limits, max_tasks_per_child), workers


def _connect_aws(choice: Choice, max_workers: int | None) -> tuple[Invoker, int]:
    deployment = find_deployment()
    if deployment is None:
        raise DeploymentNotFound(
            f"{choice.reason}, but no deployment is remembered at {path_of('lambdafutures')}: run "
            f"`{DEPLOY_COMMAND}` first, or use backend='local'"
        )
    from lambdafutures._backends.lambda_invoker import LambdaInvoker

    workers = max_workers or deployment.concurrency or LAMBDA_CONCURRENCY
    return LambdaInvoker(deployment, workers), workers
