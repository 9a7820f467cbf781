"""The AWS backend: attempts are Lambda invocations, whose outcomes come back or are collected."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any

from lambdafutures._backends import lambda_errors
from lambdafutures._backends.base import AttemptSink, InvokerStatistics, StartRate
from lambdafutures._backends.collector import Collector
from lambdafutures._backends.envelopes import Envelopes
from lambdafutures._backends.lambda_client import EVENTS_AT_ONCE, LambdaClient, max_in_response
from lambdafutures._backends.s3_store import S3Store
from lambdafutures._backends.sign_of_life import SignOfLife
from lambdafutures._backends.sizes import Sizes
from lambdafutures._backends.spill import Spill
from lambdafutures._wire import invocation, keys, outcome, seal
from lambdafutures._wire.invocation import Invocation
from lambdafutures._wire.outcome import Fault, Outcome
from lambdafutures._wire.payload import Payload, SessionHead
from lambdafutures.exceptions import BackendError, BlobMissing, InitializerFailed, WireError

if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer
    from lambdafutures.deployment import Deployment

_log = logging.getLogger("lambdafutures")

# How long an invocation may wait in Lambda's queue before another attempt is made.
QUEUE_S = 60.0
# Beyond the function's own time-out before a response is given up.
RESPONSE_MARGIN_S = 30.0
# How long `close` tries to delete the session's objects: the bucket's lifecycle rule gets the rest.
DELETE_S = 30.0

STORE_AFTER_S = invocation.STORE_AFTER_S

AUTO = "auto"
# A function gets 1,000 environments more in 10 s, wherever warm ones do not suffice (Lambda
# Developer Guide, "Lambda function scaling", November 2026).
START_RATE = StartRate(at_once=1000, per_s=100.0)


class LambdaInvoker:
    """Run payloads in Lambda functions.

    Args:
        deployment: Where things are.
        max_workers: Invocations at once.
        completion: ``"response"``, ``"poll"`` or ``"auto"``.
        memory_mb: Which of the deployment's functions; by default the smallest.
        limit_mb: Memory that a call may use, in MiB; by default what its function has.
        key: A durable session's signing key: its objects are kept. By default there is a new one,
            and what the session has stored is deleted at its end.

    Raises:
        ValueError: If the deployment has no function of that size.
    """

    max_inline_bytes = invocation.MAX_EVENT_BYTES
    start_rate: StartRate | None = START_RATE

    def __init__(
        self,
        deployment: Deployment,
        max_workers: int,
        completion: str = AUTO,
        memory_mb: int | None = None,
        limit_mb: int | None = None,
        key: bytes | None = None,
    ) -> None:
        self.statistics = InvokerStatistics()
        self._deadline_s = deployment.timeout_s + QUEUE_S
        self.deadline_s: float | None = self._deadline_s
        self._deployment = deployment
        self._completion = completion
        self._slots = max_workers
        if completion == invocation.POLL and deployment.concurrency:
            # Lambda accepts more and puts them off, further each time, where nobody sees them.
            self._slots = min(max_workers, deployment.concurrency)
        self._response_max = max_in_response()
        if completion == invocation.RESPONSE:
            # What waits for a connection has not been sent, and its time must not pass.
            self._slots = min(self._slots, self._response_max)
        self._sizes = Sizes(deployment, memory_mb, limit_mb)
        self._limit_mb = limit_mb
        self.store = self._store = S3Store(deployment.bucket, deployment.region)
        self._is_durable = key is not None
        self._key = key or os.urandom(seal.KEY_BYTES)
        self._tasks: dict[tuple[int, int], asyncio.Task[None]] = {}
        # Those whose outcome is the response: each holds a connection.
        self._responding: set[tuple[int, int]] = set()
        # Attempts beyond what can be on its way at once: a task takes 4 KB more than a payload.
        self._tasks_max = self._response_max + EVENTS_AT_ONCE
        self._queued: dict[tuple[int, int], Payload] = {}
        self._has_stored = False
        self._broken = False

    # ---------------------------------------------------------------- Invoker

    @property
    def slots(self) -> int:
        """Attempts that it can make use of at once."""
        return self._slots

    def larger_mb(self, memory_mb: int | None) -> int | None:
        """Return the memory of the next larger function, in MiB; None if it would be no help."""
        return self._sizes.larger_mb(memory_mb)

    def prestart(self, session: SessionHead) -> None:
        """Take note of the session: workers are told with each invocation."""
        self._session = session

    def discard(self) -> None:
        """Undo `prestart`: there is nothing to undo."""

    def open(self, loop: asyncio.AbstractEventLoop, sink: AttemptSink) -> None:
        """Begin to serve."""
        self._loop = loop
        self._sink = sink
        prefix, session = self._deployment.prefix, self._session.session
        read_timeout_s = self._deployment.timeout_s + RESPONSE_MARGIN_S
        self._client = LambdaClient(
            self._deployment.region, read_timeout_s, min(self._slots, self._response_max) + 1
        )
        self._envelopes = Envelopes(
            self._deployment,
            self._session,
            self._key,
            time.time,
            self._deadline_s,
            STORE_AFTER_S,
            self._limit_mb,
        )
        self._spill = Spill(self._store, prefix, session)
        self._sign = SignOfLife(self._store, prefix, session, self._envelopes.earliest_s)
        self._collector = Collector(self._store, prefix, session, self, time.monotonic)

    def send(self, payload: Payload) -> None:
        """Invoke the function; returns at once."""
        if len(self._tasks) < self._tasks_max:
            self._begin(payload)
        else:
            self._queued[payload.chunk, payload.attempt] = payload

    def _begin(self, payload: Payload) -> None:
        name = payload.chunk, payload.attempt
        few = len(self._responding) < self._response_max
        if self._completion == invocation.RESPONSE or (self._completion == AUTO and few):
            self._responding.add(name)
        task = self._tasks[name] = self._loop.create_task(self._run(payload))
        task.add_done_callback(lambda task: self._on_done(name, task))

    def expect(self, chunk: int, attempt: int) -> None:
        """Look for the outcome of an attempt that an earlier client has sent."""
        self._collector.expect(chunk, attempt)

    def _on_done(self, name: tuple[int, int], task: asyncio.Task[None]) -> None:
        self._tasks.pop(name, None)
        self._responding.discard(name)
        if self._queued:
            self._begin(self._queued.pop(next(iter(self._queued))))
        error = None if task.cancelled() else task.exception()
        if error is not None:  # a bug of ours: nobody may wait for its attempt for ever
            broken = BackendError(f"an internal error ended the executor: {error!r}")
            broken.__cause__ = error
            self.on_broken(broken)

    def abandon(self, chunk: int, attempt: int) -> None:
        """Stop waiting for an attempt; Lambda has no way to end what runs."""
        self._collector.forget(chunk, attempt)
        if self._queued.pop((chunk, attempt), None) is not None:
            return
        self._envelopes.forget(chunk, attempt)
        self._has_stored = True  # it may yet store its outcome
        task = self._tasks.get((chunk, attempt))
        if task is not None:
            task.cancel()

    def kill(self) -> None:
        """Stop waiting for anything; what runs on Lambda ends by itself."""
        self._broken = True
        self._queued.clear()
        for chunk, attempt in list(self._tasks):
            self.abandon(chunk, attempt)

    async def close(self) -> None:
        """Delete the session's objects, unless it is durable, and close the connections."""
        self._broken = True
        self._queued.clear()
        await self._collector.close()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            if not self._is_durable and (self._has_stored or self._spill.has_stored):
                async with asyncio.timeout(DELETE_S):
                    await self._delete_objects()
        except (BackendError, TimeoutError) as error:
            # Nothing is lost by it, and whoever leaves a `with` block wants their own error.
            _log.warning("the session's objects are left to the bucket's lifecycle: %s", error)
        finally:
            self.statistics.requests.update(self._store.requests)
            await self._store.close()
            await self._client.close()

    # ---------------------------------------------------------------- one invocation

    async def _run(self, payload: Payload) -> None:
        chunk, attempt = payload.chunk, payload.attempt
        function = self._sizes.function(payload.memory_mb)
        asked = self._envelopes.write(payload, self._reply(payload))
        self._has_stored |= asked.reply == invocation.POLL
        try:
            if asked.reply == invocation.POLL and asked.proof_key is None:
                asked.late_s = await self._sign.show()
            await self._spill.make_fit(asked)
            answer = await self._invoke(function, asked)
        except WireError as error:
            self.on_broken(BackendError(str(error)))
        except Exception as error:  # noqa: BLE001 - judged there
            judged = lambda_errors.fault_or_break(error, function, self._deployment.region)
            self._envelopes.on_unproven(asked)
            if isinstance(judged, Exception):
                self.on_broken(judged)
            elif judged.kind == outcome.LOST:
                # Another attempt is made at once, unless this one has left its outcome.
                await self._find(chunk, attempt, judged)
            else:
                self._report(chunk, attempt, judged)
        else:
            if answer is not None:
                await self._take(asked, answer)

    def _reply(self, payload: Payload) -> str:
        is_response = (payload.chunk, payload.attempt) in self._responding
        return invocation.RESPONSE if is_response else invocation.POLL

    async def _invoke(self, function: str, asked: Invocation) -> dict[str, Any] | None:
        """Invoke; return the answer, or None if the outcome will be collected."""
        self._count("Invoke")
        sent_s = time.time()
        answer = await self._client.invoke(function, asked.encode(), is_event=asked.is_event)
        self._envelopes.on_accepted(asked, answer.date, sent_s)
        if asked.is_event:
            self._collector.expect(asked.payload.chunk, asked.payload.attempt)
            return None
        if answer.function_error:
            memory_mb = self._sizes.memory_mb(asked.payload.memory_mb)
            judged = lambda_errors.fault_of_function(
                answer.function_error, answer.body, function, memory_mb
            )
            if isinstance(judged, Exception):
                raise judged
            return {"fault": judged}
        return invocation.check_answer(json.loads(answer.body))

    async def _take(self, asked: Invocation, answer: dict[str, Any]) -> None:
        chunk, attempt = asked.payload.chunk, asked.payload.attempt
        if "refused" in answer:
            self.on_broken(BackendError(answer["refused"]))
        elif "outcome" in answer:
            self._has_stored |= "stored" in answer
            self.on_found(chunk, attempt, invocation.from_text(answer["outcome"]))
        elif "stored" in answer:
            await self._find(chunk, attempt, Fault(outcome.LOST, "lost its stored outcome"))
        else:
            text = answer.get("lost") or answer.get("dropped") or "gave no answer"
            fault = answer.get("fault") or Fault(outcome.LOST, str(text))
            self._envelopes.on_unproven(asked)
            self._report(chunk, attempt, fault)

    async def _find(self, chunk: int, attempt: int, fault: Fault) -> None:
        """Take an outcome that was stored, or else report a fault."""
        self._has_stored = True  # or it yet will be
        try:
            sealed = await self._store.get(self._envelopes.out_key(chunk, attempt))
        except BlobMissing:
            self._report(chunk, attempt, fault)
        except BackendError as error:
            self.on_broken(error)
        else:
            self.on_found(chunk, attempt, sealed)

    def _report(self, chunk: int, attempt: int, fault: Fault) -> None:
        self._count()
        self._sink.on_outcome(Outcome(chunk, attempt, fault=fault))

    # ---------------------------------------------------------------- OutcomeTaker

    def on_found(self, chunk: int, attempt: int, sealed: Buffer) -> None:
        """Take a sealed outcome; one that is not ours breaks nothing but is never opened."""
        answer = self._envelopes.open(chunk, attempt, sealed)
        fault = answer.fault
        if fault is None:
            self._spill.release(chunk)
        elif fault.kind == outcome.INITIALIZER:
            message = f"the initializer raised in a worker: {fault.message}"
            self.on_broken(InitializerFailed(message))
            return
        elif fault.kind == outcome.BLOB_MISSING:
            self._spill.forget()
        self._count()
        self._sink.on_outcome(answer)

    def on_broken(self, error: Exception) -> None:
        """Take note that nothing can run any more."""
        if not self._broken:
            self._broken = True
            self._sink.on_broken(error)

    # ---------------------------------------------------------------- the rest

    async def _delete_objects(self) -> None:
        """Delete what this session has stored; workers that are late delete their own."""
        await self._sign.hide()
        prefix = keys.session_prefix(self._deployment.prefix, self._session.session)
        async for page in self._store.list(prefix):
            await self._store.delete([stored.key for stored in page])

    def _count(self, operation: str | None = None) -> None:
        requests = self.statistics.requests
        if operation is not None:
            requests[operation] = requests.get(operation, 0) + 1
        requests.update(self._store.requests)
