"""Which backend: the argument, the environment, a deployment that was set up, else local."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lambdafutures._backends.base import Invoker, Store
from lambdafutures.deployment import (
    DEFAULT_NAME,
    DEPLOY_COMMAND,
    JSON_VARIABLE,
    Deployment,
    find_deployment,
    path_of,
)
from lambdafutures.exceptions import DeploymentNotFound, MissingExtra
from lambdafutures.options import Limits

BACKENDS = ("local", "memory", "aws")
# What AWS allows a region of an account at first (Lambda quotas); deployment asks for the real one.
LAMBDA_CONCURRENCY = 1000
# Set by Lambda in every worker, and nowhere else.
LAMBDA_VARIABLE = "AWS_LAMBDA_FUNCTION_NAME"
BACKEND_VARIABLE = "LAMBDAFUTURES_BACKEND"


class Choice(NamedTuple):
    """Say which backend was chosen, and why.

    Args:
        name: The backend's name.
        reason: What decided, in words.
    """

    name: str
    reason: str


class Connection(NamedTuple):
    """Hold a backend that was chosen.

    Args:
        invoker: What runs attempts.
        max_workers: How many run at once.
        environment: Environment variables that workers need to open executors of their own.
        is_here: Workers are on this machine, and import what it can.
        sizes_mb: Memory of the workers that there are, in MiB; empty where they come in one size.
        deployment: What it uses on AWS; None on this machine.
        store: The store that it uses, if any.
    """

    invoker: Invoker
    max_workers: int
    environment: Mapping[str, str]
    is_here: bool
    sizes_mb: Sequence[int] = ()
    deployment: Deployment | None = None
    store: Store | None = None


@dataclass(frozen=True, slots=True)
class OnAws:
    """Hold what a user wishes of the AWS backend alone.

    Args:
        deployment: Name of the deployment; by default the one that is found.
        completion: How outcomes come home.
        memory_mb: Which of the deployment's functions; by default the smallest.
        key: A durable job's signing key; by default nothing is durable.
        known: The deployment itself, where it need not be looked for.
    """

    deployment: str | None = None
    completion: str = "auto"
    memory_mb: int | None = None
    key: bytes | None = field(default=None, repr=False)
    known: Deployment | None = None


def choose_backend(
    argument: str | None,
    environ: Mapping[str, str] | None = None,
    deployment_name: str | None = None,
) -> Choice:
    """Return the backend to use.

    Args:
        argument: The executor's `backend`, or None.
        deployment_name: The executor's `deployment`, or None; naming one chooses AWS.
        environ: Environment variables; the process's own by default.

    Raises:
        ValueError: If there is no backend of that name.
    """
    environ = os.environ if environ is None else environ
    if argument is not None:
        return _checked(argument, f"backend={argument!r} was given")
    if deployment_name is not None:
        return Choice("aws", f"deployment={deployment_name!r} was given")
    named = environ.get(BACKEND_VARIABLE)
    if named:
        return _checked(named, f"{BACKEND_VARIABLE}={named}")
    deployment = find_deployment(environ=environ)
    if deployment is not None:
        return Choice("aws", f"deployment {deployment.name!r} is set up")
    return Choice("local", f"nothing is deployed (see `{DEPLOY_COMMAND}`)")


def _checked(name: str, reason: str) -> Choice:
    if name not in BACKENDS:
        known = ", ".join(repr(backend) for backend in BACKENDS)
        raise ValueError(f"{reason}, but there is no such backend: use one of {known}")
    return Choice(name, reason)


def default_max_workers() -> int:
    """Return how many processors this process may use."""
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1  # heeds `-X cpu_count` and $PYTHON_CPU_COUNT too
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def connect(
    choice: Choice,
    max_workers: int | None,
    limits: Limits,
    max_tasks_per_child: int | None,
    on_aws: OnAws = OnAws(),
) -> Connection:
    """Return the chosen backend.

    Args:
        choice: The backend.
        max_workers: What the user asked for; None for the backend's own number.
        limits: What a call may use.
        max_tasks_per_child: Chunks after which a worker of this machine is replaced.
        on_aws: What is wished of the AWS backend.

    Raises:
        ValueError: If the deployment has no function of the memory that was asked for.
        DeploymentNotFound: If the backend is AWS and nothing is deployed.
        MissingExtra: If the backend is AWS and the library that speaks to it is missing.
        RuntimeError: If this system cannot run the local backend.
    """
    if choice.name == "aws":
        return _connect_aws(choice, max_workers, limits, on_aws)
    workers = max_workers or default_max_workers()
    if choice.name == "memory":
        from lambdafutures._backends.memory_invoker import MemoryInvoker

        return Connection(MemoryInvoker(workers, max_tasks_per_child), workers, {}, True)
    if sys.platform == "win32":
        raise RuntimeError(
            "the local backend needs Unix sockets that pass descriptors, which Windows lacks; "
            "use it in WSL, or backend='aws'"
        )
    from lambdafutures._backends.process_invoker import ProcessInvoker

    return Connection(ProcessInvoker(workers, limits, max_tasks_per_child), workers, {}, True)


def _connect_aws(
    choice: Choice, max_workers: int | None, limits: Limits, on_aws: OnAws
) -> Connection:
    deployment = on_aws.known or find_deployment(on_aws.deployment)
    if deployment is None:
        raise DeploymentNotFound(
            f"{choice.reason}, but no deployment is remembered at "
            f"{path_of(on_aws.deployment or DEFAULT_NAME)}: run "
            f"`{DEPLOY_COMMAND}` first, or use backend='local'"
        )
    try:
        from lambdafutures._backends.lambda_invoker import LambdaInvoker
    except ModuleNotFoundError as error:
        raise MissingExtra(_how_to_get(error.name or "aiobotocore")) from error
    workers = max_workers or deployment.concurrency or LAMBDA_CONCURRENCY
    # A worker has no file that remembers the deployment.
    environment = {JSON_VARIABLE: deployment.to_json()}
    invoker = LambdaInvoker(
        deployment, workers, on_aws.completion, on_aws.memory_mb, limits.memory_mb, on_aws.key
    )
    sizes_mb = sorted(deployment.functions)
    return Connection(invoker, workers, environment, False, sizes_mb, deployment, invoker.store)


def _how_to_get(module: str) -> str:
    if LAMBDA_VARIABLE in os.environ:
        return (
            f"an executor opened in a Lambda worker needs {module}, which this deployment leaves "
            f"out: run `{DEPLOY_COMMAND} --nested`, or use backend='local' there"
        )
    return f"the AWS backend needs {module}: run `pip install lambdafutures` again"
