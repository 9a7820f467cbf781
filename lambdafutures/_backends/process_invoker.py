"""The local backend: warm worker processes on this machine, the client playing supervisor."""

from __future__ import annotations

import json
import time
from collections import deque
from typing import TYPE_CHECKING

from lambdafutures._backends import verdicts
from lambdafutures._backends.base import AttemptSink, InvokerStatistics, StartRate
from lambdafutures._backends.lookahead import LookAhead
from lambdafutures._backends.verdicts import Doom
from lambdafutures._backends.worker_process import WRITE_ON_LOOP_BYTES, WorkerProcess
from lambdafutures._wire import frames, outcome
from lambdafutures._wire.frames import Frame
from lambdafutures._wire.journal import IDLE
from lambdafutures._wire.outcome import Fault, Outcome
from lambdafutures._wire.payload import Payload, SessionHead
from lambdafutures.exceptions import WireError
from lambdafutures.options import Limits

if TYPE_CHECKING:
    import asyncio

# How long a worker may take to leave (`atexit` handlers, threads) before it is killed.
LEAVE_S = 10.0
# How often the memory of a busy worker is looked at. A process that takes 1 GB/s is then caught
# within 50 MB of its limit.
MEMORY_POLL_S = 0.05
# Workers in a row that may end before they are ready: some may have been killed by somebody, five
# have a reason that the next will share.
MAX_STILLBORN = 5
_MIB = 1024 * 1024


class ProcessInvoker:
    """Run payloads in processes, each started when first needed and kept warm.

    Args:
        max_workers: Processes at once.
        limits: What a call may use.
        max_chunks_per_worker: Chunks after which a process is replaced; None for never.
    """

    # Parts too large for the socket travel in memory files.
    max_inline_bytes = verdicts.NO_LIMIT_BYTES
    deadline_s: float | None = None
    start_rate: StartRate | None = None

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
        self._lookahead = LookAhead()
        self._doom: dict[WorkerProcess, Doom] = {}
        self._watched: set[WorkerProcess] = set()
        self._stillborn = 0
        self._closing = False
        self._ended = False

    # ---------------------------------------------------------------- Invoker

    def larger_mb(self, memory_mb: int | None) -> int | None:
        """Return None: workers here come in one size."""
        return None

    def prestart(self, session: SessionHead) -> None:
        """Start the first worker: it boots while the client still imports its event loop."""
        self._session = session
        self._idle.append(self._new_worker())

    def discard(self) -> None:
        """End what `prestart` began; for an executor whose session could not be opened."""
        self._ended = True
        for worker in self._workers:
            worker.discard()
        self.statistics.workers_alive -= len(self._workers)
        self._workers.clear()
        self._idle.clear()

    def open(self, loop: asyncio.AbstractEventLoop, sink: AttemptSink) -> None:
        """Begin to serve."""
        self._loop = loop
        self._sink = sink
        for worker in self._workers:
            worker.open(loop, self)
        if self._limits.memory_mb is not None:
            loop.call_later(MEMORY_POLL_S, self._watch_memory)

    @property
    def slots(self) -> int:
        """Attempts that it can make use of at once."""
        return self._max_workers * (1 + self._lookahead.depth)

    def send(self, payload: Payload) -> None:
        """Run a payload in a free worker, in a new one, or in the first to become free."""
        if self._idle:
            self._start(self._idle.pop(), payload)
        elif len(self._workers) < self._max_workers:
            self._start_new(payload)
        else:
            least = min(self._workers, key=_load)
            # Large ones wait for a free worker: what is still being written cannot be taken back.
            is_large = payload.nbytes > WRITE_ON_LOOP_BYTES
            if (
                not is_large
                and len(least.queue) <= self._lookahead.depth
                and not self._has_served(least)
            ):
                self._start(least, payload)
            else:
                self._queue.append(payload)

    def _start_new(self, payload: Payload) -> None:
        try:
            worker = self._new_worker()
        except OSError as error:
            self._could_not_start(error)
        else:
            worker.open(self._loop, self)
            self._start(worker, payload)

    def abandon(self, chunk: int, attempt: int) -> None:
        """End the worker that runs an attempt, or drop it if it waits for one."""
        self._queue = deque(each for each in self._queue if not _names(each, chunk, attempt))
        for worker in self._workers:
            payload = worker.find(chunk, attempt)
            call, _ = worker.journal.running(chunk, attempt)
            if payload is not None and call != IDLE:
                self._end(worker, Doom(outcome.DIED, "was abandoned", payload, call))

    def kill(self) -> None:
        """End all workers at once, for good."""
        self._ended = True
        self._queue.clear()
        for worker in (*self._workers, *self._leaving):
            worker.kill()

    async def close(self) -> None:
        """Let the workers leave, and kill those that do not."""
        import asyncio

        self._closing = self._ended = True
        self._all_gone = asyncio.Event()
        for worker in list(self._workers):
            if worker.queue:
                worker.kill()
            else:
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
        if payload.limit_s is not None and worker not in self._watched:
            self._watched.add(worker)
            self._loop.call_later(payload.limit_s, self._watch_time, worker)

    def _retire(self, worker: WorkerProcess) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
        self._workers.discard(worker)
        self._leaving.add(worker)
        worker.retire()

    def _has_served(self, worker: WorkerProcess) -> bool:
        return self._max_chunks is not None and worker.chunks_sent >= self._max_chunks

    def _is_free(self, worker: WorkerProcess) -> None:
        """Give a worker its next payload, or let it wait, or leave if it has served enough."""
        if self._has_served(worker):
            self._retire(worker)
            self._send_queued()
        elif (payload := self._next_for(worker)) is not None:
            self._start(worker, payload)
        else:
            self._idle.append(worker)

    def _next_for(self, worker: WorkerProcess) -> Payload | None:
        if self._queue:
            return self._queue.popleft()
        for other in sorted(self._workers, key=_load, reverse=True):
            # A worker that is still booting has begun nothing; any other is at its first.
            if len(other.queue) > (0 if other.journal.is_booting else 1) and other is not worker:
                payload = other.take_back()
                if payload is not None:
                    return payload
        return None

    def _send_queued(self) -> None:
        if self._queue and not self._ended:
            self.send(self._queue.popleft())

    # ---------------------------------------------------------------- WorkerOwner

    def on_frame(self, worker: WorkerProcess, frame: Frame) -> None:
        """Take a message of a worker's."""
        if frame.kind == frames.FAILED:
            self._break(verdicts.initializer_failed(json.loads(frame.head)))
            return
        answer = Outcome.decode(frame.head, frame.parts)
        payload = worker.find(answer.chunk, answer.attempt)
        if payload is None:
            return
        if answer.fault is not None and answer.fault.kind == outcome.BLOB_MISSING:
            worker.forget(payload.function)
        else:
            worker.learn(payload.function)
        self._lookahead.on_attempt(answer.setup_s + answer.ran_s + answer.packing_s)
        self._report(worker, payload, answer)

    def _report(self, worker: WorkerProcess, payload: Payload, answer: Outcome) -> None:
        worker.queue.remove(payload)
        # The engine first: what it sends now finds this worker's queue shorter, and if that is
        # nothing, the worker looks for work elsewhere.
        if not worker.queue and worker in self._workers and not self._has_served(worker):
            self._idle.append(worker)
            self._sink.on_outcome(answer)
            if worker in self._idle and (self._queue or len(self._workers) > len(self._idle)):
                self._idle.remove(worker)
                self._is_free(worker)
        else:
            self._sink.on_outcome(answer)
            if not worker.queue and worker in self._workers:
                self._is_free(worker)

    def on_exit(self, worker: WorkerProcess, untaken: list[Payload]) -> None:
        """Take note that a worker has ended."""
        self.statistics.workers_alive -= 1
        self._workers.discard(worker)
        self._leaving.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        self._watched.discard(worker)
        doom = self._doom.pop(worker, None)
        if not self._ended and worker.journal.is_booting:
            self._on_stillborn(worker, doom)
        elif not worker.journal.is_booting:
            self._stillborn = 0
        if not self._ended:
            self._queue.extendleft(reversed(untaken))
            for payload in worker.queue:
                self._report_death(worker, payload, doom)
        worker.dispose()
        if self._closing:
            self._all_gone.set()
        for _ in range(len(self._queue)):
            self._send_queued()

    def on_damaged(self, worker: WorkerProcess, error: WireError) -> None:
        """Take note that a worker's answers cannot be read any more."""
        message = (
            f"has an outcome that could not be received: {error}; the limit on open files may be "
            "too low (`ulimit -n`)"
        )
        self._end(worker, Doom(outcome.DIED, message, None, None))

    def _on_stillborn(self, worker: WorkerProcess, doom: Doom | None) -> None:
        """Break the executor when workers end, one by one, before they can run anything."""
        self._stillborn += 1
        if doom is None and self._stillborn < MAX_STILLBORN:
            return
        from lambdafutures.exceptions import BackendError

        how = doom.message if doom else worker.how_it_ended()
        what = "the initializer ran" if self._session.initializer else "they were ready"
        self._break(
            BackendError(f"workers end before {what}: process {worker.pid} {how}; nothing can run")
        )

    def _report_death(self, worker: WorkerProcess, payload: Payload, doom: Doom | None) -> None:
        call, _ = worker.journal.running(payload.chunk, payload.attempt)
        running = None if call == IDLE else call
        if doom is None:
            message = f"ended its worker: process {worker.pid} {worker.how_it_ended()}"
            fault = Fault(outcome.DIED, message, running)
        else:
            fault = doom.fault_of(payload, call, running)
        salvaged = worker.journal.salvage(payload.chunk, payload.attempt, fault)
        salvaged.is_first = worker.chunks_sent == len(worker.queue)
        self._sink.on_outcome(salvaged)

    def _break(self, error: Exception) -> None:
        if not self._ended:
            self._ended = True
            self._queue.clear()
            self._sink.on_broken(error)

    def _on_not_sent(self, worker: WorkerProcess, payload: Payload, error: BaseException) -> None:
        fault = Fault(outcome.LOST, f"could not be handed to a worker: {error!r}")
        answer = Outcome(payload.chunk, payload.attempt, fault=fault)
        self._loop.call_soon(self._report, worker, payload, answer)

    # ---------------------------------------------------------------- limits

    def _watch_time(self, worker: WorkerProcess) -> None:
        """End a call that has run for too long; look again when the running one will have."""
        if worker not in self._watched:
            return  # it has ended meanwhile
        self._watched.discard(worker)
        if worker not in self._workers:
            return  # it has ended, and its journal is closed
        waits_s = []
        for payload in worker.queue:
            limit_s = payload.limit_s
            if limit_s is None:
                continue
            left_s, call = verdicts.time_left(
                worker.journal, payload.chunk, payload.attempt, limit_s, time.monotonic()
            )
            if left_s <= 0:
                message = verdicts.overran(call, limit_s)
                self._end(worker, Doom(outcome.TIME, message, payload, call))
                return
            waits_s.append(left_s)
        if waits_s:
            self._watched.add(worker)
            self._loop.call_later(min(waits_s), self._watch_time, worker)

    def _watch_memory(self) -> None:
        limit_mb = self._limits.memory_mb
        if self._closing or limit_mb is None:
            return
        for worker in self._workers:
            if not worker.queue or worker in self._doom:
                continue
            used = worker.resident_bytes()
            if used is not None and used > limit_mb * _MIB:
                message = (
                    f"used {used / _MIB:,.0f} MiB of memory, more than its limit of {limit_mb} MiB"
                )
                self._end(worker, self._doom_of_running(worker, outcome.MEMORY, message))
        self._loop.call_later(MEMORY_POLL_S, self._watch_memory)

    def _doom_of_running(self, worker: WorkerProcess, kind: str, message: str) -> Doom:
        for payload in worker.queue:
            call, _ = worker.journal.running(payload.chunk, payload.attempt)
            if call != IDLE:
                return Doom(kind, message, payload, call)
        return Doom(kind, message, None, None)

    def _end(self, worker: WorkerProcess, doom: Doom) -> None:
        self._doom[worker] = doom
        worker.kill()


def _load(worker: WorkerProcess) -> int:
    return len(worker.queue)


def _names(payload: Payload, chunk: int, attempt: int) -> bool:
    return payload.chunk == chunk and payload.attempt == attempt
