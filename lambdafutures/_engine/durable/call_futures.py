"""A future for each call of a chunk: whoever attaches to a job gets calls, not chunks."""

from __future__ import annotations

import copy
from typing import Any

from lambdafutures._endings import AttemptFacts, Ending
from lambdafutures._packed_future import ChunkFuture
from lambdafutures.futures import LambdaFuture


class CallFuture(LambdaFuture[Any]):
    """Hold the future result of one call of a chunk.

    Args:
        session: Id of the session.
        number: Number of the chunk.
        index: Index of the call in the chunk.
    """

    def __init__(self, session: str, number: int, index: int) -> None:
        super().__init__(session, number)
        self._index = index

    @property
    def call_id(self) -> str:
        """Names the call: its session, its chunk's number there and its own in that."""
        return f"{super().call_id}.{self._index}"

    def cancel(self) -> bool:
        """Return whether it is cancelled; of calls that travel together none can be by itself."""
        return self.cancelled()


class CallFutures(ChunkFuture):
    """Hand what becomes of a chunk to the futures of its calls.

    Args:
        session: Id of the session.
        number: Number of the chunk.
        count: How many calls it has.
    """

    def __init__(self, session: str, number: int, count: int) -> None:
        super().__init__(count)
        self.calls = [CallFuture(session, number, index) for index in range(count)]

    def set_running_or_notify_cancel(self) -> bool:
        """Take note that the calls are about to be sent; return False if they were cancelled."""
        if not super().set_running_or_notify_cancel():
            return False
        for call in self.calls:
            call.set_running_or_notify_cancel()
        return True

    def set_exception(self, exception: BaseException | None) -> None:
        """End all calls with an exception."""
        super().set_exception(exception)
        if exception is None:
            return
        for call in self.calls:
            call.set_exception(_own(exception))

    def _settle(self, endings: list[Ending]) -> bool:
        has_callbacks = super()._settle([])
        for ending in endings:
            for index in range(ending.first, ending.first + ending.count):
                share = CallEnding(ending, index)
                has_callbacks |= self.calls[index]._settle([share])
        return has_callbacks

    def _settle_cancelled(self) -> bool:
        has_callbacks = super()._settle_cancelled()
        for call in self.calls:
            has_callbacks |= call._settle_cancelled()
        return has_callbacks

    def _run_callbacks(self) -> None:
        super()._run_callbacks()
        for call in self.calls:
            if call._done_callbacks:
                call._run_callbacks()


class CallEnding(Ending):
    """Tell how one of several calls ended that came home together.

    Args:
        whole: How all of them did.
        index: Index of the call in the chunk.
    """

    __slots__ = ("_position", "_whole")

    def __init__(self, whole: Ending, index: int) -> None:
        position = index - whole.first
        run_s = whole.run_s[position : position + 1] if whole.run_s else None
        super().__init__(whole.entry, _facts_of(whole.facts, index), run_s)
        self._whole = whole
        self._position = position

    @property
    def nbytes(self) -> int:
        """Length of what there is to unpack, in bytes."""
        return self._whole.nbytes

    def unpack(self) -> tuple[list[Any], BaseException | None]:
        """Return the value, or the exception; user code may run here."""
        # Whoever comes first unpacks for all: what the calls' values share stays shared.
        values, error = self._whole.unpack_once()
        if error is None:
            return [values[self._position]], None
        return [], _own(error) if self._whole.count > 1 else error


def _own(error: BaseException) -> BaseException:
    """Return a copy: what is raised in several places must not share a traceback."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    return own


def _facts_of(facts: AttemptFacts, index: int) -> AttemptFacts:
    """Return the facts with the output of one call alone."""
    if facts.output is None:
        return facts
    own = copy.copy(facts)
    own.output = {0: facts.output[index]} if index in facts.output else None
    return own
