"""The memory backend: attempts run in threads of this process, and nothing leaves it.

It is for tests, debuggers and coverage. All is as it is with processes (pickled arguments, retries,
time limits, the initializer), except what threads cannot do: what a module holds is shared with the
client, a call that crashes takes the client with it, one that takes too long goes on unheeded,
memory has no limit, and what calls print is shown but not kept.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from lambdafutures._backends import verdicts
from lambdafutures._backends.base import AttemptSink, InvokerStatistics, StartRate
from lambdafutures._backends.worker_thread import WorkerThread
from lambdafutures._wire import frames, outcome
from lambdafutures._wire.outcome import Fault, Outcome
from lambdafutures._wire.payload import Payload, SessionHead
from lambdafutures.exceptions import BackendError

if TYPE_CHECKING:
    import asyncio

# How long to wait for the end of an idle thread: it ends at once, unless what user code left in
# it (`threading.local`, `__del__`) holds it up.
LEAVE_S = 10.0


class _Running(NamedTuple):
    """Name what a thread runs; the payload itself belongs to the thread."""

    chunk: int
    attempt: int
    limit_s: float | None


class MemoryInvoker:
    """Run payloads in threads, each started when first needed and kept.

    Args:
        max_workers: Threads at once.
        max_chunks_per_worker: Chunks after which a thread is replaced; None for never.
    """

    max_inline_bytes = verdicts.NO_LIMIT_BYTES
    deadline_s: float | None = None
    start_rate: StartRate | None = None

    def __init__(self, max_workers: int, max_chunks_per_worker: int | None = None) -> None:
        self.statistics = InvokerStatistics()
        self._max_workers = max_workers
        self._max_chunks = max_chunks_per_worker
        self._alive: set[WorkerThread] = set()
        self._idle: list[WorkerThread] = []
        self._busy: dict[WorkerThread, _Running] = {}
        self._leaving: set[WorkerThread] = set()
        self._watched: set[WorkerThread] = set()
        self._broken = False

    # ---------------------------------------------------------------- Invoker

    @property
    def slots(self) -> int:
        """Attempts that it can make use of at once."""
        return self._max_workers

    def larger_mb(self, memory_mb: int | None) -> int | None:
        """Return None: there is one memory, that of this process."""
        return None

    def prestart(self, session: SessionHead) -> None:
        """Take note of the session; a thread starts at once when it is needed."""
        self._name = f"lambdafutures-{session.session}-worker"
        self._hello = frames.pack(frames.HELLO, b"", session.encode())

    def discard(self) -> None:
        """Undo `prestart`: there is nothing to undo."""

    def open(self, loop: asyncio.AbstractEventLoop, sink: AttemptSink) -> None:
        """Begin to serve."""
        self._loop = loop
        self._sink = sink

    def send(self, payload: Payload) -> None:
        """Run a payload in an idle thread, or in a new one."""
        worker = self._idle.pop() if self._idle else self._new_worker()
        if worker is None:
            return
        self._busy[worker] = _Running(payload.chunk, payload.attempt, payload.limit_s)
        worker.send(payload)
        if payload.limit_s is not None:
            self._watch_in(payload.limit_s, worker)

    def abandon(self, chunk: int, attempt: int) -> None:
        """Leave the thread behind that runs an attempt."""
        for worker, running in list(self._busy.items()):
            if (running.chunk, running.attempt) == (chunk, attempt):
                self._leave_behind(worker)

    def kill(self) -> None:
        """Let all threads end; calls that run end by themselves, and nobody waits for them."""
        for worker in list(self._busy):
            self._leave_behind(worker)
        for worker in self._idle:
            self._retire(worker)
        self._idle.clear()

    async def close(self) -> None:
        """Let all threads end, and wait for those that run no call."""
        self.kill()
        # This holds up the loop, on which nothing else happens any more.
        for worker in list(self._leaving):
            self.on_exit(worker)

    # ---------------------------------------------------------------- threads

    def _new_worker(self) -> WorkerThread | None:
        number = self.statistics.workers_started
        try:
            worker = WorkerThread(f"{self._name}-{number}", self._hello, self._loop, self)
        except RuntimeError as error:
            broken = BackendError(
                f"a thread could not be started: {error}; give a smaller max_workers, or raise "
                "the limit on processes (`ulimit -u`)"
            )
            broken.__cause__ = error
            self._break(broken)
            return None
        self._alive.add(worker)
        self.statistics.workers_started += 1
        self.statistics.workers_alive += 1
        return worker

    def _retire(self, worker: WorkerThread) -> None:
        self._leaving.add(worker)
        worker.leave()

    def _leave_behind(self, worker: WorkerThread) -> None:
        """Expect nothing of a thread any more; it ends when its call does, if ever."""
        del self._busy[worker]
        worker.leave()

    def _break(self, error: Exception) -> None:
        if not self._broken:
            self._broken = True
            self._sink.on_broken(error)

    # ---------------------------------------------------------------- ThreadOwner

    def on_outcome(self, worker: WorkerThread, answer: Outcome) -> None:
        """Take what became of an attempt; of a thread that was left behind it is of no interest."""
        if self._busy.pop(worker, None) is None:
            return
        if self._max_chunks is not None and worker.chunks_sent >= self._max_chunks:
            self._retire(worker)
        else:
            self._idle.append(worker)
        self._sink.on_outcome(answer)

    def on_initializer_failed(self, worker: WorkerThread, described: dict[str, Any]) -> None:
        """Take note that no call can run."""
        self._break(verdicts.initializer_failed(described))

    def on_exit(self, worker: WorkerThread) -> None:
        """Wait until a thread has ended that is about to."""
        worker.join(LEAVE_S)
        self._leaving.discard(worker)
        if worker in self._alive:
            self._alive.remove(worker)
            self.statistics.workers_alive -= 1

    # ---------------------------------------------------------------- the time limit

    def _watch_in(self, delay_s: float, worker: WorkerThread) -> None:
        if worker not in self._watched:
            self._watched.add(worker)
            self._loop.call_later(delay_s, self._watch, worker)

    def _watch(self, worker: WorkerThread) -> None:
        """Leave a thread behind whose call has run for too long; else look again when it will."""
        self._watched.discard(worker)
        chunk, attempt, limit_s = self._busy.get(worker, (0, 0, None))
        if limit_s is None:
            return
        now_s = time.monotonic()
        left_s, call = verdicts.time_left(worker.journal, chunk, attempt, limit_s, now_s)
        if left_s > 0:
            self._watch_in(left_s, worker)
            return
        fault = Fault(outcome.TIME, verdicts.overran(call, limit_s), call)
        answer = worker.journal.salvage(chunk, attempt, fault)
        self._leave_behind(worker)
        self._sink.on_outcome(answer)
