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
        attempts: Tries in all, the first included; at least 1. What surely did not run (it was
            throttled, say) is not a try.
        on_exceptions: Exception types (and their subclasses) of the call's own to retry after.
        backoff_s: Upper bound of the first wait, in seconds; doubled with each further try.
        backoff_ceiling_s: Upper bound of any wait, in seconds.
        total_s: Seconds after a call was first sent beyond which it is not tried again, waiting
            included; None for no bound.
    """

    attempts: int = DEFAULT_ATTEMPTS
    on_exceptions: tuple[type[BaseException], ...] = ()
    backoff_s: float = DEFAULT_BACKOFF_S
    backoff_ceiling_s: float = DEFAULT_BACKOFF_CEILING_S
    total_s: float | None = None

    def __post_init__(self) -> None:
        _require(self.attempts >= 1, "attempts must be at least 1")
        _require(self.backoff_s >= 0, "backoff_s must not be negative")
        _require(self.backoff_ceiling_s >= 0, "backoff_ceiling_s must not be negative")
        _require(self.total_s is None or self.total_s > 0, "total_s must be greater than 0")
        for kind in self.on_exceptions:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise TypeError(f"on_exceptions takes exception types, not {kind!r}")


@dataclass(frozen=True, slots=True)
class BackupPolicy:
    """Say when a slow attempt is given a second one beside it: the first to end counts.

    It mends stragglers, which are slow through no fault of their calls: a slow machine, a cold
    start, an Event that was put off. The calls run twice, so they should not mind that; what was
    slower is abandoned, and on this machine ended. Backups are sent where nothing else waits to be
    sent, one for each attempt.

    Args:
        done_share: Share of a job's calls that must have ended; those of equal functions count as
            one job.
        slow_factor: How many times as long as usual (the median, for as many calls) an attempt
            must have taken.
        least_s: Seconds that an attempt must have taken in any case.
        most_share: Backups, as a share of the job's calls, but one at least.
    """

    done_share: float = 0.75
    slow_factor: float = 3.0
    least_s: float = 0.5
    most_share: float = 0.1

    def __post_init__(self) -> None:
        _require(0 < self.done_share <= 1, "done_share must be greater than 0 and at most 1")
        _require(self.slow_factor > 1, "slow_factor must be greater than 1")
        _require(self.least_s >= 0, "least_s must not be negative")
        _require(0 < self.most_share <= 1, "most_share must be greater than 0 and at most 1")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bound what one call may use; None leaves it to the backend.

    Args:
        time_s: Seconds that one call may run before it is ended with `CallTimeout`.
        memory_mb: Resident memory, in MiB, of a worker before it is ended with `OutOfMemory`;
            threads of the memory backend have no such limit.
    """

    time_s: float | None = None
    memory_mb: int | None = None

    def __post_init__(self) -> None:
        if self.time_s is not None:
            _require(0 < self.time_s < math.inf, "time_s must be greater than 0 and finite")
        _require(self.memory_mb is None or self.memory_mb > 0, "memory_mb must be greater than 0")
