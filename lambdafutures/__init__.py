"""ProcessPoolExecutor, with AWS Lambda for processes.

::

    from lambdafutures import LambdaPoolExecutor

    with LambdaPoolExecutor() as ex:
        for y in ex.map(f, xs):
            ...

Nothing is imported until it is used: ``import lambdafutures`` costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdafutures.events import Observer as Observer
    from lambdafutures.executor import LambdaPoolExecutor as LambdaPoolExecutor
    from lambdafutures.futures import (
        ALL_COMPLETED as ALL_COMPLETED,
    )
    from lambdafutures.futures import (
        FIRST_COMPLETED as FIRST_COMPLETED,
    )
    from lambdafutures.futures import (
        FIRST_EXCEPTION as FIRST_EXCEPTION,
    )
    from lambdafutures.futures import (
        BrokenExecutor as BrokenExecutor,
    )
    from lambdafutures.futures import (
        CancelledError as CancelledError,
    )
    from lambdafutures.futures import (
        LambdaFuture as LambdaFuture,
    )
    from lambdafutures.futures import (
        as_completed as as_completed,
    )
    from lambdafutures.futures import (
        wait as wait,
    )
    from lambdafutures.jobs import JobHandle as JobHandle
    from lambdafutures.observability.stats import Statistics as Statistics
    from lambdafutures.options import BackupPolicy as BackupPolicy
    from lambdafutures.options import Limits as Limits
    from lambdafutures.options import RetryPolicy as RetryPolicy

__version__ = "0.1.0"

_HOMES = {
    "ALL_COMPLETED": "futures",
    "FIRST_COMPLETED": "futures",
    "FIRST_EXCEPTION": "futures",
    "BackupPolicy": "options",
    "BrokenExecutor": "futures",
    "CancelledError": "futures",
    "JobHandle": "jobs",
    "LambdaFuture": "futures",
    "LambdaPoolExecutor": "executor",
    "Limits": "options",
    "Observer": "events",
    "RetryPolicy": "options",
    "Statistics": "observability.stats",
    "as_completed": "futures",
    "wait": "futures",
}

__all__ = [
    "__version__",
    *sorted(_HOMES),
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
