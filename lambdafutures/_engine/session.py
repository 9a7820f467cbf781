"""One executor's running engine: the scheduler's events in, its commands carried out."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import random
import time
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

from lambdafutures import events
from lambdafutures._backends.base import Invoker
from lambdafutures._engine import exit_drain
from lambdafutures._engine.callbacks import CallbackThreads
from lambdafutures._engine.chunk import Chunk
from lambdafutures._engine.commands import Abandon, Cancelled, Command, Send, Settle, Wake
from lambdafutures._engine.counters import Counters
from lambdafutures._engine.dispatcher import Dispatcher
from lambdafutures._engine.portal import Portal
from lambdafutures._engine.scheduler import Scheduler
from lambdafutures._wire import outcome
from lambdafutures._wire.outcome import Fault, Outcome
from lambdafutures.exceptions import BackendError

_log = logging.getLogger("lambdafutures")

_ABANDONED = Fault(outcome.LOST, "is not waited for any more")


class Session:
    """Run calls until finished.

    Args:
        name: Names the session; its id.
        invoker: The backend's invoker, started.
        observers: Who is told what happens.
    """

    def __init__(
        self,
        name: str,
        invoker: Invoker,
        observers: Sequence[events.Observer] = (),
    ) -> None:
        self.name = name
        self.broken: BaseException | None = None
        self.counters = Counters()
        self._invoker = invoker
        self._observers = observers
        # Times given to users are seconds since the epoch; decisions use the monotonic clock.
        self._epoch_s = time.time() - time.monotonic()
        self._scheduler = Scheduler(
            invoker.slots,
            random.random,
            self._epoch_s,
            invoker.deadline_s,
            larger_mb=invoker.larger_mb,
            start_rate=invoker.start_rate,
        )
        self._dispatcher = Dispatcher(invoker)
        self._callbacks = CallbackThreads(f"lambdafutures-{name}")
        self._watchers = CallbackThreads(f"lambdafutures-{name}-observers", elastic=False)
        self._sent_at: dict[tuple[int, int], float] = {}
        self._inbox: deque[Chunk] = deque()
        self._woken = False
        self._opened = False
        self._finishing = False
        self._timer: asyncio.TimerHandle | None = None
        self._portal = Portal(f"lambdafutures-{name}")
        self._finished = asyncio.Event()
        self._portal.loop.set_exception_handler(self._on_loop_error)
        self._portal.start(self._main, self._fail_the_late)
        exit_drain.watch(self)

    # ---------------------------------------------------------------- any thread

    def submit(self, chunk: Chunk) -> None:
        """Take a chunk.

        Args:
            chunk: To be run.
        """
        self._inbox.append(chunk)
        if self._portal.loop.is_closed():
            self._fail_the_late()
            return
        # Many submits between two turns of the loop wake it once. The flag is lowered before the
        # inbox is emptied, so no chunk is left behind.
        if not self._woken:
            self._woken = True
            self._portal.call(self._on_inbox)

    def cancel(self, chunk: Chunk, /) -> None:
        """Take note that a chunk's future was cancelled.

        Args:
            chunk: The chunk.
        """
        self._portal.call(self._on_cancel, chunk)

    def finish(self, *, cancel_waiting: bool = False, kill: bool = False) -> None:
        """Take no more chunks and end once the pending ones have ended.

        Args:
            cancel_waiting: Cancel what has not been sent.
            kill: End the workers at once; what runs fails.
        """
        self._portal.call(self._on_finish, cancel_waiting, kill)

    def join(self) -> None:
        """Wait until the session has ended and the done-callbacks have been called."""
        if self._portal.is_current or self._callbacks.is_current or self._watchers.is_current:
            return  # waiting for oneself takes for ever
        self._portal.join()
        self._callbacks.wait_closed()
        self._watchers.wait_closed()

    @property
    def open_chunks(self) -> int:
        """Chunks that have not ended."""
        return self._scheduler.open_chunks

    @property
    def attempts_in_flight(self) -> int:
        """Attempts under way."""
        return self._scheduler.attempts_in_flight

    @property
    def retries(self) -> int:
        """How often calls were tried again."""
        return self._scheduler.retries

    @property
    def backups(self) -> int:
        """Attempts that were sent beside one that was slow."""
        return self._scheduler.backups

    # ---------------------------------------------------------------- the portal's thread

    async def _main(self) -> None:
        try:
            # The portal keeps the session alive, so that the two need not keep each other alive.
            self._invoker.open(asyncio.get_running_loop(), weakref.proxy(self))
            self._opened = True
            self._on_opened()
            await self._finished.wait()
        except Exception as error:  # noqa: BLE001 - told to every call, none of which can run
            broken = BackendError(f"the backend could not be opened: {error}")
            broken.__cause__ = error
            self._opened = True
            self.on_broken(broken)
            self._on_inbox()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            try:
                await self._close()
            except Exception:  # noqa: BLE001 - all calls have ended; nobody may wait for ever
                _log.exception("lambdafutures: the backend could not be closed")
            self._tell(events.ExecutorClosed(time.time()))
            self._callbacks.close()
            self._watchers.close()

    async def _close(self) -> None:
        await self._invoker.close()

    def _on_opened(self) -> None:
        self._on_inbox()
        self._carry_out([])

    def _fail_the_late(self) -> None:
        """Fail what was submitted when the session had ended by itself; on any thread."""
        error = self.broken or BackendError("the executor has ended")
        while self._inbox:
            with contextlib.suppress(IndexError):  # another thread took it
                future = self._inbox.popleft().future
                if future.set_running_or_notify_cancel():
                    future.set_exception(copy.copy(error))

    def _on_inbox(self) -> None:
        self._woken = False
        if not self._opened:
            return
        inbox = self._inbox
        chunks = [inbox.popleft() for _ in range(len(inbox))]
        self._count_submitted(chunks)
        self._admit(chunks)

    def _count_submitted(self, chunks: Sequence[Chunk]) -> None:
        self.counters.calls_submitted += sum(chunk.count for chunk in chunks)
        if self._observers:
            for chunk in chunks:
                self._tell(events.CallsSubmitted(chunk.number, chunk.count, chunk.submitted_s))

    def _admit(self, chunks: Sequence[Chunk]) -> None:
        """Have chunks run."""
        self._carry_out(self._scheduler.on_submitted(chunks, time.monotonic()))

    def _on_cancel(self, chunk: Chunk) -> None:
        self._carry_out(self._scheduler.on_cancelled(chunk, time.monotonic()))

    def _on_finish(self, cancel_waiting: bool, kill: bool) -> None:
        self._finishing = True
        if self._inbox:
            self._on_inbox()
        if cancel_waiting:
            self._carry_out(self._scheduler.on_cancel_waiting(time.monotonic()))
        if kill:
            from lambdafutures.exceptions import WorkerDied

            self._invoker.kill()
            error = WorkerDied("the executor was told to end its workers while the call ran")
            self._carry_out(self._scheduler.on_broken(error, time.monotonic()))
        self._carry_out([])

    def on_outcome(self, answer: Outcome) -> None:
        """Take what became of an attempt (`AttemptSink`)."""
        now_s = time.monotonic()
        counters = self.counters
        sent_s = self._sent_at.pop((answer.chunk, answer.attempt), None)
        if sent_s is not None:  # else it was abandoned, and its end has been told
            counters.away_s += now_s - sent_s
            counters.setup_s += answer.setup_s
            counters.run_s += answer.ran_s
            counters.fetched_bytes += answer.fetched_bytes
            self._tell_ended(answer, now_s)
        self._scheduler.max_in_flight = self._invoker.slots
        self._carry_out(self._scheduler.on_outcome(answer, now_s))

    def on_broken(self, error: Exception) -> None:
        """Take note that no call can run any more (`AttemptSink`)."""
        self.broken = error
        self._carry_out(self._scheduler.on_broken(error, time.monotonic()))

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Fail every call rather than leave one pending: an error here is a bug of ours."""
        error = context.get("exception")
        _log.error("lambdafutures: %s", context.get("message"), exc_info=error)
        broken = BackendError(f"an internal error ended the executor: {error!r}")
        broken.__cause__ = error
        self.on_broken(broken)

    def _on_timer(self) -> None:
        self._timer = None
        self._carry_out(self._scheduler.on_tick(time.monotonic()))

    def _carry_out(self, commands: list[Command]) -> None:
        pending = deque(commands)
        while pending:
            command = pending.popleft()
            if type(command) is Send:
                pending.extend(self._send(command))
            elif type(command) is Settle:
                self._settle(command.chunk)
            elif type(command) is Cancelled:
                self._end_cancelled(command.chunk)
            elif type(command) is Wake:
                self._wake_at(command.at_s)
            elif type(command) is Abandon:
                self._abandon(command)
        if self._finishing and self._opened and not self._has_work():
            self._finished.set()

    def _has_work(self) -> bool:
        return bool(self._inbox) or not self._scheduler.is_idle

    def _send(self, command: Send) -> list[Command]:
        attempt = command.attempt
        chunk = attempt.work.chunk
        now_s = time.monotonic()
        if chunk.future.done() and (self._scheduler.is_broken or not chunk.future.cancelled()):
            return []  # the backend broke while commands before this were carried out
        if not chunk.sent:
            if not chunk.future.set_running_or_notify_cancel():
                self._count_cancelled(chunk)
                return self._scheduler.on_refused(attempt, now_s)
            chunk.sent = True
        self.counters.attempts += 1
        self._sent_at[chunk.number, attempt.number] = now_s
        if self._observers:
            self._tell(events.AttemptSent(chunk.number, attempt.number, now_s + self._epoch_s))
        self._dispatcher.dispatch(attempt)
        return []

    def _abandon(self, command: Abandon) -> None:
        chunk, attempt = command
        self._sent_at.pop((chunk, attempt), None)
        self._tell_ended(Outcome(chunk, attempt, fault=_ABANDONED), time.monotonic())
        self._invoker.abandon(chunk, attempt)

    def _tell_ended(self, answer: Outcome, now_s: float) -> None:
        if self._observers:
            self._tell(
                events.AttemptEnded(
                    answer.chunk,
                    answer.attempt,
                    now_s + self._epoch_s,
                    answer.setup_s,
                    answer.ran_s,
                    answer.peak_memory_bytes,
                    answer.fault.message if answer.fault else None,
                )
            )

    def _settle(self, chunk: Chunk) -> None:
        future = chunk.future
        if not (chunk.sent or future.running() or future.set_running_or_notify_cancel()):
            # Everything failed before the scheduler was told that it had been cancelled.
            chunk.release()
            self._count_cancelled(chunk)
            return
        endings = chunk.endings
        failed = sum(ending.count for ending in endings if ending.failed)
        self.counters.calls_done += chunk.count
        self.counters.calls_failed += failed
        chunk.release()
        if chunk.future._settle(endings):
            self._callbacks.run(chunk.future._run_callbacks)
        if self._observers:
            self._tell(events.CallsEnded(chunk.number, chunk.count, failed, False, time.time()))

    def _end_cancelled(self, chunk: Chunk) -> None:
        self._count_cancelled(chunk)
        if chunk.future._settle_cancelled():
            self._callbacks.run(chunk.future._run_callbacks)

    def _count_cancelled(self, chunk: Chunk) -> None:
        self.counters.calls_cancelled += chunk.count
        self._tell(events.CallsEnded(chunk.number, chunk.count, 0, True, time.time()))

    def _wake_at(self, at_s: float) -> None:
        loop_at = self._portal.loop.time() + max(0.0, at_s - time.monotonic())
        if self._timer is not None:
            if self._timer.when() <= loop_at:
                return
            self._timer.cancel()
        self._timer = self._portal.loop.call_at(loop_at, self._on_timer)

    def _tell(self, event: events.Event) -> None:
        if self._observers:
            self._watchers.run(lambda: self._observe(event))

    def _observe(self, event: events.Event) -> None:
        for observer in self._observers:
            try:
                observer.on_event(event)
            except Exception:  # noqa: BLE001 - user code
                _log.exception("an observer raised on %r", event)
