"""What the client says of its own workers, be they processes or threads: it is their supervisor."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from lambdafutures._wire import outcome
from lambdafutures._wire.journal import IDLE
from lambdafutures._wire.outcome import Fault
from lambdafutures._wire.payload import Payload

# Everything is inline: nothing that goes to a worker of this machine needs a store.
NO_LIMIT_BYTES = 2**63


class ReadableJournal(Protocol):
    """What a supervisor asks a runner's journal when it judges a time limit."""

    def running(self, chunk: int, attempt: int) -> tuple[int, float]:
        """Return which call of an attempt runs, and since when."""


def time_left(
    journal: ReadableJournal, chunk: int, attempt: int, limit_s: float, now_s: float
) -> tuple[float, int]:
    """Return for how many seconds an attempt's running call may go on, and which call that is.

    Args:
        journal: The journal of its worker.
        chunk: Number of its chunk.
        attempt: Its number.
        limit_s: Seconds that a call may run.
        now_s: The time, by the monotonic clock.
    """
    call, started_s = journal.running(chunk, attempt)
    # What still waits, for its worker to boot or to get that far, has no call to judge.
    return (limit_s if call == IDLE else started_s + limit_s - now_s), call


def overran(call: int, limit_s: float) -> str:
    """Say what a call did that had no time left.

    Args:
        call: Its index in the chunk, or `SETUP`.
        limit_s: Seconds that it might run.
    """
    what = "was still being set up" if call < 0 else "had not returned"
    return f"{what} after its time limit of {limit_s:g} s"


def initializer_failed(described: dict[str, Any]) -> Exception:
    """Return the error of an executor whose initializer has raised.

    Args:
        described: The exception as `remote_error.describe` tells it.
    """
    from lambdafutures.exceptions import InitializerFailed

    return InitializerFailed(
        f"the initializer raised in a worker: {described['type']}: {described['message']}"
        f"\n\n{described['traceback']}"
    )


class Doom(NamedTuple):
    """Say why a worker is ended.

    Args:
        kind: Kind of the fault.
        message: What happened, as a sentence.
        payload: What it is ended for; None for whatever it runs.
        call: The call that ran, as the journal names it.
    """

    kind: str
    message: str
    payload: Payload | None
    call: int | None

    def fault_of(self, payload: Payload, call: int, running: int | None) -> Fault:
        """Return the fault of a payload that the worker held.

        Args:
            payload: The payload.
            call: Its call that ran at the end, as the journal names it.
            running: The same for the fault: None if none ran.
        """
        if self.payload is None or (self.payload is payload and self.call == call):
            return Fault(self.kind, self.message, running)
        # It began between the judgement on another and the kill.
        return Fault(outcome.CUT, "was cut off by the end of another call's worker", running)
