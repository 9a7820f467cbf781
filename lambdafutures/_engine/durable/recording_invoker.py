"""An invoker that writes down each attempt before it hands it to the backend's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from lambdafutures._backends.base import AttemptSink, Invoker
from lambdafutures._engine.durable.clerk import Clerk
from lambdafutures._engine.durable.ledger import Ledger
from lambdafutures._engine.durable.records import SentRow
from lambdafutures._wire.outcome import Outcome
from lambdafutures._wire.payload import Payload, SessionHead

# How long an attempt's row may be on its way to the store before the attempt is sent: its outcome
# is expected for as much longer.
ROW_S = 10.0


class LastingInvoker(Invoker, Protocol):
    """An invoker whose attempts outlive their client."""

    def expect(self, chunk: int, attempt: int) -> None:
        """Look for the outcome of an attempt that an earlier client has sent."""


class RecordingInvoker:
    """Do what a backend's invoker does, once it has been written down.

    Args:
        inner: The backend's invoker.
        ledger: The session's log.
        lasting: The same invoker, if its attempts outlive their client.
        clerk: Does in the client what workers cannot; None if they reach the store themselves.
    """

    def __init__(
        self,
        inner: Invoker,
        ledger: Ledger,
        lasting: LastingInvoker | None = None,
        clerk: Clerk | None = None,
    ) -> None:
        self.max_inline_bytes = inner.max_inline_bytes
        self.deadline_s = inner.deadline_s
        self.start_rate = inner.start_rate
        self.statistics = inner.statistics
        self._inner = inner
        self._ledger = ledger
        self._lasting = lasting
        self._clerk = clerk
        self._unsent: dict[tuple[int, int], Payload] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_complete: Callable[[], bool] = lambda: False

    @property
    def slots(self) -> int:
        """Attempts that it can make use of at once."""
        return self._inner.slots

    def watch(self, is_complete: Callable[[], bool]) -> None:
        """Say who knows, at the end, whether every chunk has ended.

        Args:
            is_complete: Tells.
        """
        self._is_complete = is_complete

    def larger_mb(self, memory_mb: int | None) -> int | None:
        """Return the memory of the next larger workers, in MiB."""
        return self._inner.larger_mb(memory_mb)

    def prestart(self, session: SessionHead) -> None:
        """Begin what takes long."""
        self._inner.prestart(session)

    def discard(self) -> None:
        """Undo `prestart`."""
        self._inner.discard()

    def open(self, loop: asyncio.AbstractEventLoop, sink: AttemptSink) -> None:
        """Begin to serve."""
        self._sink = sink
        self._inner.open(loop, self)

    def send(self, payload: Payload) -> None:
        """Write an attempt down, then start it."""
        self._unsent[payload.chunk, payload.attempt] = payload
        calls = None if payload.calls is None else list(payload.calls)
        now_s = time.time()
        lasts_s = self.deadline_s if self._lasting is not None else None
        deadline_s = 0.0 if lasts_s is None else now_s + lasts_s + ROW_S
        row = SentRow(payload.chunk, payload.attempt, calls, now_s, deadline_s, payload.memory_mb)
        self._ledger.add_sent(row, partial(self._on_written, payload))

    def _on_written(self, payload: Payload) -> None:
        if self._unsent.pop((payload.chunk, payload.attempt), None) is None:
            return  # given up meanwhile
        if self._clerk is None or not self._clerk.has_to_fetch(payload):
            self._inner.send(payload)
        else:
            self._begin(self._fetch_and_send(self._clerk, payload))

    async def _fetch_and_send(self, clerk: Clerk, payload: Payload) -> None:
        refusal = await clerk.fetch(payload)
        if refusal is None:
            self._inner.send(payload)
        else:
            self._sink.on_outcome(refusal)

    def expect(self, chunk: int, attempt: int) -> None:
        """Look for the outcome of an attempt that an earlier client has sent."""
        if self._lasting is not None:
            self._lasting.expect(chunk, attempt)

    def abandon(self, chunk: int, attempt: int) -> None:
        """End an attempt whose outcome is of no interest any more."""
        if self._unsent.pop((chunk, attempt), None) is None:
            self._inner.abandon(chunk, attempt)

    def kill(self) -> None:
        """End all workers at once; the job stays as it is in the store."""
        self._ledger.stop()
        self._unsent.clear()
        self._inner.kill()

    async def close(self) -> None:
        """Write down the end and release everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Before the backend's own, which closes the store.
        await self._ledger.close(is_complete=self._is_complete())
        await self._inner.close()

    # ---------------------------------------------------------------- AttemptSink

    def on_outcome(self, answer: Outcome) -> None:
        """Report what became of an attempt, once it is in the store."""
        if self._clerk is None:
            self._sink.on_outcome(answer)
        else:
            self._begin(self._keep_and_report(self._clerk, answer))

    async def _keep_and_report(self, clerk: Clerk, answer: Outcome) -> None:
        await clerk.keep(answer)
        self._sink.on_outcome(answer)

    def on_broken(self, error: Exception) -> None:
        """Report that no call can run any more."""
        self._sink.on_broken(error)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._sink.on_broken(error)
