"""The local backend: warm worker processes on this machine, the client playing supervisor."""

from __future__ import annotations

import json
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from lambdafutures._backends.base import AttemptSink, InvokerStatistics
from lambdafutures._backends.worker_process import WorkerProcess
from lambdafutures._wire import frames, outcome
from lambdafutures._wire.frames import Frame
from lambdafutures._wire.journal import IDLE
from lambdafutures._wire.outcome import Fault, Outcome
from lambdafutures._wire.payload import Payload, SessionHead
from lambdafutures.options import Limits

if TYPE_CHECKING:
    import asyncio

# Everything is inline: parts too large for the socket travel in memory files.
NO_LIMIT_BYTES = 2**63
# How long a worker may take to leave (`atexit` handlers, threads) before it is killed.
LEAVE_S = 10.0
# How often the memory of a busy worker is looked at. A process that takes 1 GB/s is then caught
# within 50 MB of its limit.
MEMORY_POLL_S = 0.05
_MIB = 1024 * 1024


class ProcessInvoker:
    """Run payloads in processes, each started when first needed and kept warm.

    Args:
        max_workers: Processes at once.
        limits: What a call may use.
        max_chunks_per_worker: Chunks after which a process is replaced; None for never.
    """

    max_inline_bytes = NO_LIMIT_BYTES

    def __init__(
        self, max_workers: int, limits: Limits, max_chunks_per_worker: int | None = None
    ) -> None:
        self.statistics = InvokerStatistics()
        self._max_workers = max_workers
        self._limits = limits
        self._max_chunks = max_chunks_per_worker
        self._workers: set[WorkerProcess] = set()
        self._idle: list[WorkerProcess] = []
        self._leaving: set[WorkerProcess] = set()
        self._queue: deque[Payload] = deque()
        self._doom: dict[WorkerProcess, Fault] = {}
        self._closing = False
        self._broken = False

    # ---------------------------------------------------------------- Invoker

    def prestart(self, session: SessionHead) -> None:
        """Start the first worker: it boots while the client still imports its event loop."""
        self._session = session
        self._idle.append(self._new_worker())

    def open(self, loop: asyncio.AbstractEventLoop, sink: AttemptSink) -> None:
        """Begin to serve."""
        self._loop = loop
        self._sink = sink
        for worker in self._workers:
            worker.open(loop, self)
        if self._limits.memory_mb is not None:
            loop.call_later(MEMORY_POLL_S, self._watch_memory)

    def send(self, payload: Payload) -> None:
        """Run a payload in a free worker, in a new one, or in the first to become free."""
        if not self._idle and len(self._workers) < self._max_workers:
            try:
                worker = self._new_worker()
            except OSError as error:
                self._could_not_start(error)
                return
            worker.open(self._loop, self)
            self._idle.append(worker)
        if self._idle:
            self._start(self._idle.pop(), payload)
        else:
            self._queue.append(payload)

    def abandon(self, chunk: int, attempt: int) -> None:
        """End the worker that runs an attempt."""
        for worker in self._workers:
            if worker.payload is not None and _names(worker.payload, chunk, attempt):
                worker.kill()

    def kill(self) -> None:
        """End all workers at once."""
        self._queue.clear()
        for worker in (*self._workers, *self._leaving):
            worker.kill()

    async def close(self) -> None:
        """Let the workers leave, and kill those that do not."""
        import asyncio

        self._closing = True
        self._all_gone = asyncio.Event()
        for worker in list(self._workers):
            if worker.payload is not None:
                worker.kill()
            elif worker in self._idle:
                self._retire(worker)
        try:
            async with asyncio.timeout(LEAVE_S):
                await self._wait_all_gone()
        except TimeoutError:
            self.kill()
            await self._wait_all_gone()

    async def _wait_all_gone(self) -> None:
        while self._workers or self._leaving:
            self._all_gone.clear()
            await self._all_gone.wait()

    # ---------------------------------------------------------------- workers

    def _new_worker(self) -> WorkerProcess:
        worker = WorkerProcess(self._session)
        self._workers.add(worker)
        self.statistics.workers_started += 1
        self.statistics.workers_alive += 1
        return worker

    def _could_not_start(self, error: OSError) -> None:
        from lambdafutures.exceptions import BackendError

        broken = BackendError(
            f"a worker process could not be started: {error}; give a smaller max_workers, or "
            "raise the limits on processes and open files (`ulimit -u`, `ulimit -n`)"
        )
        broken.__cause__ = error
        self._break(broken)

    def _start(self, worker: WorkerProcess, payload: Payload) -> None:
        worker.send(payload, self._on_not_sent)
        if payload.limit_s is not None:
            self._loop.call_later(payload.limit_s, self._watch_time, worker, payload)

    def _retire(self, worker: WorkerProcess) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
        self._workers.discard(worker)
        self._leaving.add(worker)
        worker.retire()

    def _is_free(self, worker: WorkerProcess) -> None:
        """Give a worker its next payload, or let it wait, or leave if it has served enough."""
        worker.payload = None
        if self._closing or worker.chunks_sent == self._max_chunks:
            self._retire(worker)
            if self._queue:
                self.send(self._queue.popleft())
        elif self._queue:
            self._start(worker, self._queue.popleft())
        else:
            self._idle.append(worker)

    # ---------------------------------------------------------------- WorkerOwner

    def on_frame(self, worker: WorkerProcess, frame: Frame) -> None:
        """Take a message of a worker's."""
        if frame.kind == frames.OUTCOME:
            payload = worker.payload
            answer = Outcome.decode(frame.head, frame.parts)
            if payload is None or not _names(payload, answer.chunk, answer.attempt):
                return
            if answer.fault is not None and answer.fault.kind == outcome.BLOB_MISSING:
                worker.forget(payload.function)
            self._report(worker, answer)
        elif frame.kind == frames.FAILED:
            self._initializer_failed(frame)

    def on_exit(self, worker: WorkerProcess) -> None:
        """Take note that a worker has ended."""
        self.statistics.workers_alive -= 1
        self._workers.discard(worker)
        self._leaving.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        payload, worker.payload = worker.payload, None
        doom = self._doom.pop(worker, None)
        if payload is not None and not self._broken:
            self._report_death(worker, payload, doom)
        worker.dispose()
        if self._closing:
            self._all_gone.set()
        elif self._queue:
            self.send(self._queue.popleft())

    def _report_death(self, worker: WorkerProcess, payload: Payload, doom: Fault | None) -> None:
        call, _ = worker.journal.running()
        kept = worker.journal.outcomes()
        fault = doom or Fault(
            outcome.DIED,
            f"ended its worker: process {worker.pid} {worker.how_it_ended()}",
            None if call == IDLE else call,
        )
        self._sink.on_outcome(_merged(payload, kept, fault))

    def _initializer_failed(self, frame: Frame) -> None:
        from lambdafutures.exceptions import InitializerFailed

        described: dict[str, Any] = json.loads(frame.head)
        self._break(
            InitializerFailed(
                f"the initializer raised in a worker: {described['type']}: {described['message']}"
                f"\n\n{described['traceback']}"
            )
        )

    def _break(self, error: Exception) -> None:
        if not self._broken:
            self._broken = True
            self._queue.clear()
            self._sink.on_broken(error)

    def _on_not_sent(self, worker: WorkerProcess, payload: Payload, error: OSError) -> None:
        fault = Fault(outcome.LOST, f"could not be handed to a worker: {error}")
        answer = Outcome(payload.chunk, payload.attempt, fault=fault)
        self._loop.call_soon(self._report, worker, answer)

    def _report(self, worker: WorkerProcess, answer: Outcome) -> None:
        self._is_free(worker)
        self._sink.on_outcome(answer)

    # ---------------------------------------------------------------- limits

    def _watch_time(self, worker: WorkerProcess, payload: Payload) -> None:
        """End a call that has run for too long; look again when the running one will have."""
        limit_s = payload.limit_s
        if worker.payload is not payload or limit_s is None:
            return
        call, started_s = worker.journal.running()
        # A worker that is still booting, or has not read the payload yet, has no call to judge.
        left_s = limit_s if call == IDLE else started_s + limit_s - time.monotonic()
        if left_s > 0:
            self._loop.call_later(left_s, self._watch_time, worker, payload)
            return
        what = "was still being set up" if call < 0 else "had not returned"
        self._end(worker, Fault(outcome.TIME, f"{what} after its time limit of {limit_s:g} s", call))

    def _watch_memory(self) -> None:
        limit_mb = self._limits.memory_mb
        if self._closing or limit_mb is None:
            return
        for worker in self._workers:
            if worker.payload is None or worker in self._doom:
                continue
            used = worker.resident_bytes()
            if used is not None and used > limit_mb * _MIB:
                call, _ = worker.journal.running()
                message = (
                    f"used {used / _MIB:,.0f} MiB of memory, more than its limit of {limit_mb} MiB"
                )
                self._end(worker, Fault(outcome.MEMORY, message, call))
        self._loop.call_later(MEMORY_POLL_S, self._watch_memory)

    def _end(self, worker: WorkerProcess, fault: Fault) -> None:
        self._doom[worker] = fault
        worker.kill()


def _names(payload: Payload, chunk: int, attempt: int) -> bool:
    return payload.chunk == chunk and payload.attempt == attempt


def _merged(payload: Payload, kept: list[Outcome], fault: Fault) -> Outcome:
    """Return one outcome of what a runner had kept before it died, and why it died."""
    merged = Outcome(payload.chunk, payload.attempt, fault=fault)
    entries = []
    for piece in kept:
        if not _names(payload, piece.chunk, piece.attempt):
            continue
        entries.extend(piece.entries)
        merged.run_s.extend(piece.run_s)
        merged.output.update(piece.output)
        merged.received_s = piece.received_s
        merged.setup_s = piece.setup_s
    merged.entries = entries
    return merged


