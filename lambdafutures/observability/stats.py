"""The figures of an executor: what has happened so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lambdafutures._backends.base import InvokerStatistics

if TYPE_CHECKING:
    from lambdafutures._engine.session import Session


@dataclass(frozen=True, slots=True)
class Statistics:
    """Tell what an executor has done.

    Args:
        calls_submitted: Calls taken.
        calls_done: Calls that ended, the failed ones included.
        calls_failed: Calls that ended in an exception.
        calls_cancelled: Calls that were cancelled before they were sent.
        chunks_open: Chunks that have not ended.
        attempts: Attempts sent.
        attempts_in_flight: Attempts under way.
        retries: How often calls were tried again.
        backups: Attempts that were sent beside one that was slow.
        workers_started: Workers started.
        workers_alive: Workers alive now.
        run_s: Seconds that calls ran, added up.
        setup_s: Seconds of set-up in workers (unpickling, imports), added up.
        away_s: Seconds from sending attempts to receiving their outcomes, added up.
        requests: Requests to AWS by operation.
        fetched_bytes: Length of the modules and packages that workers fetched.
    """

    calls_submitted: int = 0
    calls_done: int = 0
    calls_failed: int = 0
    calls_cancelled: int = 0
    chunks_open: int = 0
    attempts: int = 0
    attempts_in_flight: int = 0
    retries: int = 0
    backups: int = 0
    workers_started: int = 0
    workers_alive: int = 0
    run_s: float = 0.0
    setup_s: float = 0.0
    away_s: float = 0.0
    requests: Mapping[str, int] = field(default_factory=dict)
    fetched_bytes: int = 0

    @property
    def setup_share(self) -> float:
        """The share of calls' time that was not their own: start-up, transport, unpickling.

        From 0 to 1; of the time from sending to the outcome, what no call ran.
        """
        return max(0.0, 1.0 - self.run_s / self.away_s) if self.away_s > 0 else 0.0

    @classmethod
    def of(cls, session: Session | None, invoker: InvokerStatistics) -> Statistics:
        """Take the figures of a session and its invoker.

        Args:
            session: The session; None if none was started.
            invoker: What the invoker counted.
        """
        if session is None:
            return cls()
        counters = session.counters
        return cls(
            calls_submitted=counters.calls_submitted,
            calls_done=counters.calls_done,
            calls_failed=counters.calls_failed,
            calls_cancelled=counters.calls_cancelled,
            chunks_open=session.open_chunks,
            attempts=counters.attempts,
            attempts_in_flight=session.attempts_in_flight,
            retries=session.retries,
            backups=session.backups,
            workers_started=invoker.workers_started,
            workers_alive=invoker.workers_alive,
            run_s=counters.run_s,
            setup_s=counters.setup_s,
            away_s=counters.away_s,
            requests=dict(invoker.requests),
            fetched_bytes=counters.fetched_bytes,
        )
