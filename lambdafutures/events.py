"""What happened, as frozen data, and who may watch.

Events are delivered in order, on a thread of their own: a slow observer delays no call, and one
that raises is logged and goes on receiving.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class CallsSubmitted:
    """Tell that calls were handed to the executor.

    Args:
        chunk: Number of the chunk that they travel in.
        calls: How many.
        time_s: When, in seconds since the epoch.
    """

    chunk: int
    calls: int
    time_s: float


@dataclass(frozen=True, slots=True)
class AttemptSent:
    """Tell that an attempt at a chunk was handed to the backend.

    Args:
        chunk: Number of the chunk.
        attempt: Number of the attempt, from 1.
        time_s: When, in seconds since the epoch.
    """

    chunk: int
    attempt: int
    time_s: float


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """Tell that an attempt is over.

    Args:
        chunk: Number of the chunk.
        attempt: Number of the attempt, from 1.
        time_s: When its outcome reached the client, in seconds since the epoch.
        setup_s: Seconds from its arrival at the worker to the first call.
        run_s: Seconds that its calls ran, added up.
        peak_memory_bytes: The worker's peak resident memory.
        fault: What ended it early, as a sentence, or None.
    """

    chunk: int
    attempt: int
    time_s: float
    setup_s: float
    run_s: float
    peak_memory_bytes: int
    fault: str | None


@dataclass(frozen=True, slots=True)
class CallsEnded:
    """Tell that all calls of a chunk have ended.

    Args:
        chunk: Number of the chunk.
        calls: How many calls it has.
        failed: How many of them ended in an exception.
        cancelled: The chunk was cancelled before it was sent.
        time_s: When, in seconds since the epoch.
    """

    chunk: int
    calls: int
    failed: int
    cancelled: bool
    time_s: float


@dataclass(frozen=True, slots=True)
class ExecutorClosed:
    """Tell that the executor has ended and nothing more follows.

    Args:
        time_s: When, in seconds since the epoch.
    """

    time_s: float


Event: TypeAlias = CallsSubmitted | AttemptSent | AttemptEnded | CallsEnded | ExecutorClosed


class Observer(Protocol):
    """Watch an executor: ``LambdaPoolExecutor(observers=[observer])``."""

    def on_event(self, event: Event, /) -> None:
        """Take note of an event.

        Args:
            event: What happened.
        """
