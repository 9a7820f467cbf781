"""The AWS backend: attempts are Lambda invocations, whose outcomes come back or are collected."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError

from lambdafutures._backends import lambda_errors, s3_errors
from lambdafutures._backends.base import AttemptSink, InvokerStatistics
from lambdafutures._backends.collector import Collector
from lambdafutures._backends.s3_store import S3Store
from lambdafutures._wire import blob, frames, invocation, keys, outcome, seal
from lambdafutures._wire.invocation import Invocation, StoredParts
from lambdafutures._wire.outcome import Fault, Outcome
from lambdafutures.exceptions import BackendError, BlobMissing, WireError

if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer
    from lambdafutures._wire.payload import Payload, SessionHead
    from lambdafutures.deployment import Deployment

# With completion="auto", attempts in flight beyond which outcomes are collected from the store: a
# connection is held for each, and 1,024 open files is the usual limit of a process.
RESPONSE_MAX_IN_FLIGHT = 800
# A function below this rides in each payload; above, it is stored once and named by its hash.
INLINE_FUNCTION_BYTES = 32 * 1024
# How long an invocation may wait in Lambda's queue before another attempt is made.
QUEUE_S = 60.0
# Beyond the function's own time-out before a response is given up.
RESPONSE_MARGIN_S = 30.0
CONNECT_TIMEOUT_S = 5.0

AUTO = "auto"


class LambdaInvoker:
    """Run payloads in Lambda functions.

    Args:
        deployment: Where things are.
        max_workers: Invocations at once.
        completion: ``"response"``, ``"poll"`` or ``"auto"``.
        memory_mb: Which of the deployment's functions; by default the smallest.
    """

    max_inline_bytes = invocation.MAX_EVENT_BYTES

    def __init__(
        self,
        deployment: Deployment,
        max_workers: int,
        completion: str = AUTO,
        memory_mb: int | None = None,
    ) -> None:
        self.statistics = InvokerStatistics()
        self.deadline_s: float | None = deployment.timeout_s + QUEUE_S
        self._deployment = deployment
        self._max_workers = max_workers
        self._completion = completion
        size = min(deployment.functions) if memory_mb is None else memory_mb
        self._function = deployment.functions[size]
        self._store = S3Store(deployment.bucket, deployment.region)
        self._key = os.urandom(seal.KEY_BYTES)
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_flight: set[tuple[int, int]] = set()
        self._stored_functions: dict[str, asyncio.Task[None]] = {}
        self._stored_arguments: dict[int, StoredParts] = {}
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._broken = False

    # ---------------------------------------------------------------- Invoker

    @property
    def slots(self) -> int:
        """Attempts that it can make use of at once."""
        return self._max_workers

    def prestart(self, session: SessionHead) -> None:
        """Take note of the session: workers are told with each invocation."""
        self._session = session

    def open(self, loop: asyncio.AbstractEventLoop, sink: AttemptSink) -> None:
        """Begin to serve."""
        self._loop = loop
        self._sink = sink
        self._collector = Collector(
            self._store, self._deployment.prefix, self._session.session, self, time.monotonic
        )

    def send(self, payload: Payload) -> None:
        """Invoke the function; returns at once."""
        self._in_flight.add((payload.chunk, payload.attempt))
        task = self._loop.create_task(self._run(payload))
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:  # a bug of ours: nobody may wait for its attempt for ever
            broken = BackendError(f"an internal error ended the executor: {error!r}")
            broken.__cause__ = error
            self.on_broken(broken)

    def abandon(self, chunk: int, attempt: int) -> None:
        """Stop waiting for an attempt; Lambda has no way to end what runs."""
        self._in_flight.discard((chunk, attempt))
        self._collector.forget(chunk, attempt)

    def kill(self) -> None:
        """Stop waiting for anything; what runs on Lambda ends by itself."""
        self._broken = True
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Delete the session's objects and close the connections."""
        self._broken = True
        await self._collector.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._delete_objects()
        finally:
            self.statistics.requests.update(self._store.requests)
            await self._store.close()
            await self._stack.aclose()

    # ---------------------------------------------------------------- one invocation

    async def _run(self, payload: Payload) -> None:
        try:
            answer = await self._invoke(payload)
        except (BlobMissing, BackendError) as error:
            self.on_broken(error)
        except Exception as error:  # noqa: BLE001 - judged there
            judged = lambda_errors.fault_or_break(error, self._function, self._deployment.region)
            if isinstance(judged, BackendError):
                self.on_broken(judged)
            else:
                await self._after_fault(payload, judged)
        else:
            if answer is not None:
                await self._take(payload, answer)

    async def _invoke(self, payload: Payload) -> dict[str, Any] | None:
        """Invoke; return the answer, or None if the outcome will be collected."""
        reply = self._reply()
        asked = Invocation(
            self._session,
            payload,
            self._deployment.bucket,
            self._deployment.prefix,
            reply,
            self._out_key(payload.chunk, payload.attempt),
            self._key,
            time.time() + self._deployment.timeout_s + QUEUE_S,  # what `deadline_s` says
        )
        await self._spill(asked)
        client = self._client or await self._open_client()
        self._count("Invoke")
        response = await client.invoke(
            FunctionName=self._function,
            InvocationType="Event" if reply == invocation.POLL else "RequestResponse",
            Payload=asked.encode(),
        )
        if reply == invocation.POLL:
            self._collector.expect(payload.chunk, payload.attempt)
            return None
        async with response["Payload"] as stream:
            body: bytes = await stream.read()
        kind = response.get("FunctionError")
        if kind:
            return {"fault": lambda_errors.fault_of_function(kind, body)}
        return invocation.check_fields(json.loads(body))

    def _reply(self) -> str:
        if self._completion != AUTO:
            return self._completion
        few = len(self._in_flight) <= RESPONSE_MAX_IN_FLIGHT
        return invocation.RESPONSE if few else invocation.POLL

    async def _take(self, payload: Payload, answer: dict[str, Any]) -> None:
        if "outcome" in answer:
            sealed = invocation.from_text(answer["outcome"])
            self.on_found(payload.chunk, payload.attempt, sealed)
        elif "stored" in answer:
            await self._after_fault(payload, Fault(outcome.LOST, "lost its stored outcome"))
        elif "refused" in answer:
            self.on_broken(BackendError(answer["refused"]))
        else:
            fault = answer.get("fault") or Fault(outcome.LOST, str(answer.get("dropped")))
            self._report(payload.chunk, payload.attempt, fault)

    async def _after_fault(self, payload: Payload, fault: Fault) -> None:
        """Look for an outcome that was stored although its response did not arrive."""
        if fault.kind == outcome.LOST:
            try:
                sealed = await self._store.get(self._out_key(payload.chunk, payload.attempt))
            except BlobMissing:
                pass
            except BackendError as error:
                self.on_broken(error)
                return
            else:
                self.on_found(payload.chunk, payload.attempt, sealed)
                return
        self._report(payload.chunk, payload.attempt, fault)

    def _report(self, chunk: int, attempt: int, fault: Fault) -> None:
        self._in_flight.discard((chunk, attempt))
        self._sink.on_outcome(Outcome(chunk, attempt, fault=fault))

    # ---------------------------------------------------------------- OutcomeTaker

    def on_found(self, chunk: int, attempt: int, sealed: bytes) -> None:
        """Take a sealed outcome; one that is not ours breaks nothing but is never opened."""
        try:
            body = seal.unseal(self._key, self._session.session, chunk, attempt, sealed)
            frame = frames.parse(body)
            answer = Outcome.decode(frame.head, frame.parts)
            if (answer.chunk, answer.attempt) != (chunk, attempt):
                raise WireError(f"an outcome of attempt {answer.attempt} at chunk {answer.chunk}")
        except WireError as error:
            self._report(chunk, attempt, Fault(outcome.REFUSED, str(error)))
            return
        self._in_flight.discard((chunk, attempt))
        fault = answer.fault
        if fault is not None and fault.kind == outcome.INITIALIZER:
            from lambdafutures.exceptions import InitializerFailed

            self.on_broken(
                InitializerFailed(f"the initializer raised in a worker: {fault.message}")
            )
            return
        if fault is not None and fault.kind == outcome.BLOB_MISSING:
            # Expired, or deleted by somebody: everything is uploaded again when it is next sent.
            self._stored_functions.clear()
            self._stored_arguments.clear()
        self._sink.on_outcome(answer)

    def on_broken(self, error: Exception) -> None:
        """Take note that nothing can run any more."""
        if not self._broken:
            self._broken = True
            self._sink.on_broken(error)

    # ---------------------------------------------------------------- the store

    async def _spill(self, asked: Invocation) -> None:
        """Put into the store what does not fit the payload, once each."""
        payload = asked.payload
        function_bytes = sum(map(len, payload.function_parts))
        if function_bytes > INLINE_FUNCTION_BYTES:
            await self._store_function(payload.function, payload.function_parts)
            asked.stored_function = True
            function_bytes = 0
        limit_bytes = invocation.MAX_REQUEST_BYTES
        if asked.reply == invocation.POLL:
            limit_bytes = invocation.MAX_EVENT_BYTES
        session_bytes = sum(map(len, self._session.encode()))
        nbytes = session_bytes + function_bytes + sum(map(len, payload.arguments))
        if not invocation.fits(nbytes, limit_bytes):
            asked.stored_arguments = await self._store_arguments(payload)

    async def _store_function(self, sha256: str, parts: Sequence[Buffer]) -> None:
        task = self._stored_functions.get(sha256)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            key = keys.blob_key(self._deployment.prefix, sha256)
            task = self._loop.create_task(self._put(key, invocation.pack_parts(parts)))
            self._stored_functions[sha256] = task
        await asyncio.shield(task)

    async def _store_arguments(self, payload: Payload) -> StoredParts:
        stored = self._stored_arguments.get(payload.chunk)
        if stored is None:
            prefix, session = self._deployment.prefix, self._session.session
            key = keys.in_key(prefix, session, payload.chunk)
            packed = invocation.pack_parts(payload.arguments)
            await self._put(key, packed)
            stored = StoredParts(key, 0, len(packed), blob.digest(payload.arguments))
            self._stored_arguments[payload.chunk] = stored
        return stored

    async def _put(self, key: str, body: bytes) -> None:
        await self._store.put(key, body)

    def _out_key(self, chunk: int, attempt: int) -> str:
        return keys.out_key(self._deployment.prefix, self._session.session, chunk, attempt)

    async def _delete_objects(self) -> None:
        """Delete what this session stored; the bucket's lifecycle rule catches what comes late."""
        prefix = keys.session_prefix(self._deployment.prefix, self._session.session)
        async for page in self._store.list(prefix):
            await self._store.delete([stored.key for stored in page])

    # ---------------------------------------------------------------- the client

    async def _open_client(self) -> Any:
        async with self._opening:
            if self._client is None:
                context = AioSession().create_client(
                    "lambda",
                    region_name=self._deployment.region,
                    config=AioConfig(
                        # Another try by the library would be another run of the calls.
                        retries={"total_max_attempts": 1},
                        max_pool_connections=RESPONSE_MAX_IN_FLIGHT + 1,
                        connect_timeout=CONNECT_TIMEOUT_S,
                        read_timeout=self._deployment.timeout_s + RESPONSE_MARGIN_S,
                        tcp_keepalive=True,
                        parameter_validation=False,
                        user_agent="lambdafutures",
                    ),
                )
                try:
                    self._client = await self._stack.enter_async_context(context)
                except (BotoCoreError, ValueError) as error:
                    raise s3_errors.explain_set_up(error) from error
        return self._client

    def _count(self, operation: str) -> None:
        requests = self.statistics.requests
        requests[operation] = requests.get(operation, 0) + 1
        requests.update(self._store.requests)
