"""One worker of the memory backend: a thread that serves as a runner does.

What it is given and what it answers goes through the bytes of the wire. So function, arguments and
results are copies here too, and what cannot travel fails as it does elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from lambdafutures._wire import codec, frames, outcome, remote_error
from lambdafutures._wire.journal import BOOTING, IDLE, SETUP, salvage
from lambdafutures._wire.outcome import Fault, Outcome
from lambdafutures._wire.payload import Payload, SessionHead
from lambdafutures._worker.execute import Execution

if TYPE_CHECKING:
    import asyncio


class ThreadOwner(Protocol):
    """What a thread reports to, on the loop."""

    def on_outcome(self, worker: WorkerThread, answer: Outcome) -> None:
        """Take what became of an attempt."""

    def on_initializer_failed(self, worker: WorkerThread, described: dict[str, Any]) -> None:
        """Take note that the initializer raised, and what; the thread has ended."""

    def on_exit(self, worker: WorkerThread) -> None:
        """Take note that the thread ends."""


class LeftBehind(BaseException):  # not an Exception: nobody but the thread itself handles it
    """End a thread at its next call: nobody waits for its attempt any more."""


class ThreadJournal:
    """Note what a thread runs and keep what has ended, as `Journal` does for a process."""

    def __init__(self) -> None:
        self.is_left_behind = False
        self._name = (-1, -1)
        self._mark = (BOOTING, time.monotonic())
        self._kept: list[Outcome] = []

    def begin(self, chunk: int, attempt: int) -> None:
        """Forget the attempt before; set-up of the next begins.

        Args:
            chunk: Number of its chunk.
            attempt: Its number.
        """
        self._name = chunk, attempt
        self.marker(SETUP, time.monotonic())

    def marker(self, call: int, now_s: float) -> None:
        """Note that a call begins.

        Args:
            call: Index of the call in its chunk.
            now_s: The time, by the monotonic clock.

        Raises:
            LeftBehind: If no further call is to begin.
        """
        self._mark = call, now_s
        if self.is_left_behind:
            raise LeftBehind

    def append(self, outcome: Outcome) -> None:
        """Keep calls that ended.

        Args:
            outcome: Their entries.
        """
        self._kept.append(_by_wire(outcome))

    def end(self) -> None:
        """Note that the attempt has ended; what was kept is of no use any more."""
        self._mark = IDLE, time.monotonic()
        self._kept = []

    def running(self, chunk: int, attempt: int) -> tuple[int, float]:
        """Return which call of an attempt runs, and since when by the monotonic clock.

        Args:
            chunk: Number of its chunk.
            attempt: Its number.
        """
        call, started_s = self._mark
        return (call if self._name == (chunk, attempt) else IDLE), started_s

    def salvage(self, chunk: int, attempt: int, fault: Fault) -> Outcome:
        """Return what had ended before the thread was left behind, and why it was.

        Args:
            chunk: Number of the attempt's chunk.
            attempt: Its number.
            fault: What ended it.
        """
        return salvage(self._kept, chunk, attempt, fault)


class WorkerThread:
    """Start a thread that serves one session.

    Args:
        name: The thread's name.
        hello: The session, as a frame.
        loop: Where to report.
        owner: To whom.

    Raises:
        RuntimeError: If no thread can be started.
    """

    def __init__(
        self, name: str, hello: bytes, loop: asyncio.AbstractEventLoop, owner: ThreadOwner
    ) -> None:
        self.journal = ThreadJournal()
        self.chunks_sent = 0
        self._hello = hello
        self._loop = loop
        self._owner = owner
        self._inbox: SimpleQueue[Payload | None] = SimpleQueue()
        # A daemon: a call that never returns must not keep the interpreter from ending.
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def send(self, payload: Payload) -> None:
        """Hand over a payload.

        Args:
            payload: What to run.
        """
        self.chunks_sent += 1
        self._inbox.put(payload)

    def leave(self) -> None:
        """Let the thread end: at once if it is idle, else when the call that runs has returned."""
        self.journal.is_left_behind = True
        self._inbox.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end.

        Args:
            timeout_s: Seconds to wait at the most.
        """
        self._thread.join(timeout_s)

    # ---------------------------------------------------------------- the thread

    def _main(self) -> None:
        with contextlib.suppress(LeftBehind):
            self._serve()
        self._tell(self._owner.on_exit, self)

    def _serve(self) -> None:
        session = SessionHead.decode(frames.parse(self._hello).parts)
        try:
            if session.initializer is not None:
                initializer, arguments = codec.loads(session.initializer.parts)
                initializer(*arguments)
        except BaseException as error:  # noqa: BLE001 - the initializer is user code
            described = remote_error.describe(error)
            self._tell(self._owner.on_initializer_failed, self, described)
            return
        execution = Execution(self.journal, None, session.serializer)
        here = os.getpid()
        while (payload := self._inbox.get()) is not None:
            answer = _run(execution, payload)
            del payload
            if os.getpid() != here:
                os._exit(0)  # a child that the call forked, and that came back out of it as well
            self.journal.end()
            self._tell(self._owner.on_outcome, self, answer)
            del answer  # an idle thread keeps neither the last arguments nor the last result

    def _tell(self, report: Any, *facts: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            self._loop.call_soon_threadsafe(report, *facts)


def _run(execution: Execution, payload: Payload) -> Outcome:
    chunk, attempt = payload.chunk, payload.attempt
    try:
        parts = [*payload.function_parts, *payload.arguments]
        packed = frames.pack(frames.CHUNK, payload.encode_head(with_function=True), parts)
        del payload, parts
        frame = frames.parse(packed)
        del packed
        return _by_wire(execution.run(Payload.decode(frame.head, frame.parts)))
    except Exception as error:  # noqa: BLE001 - a want of memory, say: nobody may wait for ever
        return Outcome(chunk, attempt, fault=Fault(outcome.DIED, f"could not be run: {error!r}"))


def _by_wire(answer: Outcome) -> Outcome:
    frame = frames.parse(frames.pack(frames.OUTCOME, *answer.encode()))
    return Outcome.decode(frame.head, frame.parts)
