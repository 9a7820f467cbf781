"""A session whose job outlives it: what is submitted is stored first, what was left is taken up."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from math import inf
from typing import NamedTuple

from lambdafutures import events
from lambdafutures._engine.chunk import Chunk
from lambdafutures._engine.durable import recovery
from lambdafutures._engine.durable.intake import Intake
from lambdafutures._engine.durable.ledger import Ledger
from lambdafutures._engine.durable.reader import JobReader
from lambdafutures._engine.durable.recording_invoker import RecordingInvoker
from lambdafutures._engine.durable.records import SentRow
from lambdafutures._engine.session import Session
from lambdafutures._wire.outcome import Outcome
from lambdafutures.exceptions import LambdaFuturesError


class LeftChunk(NamedTuple):
    """Hold a chunk that an earlier client has left, and its attempts that were written down."""

    chunk: Chunk
    sent: Sequence[SentRow]


class DurableSession(Session):
    """Run calls that are stored before they are sent.

    Args:
        name: The job's id.
        invoker: Writes down what it sends.
        observers: Who is told what happens.
        ledger: The job's log.
        intake: Stores functions and arguments.
        reader: Reads outcomes that are there.
        left: What an earlier client has left.
    """

    def __init__(
        self,
        name: str,
        invoker: RecordingInvoker,
        observers: Sequence[events.Observer],
        ledger: Ledger,
        intake: Intake,
        reader: JobReader,
        left: Sequence[LeftChunk] = (),
    ) -> None:
        self._recorder = invoker
        self._ledger = ledger
        self._intake = intake
        self._reader = reader
        self._left = {each.chunk.number: each for each in left}
        self._storing: deque[Chunk] = deque()
        self._stored = 0  # chunks so far
        self._waiters: set[Future[None]] = set()
        self._barriers: deque[tuple[int, Future[None]]] = deque()
        self._restoring: asyncio.Task[None] | None = None
        self._is_cancelling = False
        self._has_dropped = False  # chunks that were never stored
        # (None of the three keeps the session alive.)
        me = weakref.proxy(self)
        ledger.watch(lambda error: me.on_broken(error))
        intake.watch(lambda chunks: me._on_stored(chunks), lambda error: me.on_broken(error))
        invoker.watch(lambda: not me._scheduler.is_broken and not me._has_work())
        super().__init__(name, invoker, observers)

    # ---------------------------------------------------------------- any thread

    def wait_stored(self, timeout_s: float | None) -> None:
        """Wait until all that was submitted until now is stored.

        Args:
            timeout_s: Seconds to wait at the most; None for as long as it takes.

        Raises:
            TimeoutError: If it is not by then.
            BaseException: Why nothing can be stored any more.
        """
        waiter: Future[None] = Future()
        self._waiters.add(waiter)
        self._portal.call(self._on_wait_stored, waiter)
        if self._portal.loop.is_closed():
            self._end_waiters()
        try:
            waiter.result(timeout_s)
        finally:
            self._waiters.discard(waiter)

    def _fail_the_late(self) -> None:
        super()._fail_the_late()
        self._end_waiters()

    def _end_waiters(self) -> None:
        """Let go who waits for what is stored, or never will be; on any thread."""
        for waiter in list(self._waiters):
            with contextlib.suppress(InvalidStateError):  # it has been let go already
                if self.broken is not None or self._storing or self._has_dropped:
                    waiter.set_exception(self._why_not_stored())
                else:
                    waiter.set_result(None)

    def _why_not_stored(self) -> BaseException:
        if self.broken is not None:
            return copy.copy(self.broken)
        return LambdaFuturesError("the executor was ended before everything was stored")

    # ---------------------------------------------------------------- storing

    def _on_wait_stored(self, waiter: Future[None]) -> None:
        self._on_inbox()
        if self._scheduler.is_broken:
            with contextlib.suppress(InvalidStateError):
                waiter.set_exception(self._why_not_stored())
            return
        self._barriers.append((self._stored + len(self._storing), waiter))
        self._let_go()

    def _admit(self, chunks: Sequence[Chunk]) -> None:
        if self._scheduler.is_broken:
            super()._admit(chunks)
            return
        self._storing.extend(chunks)
        self._intake.take(chunks)

    def _on_stored(self, chunks: Sequence[Chunk]) -> None:
        for _ in chunks:  # they come in the order in which they were taken
            self._storing.popleft()
        self._stored += len(chunks)
        self._let_go()
        wanted = []
        for chunk in chunks:
            if self._is_cancelling or chunk.future.cancelled():
                self._end_cancelled(chunk)
            else:
                wanted.append(chunk)
        super()._admit(wanted)

    def _let_go(self) -> None:
        while self._barriers and self._barriers[0][0] <= self._stored:
            with contextlib.suppress(InvalidStateError):
                self._barriers.popleft()[1].set_result(None)

    # ---------------------------------------------------------------- taking up

    def _on_opened(self) -> None:
        if self._left:
            self._count_submitted([each.chunk for each in self._left.values()])
            self._restoring = asyncio.get_running_loop().create_task(self._restore())
        super()._on_opened()

    async def _restore(self) -> None:
        try:
            found = await self._reader.outcomes()
            # What may still run comes first, so that there is no more under way than there may be.
            # What has no outcome needs no reading. (In the order in which it was sent, which the
            # scheduler keeps: to put each into its place takes long.)
            left = sorted(
                self._left.values(), key=lambda each: each.sent[-1].sent_s if each.sent else inf
            )
            for each in left:
                if each.chunk.number not in found:
                    self._take_up(each, {})
            await asyncio.gather(
                *(self._read_and_take_up(each, found) for each in list(self._left.values()))
            )
        except Exception as error:  # noqa: BLE001 - told to every call
            self.on_broken(error)
        finally:
            self._carry_out([])

    async def _read_and_take_up(self, left: LeftChunk, found: dict[int, list[int]]) -> None:
        number = left.chunk.number
        attempts = found[number]
        read = await asyncio.gather(*(self._reader.outcome(number, each) for each in attempts))
        self._take_up(left, {each.attempt: each for each in read if each is not None})

    def _take_up(self, left: LeftChunk, outcomes: dict[int, Outcome]) -> None:
        chunk = left.chunk
        if self._left.pop(chunk.number, None) is None:
            return  # failed meanwhile
        if not left.sent and (self._is_cancelling or chunk.future.cancelled()):
            self._end_cancelled(chunk)
            return
        found = recovery.recover(chunk, left.sent, outcomes, time.time(), self._epoch_s)
        for attempt in found.awaited:
            self._recorder.expect(chunk.number, attempt.number)
        self._carry_out(
            self._scheduler.on_restored(
                chunk, found.answered, found.awaited, found.waiting, time.monotonic()
            )
        )

    # ---------------------------------------------------------------- the end

    @property
    def open_chunks(self) -> int:
        """Chunks that have not ended."""
        return super().open_chunks + len(self._storing) + len(self._left)

    async def _close(self) -> None:
        if self._restoring is not None:
            self._restoring.cancel()
            await asyncio.gather(self._restoring, return_exceptions=True)
        await self._intake.close()
        await super()._close()

    def _has_work(self) -> bool:
        return bool(self._storing or self._left) or super()._has_work()

    def _on_finish(self, cancel_waiting: bool, kill: bool) -> None:
        self._is_cancelling = self._is_cancelling or cancel_waiting
        super()._on_finish(cancel_waiting, kill)
        if kill:
            self._fail_what_waits()

    def on_broken(self, error: Exception) -> None:
        """Take note that no call can run any more; the job stays as it is in the store."""
        self._ledger.stop()
        super().on_broken(error)
        self._fail_what_waits()

    def _fail_what_waits(self) -> None:
        """Fail what was not handed to the scheduler yet, which knows why."""
        self._end_waiters()
        self._has_dropped = self._has_dropped or bool(self._storing)
        chunks = [*self._storing, *(each.chunk for each in self._left.values() if not each.sent)]
        failed = [each.chunk for each in self._left.values() if each.sent]
        self._storing.clear()
        self._left.clear()
        for chunk in chunks:
            if self._is_cancelling or chunk.future.cancelled():
                self._end_cancelled(chunk)
            else:
                failed.append(chunk)
        super()._admit(failed)

    def _settle(self, chunk: Chunk) -> None:
        super()._settle(chunk)
        if not self._scheduler.is_broken:
            self._ledger.note_ended(chunk.number)

    def _count_cancelled(self, chunk: Chunk) -> None:
        super()._count_cancelled(chunk)
        self._ledger.note_cancelled(chunk.number)
