"""Why a worker process is ended, and what that means for what it held. Pure."""

from __future__ import annotations

from typing import NamedTuple

from lambdafutures._wire import outcome
from lambdafutures._wire.outcome import Fault
from lambdafutures._wire.payload import Payload


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
