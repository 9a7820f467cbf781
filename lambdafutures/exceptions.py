"""Every exception that lambdafutures raises.

Those that are also a `concurrent.futures.process.BrokenProcessPool`, so that existing ``except``
clauses keep working, are made on first use: importing that class costs more than the whole worker.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdafutures._pool_errors import (
        BackendError,
        InitializerFailed,
        NotLoadable,
        OutOfMemory,
        WorkerDied,
    )

__all__ = [
    "BackendError",
    "BlobMissing",
    "CallTimeout",
    "DeploymentNotFound",
    "InitializerFailed",
    "JobNotFound",
    "LambdaFuturesError",
    "MissingExtra",
    "NotLoadable",
    "OutOfMemory",
    "PackageError",
    "RemoteError",
    "WireError",
    "WorkerDied",
]

_POOL_ERRORS = frozenset(
    {"BackendError", "InitializerFailed", "NotLoadable", "OutOfMemory", "WorkerDied"}
)


class LambdaFuturesError(Exception):
    """Be the base of every error that is ours."""


class DeploymentNotFound(LambdaFuturesError):
    """Say that the AWS backend was asked for and nothing has been deployed."""


class MissingExtra(LambdaFuturesError, ImportError):
    """Say which optional package is missing, and the command that installs it."""


class PackageError(LambdaFuturesError):
    """Say which package or module client and worker do not share, and what mends it."""


class WireError(LambdaFuturesError):
    """Say that client and worker do not speak the same version, or that a message is damaged."""


class BlobMissing(LambdaFuturesError):
    """Say that a function or argument blob is not where its reference points."""


class JobNotFound(LambdaFuturesError):
    """Say that there is no job of that handle, or not all of it any more."""


class CallTimeout(LambdaFuturesError, TimeoutError):
    """Say that a call ran longer than its time limit and was ended."""


class RemoteError(LambdaFuturesError):
    """Stand in for an exception of the call's own that cannot travel.

    Its message holds the type and text of the original, its cause the remote traceback.

    Args:
        type_name: Qualified name of the original's type.
        message: Text of the original.
    """

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(type_name, message)
        self.type_name = type_name
        self.message = message

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}"


def __getattr__(name: str) -> object:
    if name in _POOL_ERRORS:
        from lambdafutures import _pool_errors

        return getattr(_pool_errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
