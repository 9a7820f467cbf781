"""What a user may choose: frozen dataclasses, checked when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Three tries mend a passing fault; a call that has killed three workers will kill the fourth.
DEFAULT_ATTEMPTS = 3
# Full jitter between zero and these grows the wait twofold per try (AWS Architecture Blog,
# "Exponential Backoff And Jitter", 2015).
DEFAULT_BACKOFF_S = 0.2
DEFAULT_BACKOFF_CEILING_S = 20.0


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Say how often a call is tried, and after which faults.

    Faults of the infrastructure (a worker that died, a lost invocation) are always retried up to
    `attempts`; an exception that the call itself raised only if its type is named.

    Args:
        attempts: Tries in all, the first included; at least 1.
        on_exceptions: Exception types (and their subclasses) of the call's own to retry after.
        backoff_s: Upper bound of the first wait, in seconds; doubled with each further try.
        backoff_ceiling_s: Upper bound of any wait, in seconds.
    """

    attempts: int = DEFAULT_ATTEMPTS
    on_exceptions: tuple[type[BaseException], ...] = ()
    backoff_s: float = DEFAULT_BACKOFF_S
    backoff_ceiling_s: float = DEFAULT_BACKOFF_CEILING_S

    def __post_init__(self) -> None:
        _require(self.attempts >= 1, "attempts must be at least 1")
        _require(self.backoff_s >= 0, "backoff_s must not be negative")
        _require(self.backoff_ceiling_s >= 0, "backoff_ceiling_s must not be negative")
        for kind in self.on_exceptions:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise TypeError(f"on_exceptions takes exception types, not {kind!r}")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bound what one call may use; None leaves it to the backend.

    Args:
        time_s: Seconds that one call may run before it is ended with `CallTimeout`.
        memory_mb: Resident memory, in MiB, of a worker before it is ended with `OutOfMemory`.
    """

    time_s: float | None = None
    memory_mb: int | None = None

    def __post_init__(self) -> None:
        if self.time_s is not None:
            _require(0 < self.time_s < math.inf, "time_s must be greater than 0 and finite")
        _require(self.memory_mb is None or self.memory_mb > 0, "memory_mb must be greater than 0")
