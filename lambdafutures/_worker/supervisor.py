"""The Lambda handler: it keeps a warm runner, hands it attempts, and always has an answer.

User code runs in the runner only. So a crash, a call that takes too long or too much memory ends
the runner, not this process, which then says what happened instead of falling silent.
"""

from __future__ import annotations

import json
import sys
import time

from lambdafutures._wire import blob, frames, invocation, keys, outcome, seal
from lambdafutures._wire.invocation import Invocation
from lambdafutures._wire.journal import IDLE
from lambdafutures._wire.outcome import Fault, Outcome
from lambdafutures._worker.runner_process import RunnerProcess
from lambdafutures._worker.s3 import S3Client
from lambdafutures.exceptions import BlobMissing, WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from lambdafutures._wire.codec import Buffer
    from lambdafutures._wire.frames import Frame

# Kept of the function's own time, to write the outcome before Lambda ends the sandbox: an S3 PUT
# takes tens of milliseconds, and its retry as long again.
MARGIN_S = 1.5
# How often limits are looked at while the runner works.
WATCH_S = 0.05
# Kept of the function's memory for this process: it takes about 35 MB.
RESERVED_MB = 60
# An outcome that took longer than this to make is stored as well as answered: should the response
# be cut on its way, the work is not done twice. A PUT is dear beside shorter calls.
LONG_S = 10.0
_MIB = 1024 * 1024


class Supervisor:
    """Serve invocations, one after the other."""

    def __init__(self) -> None:
        self._runner: RunnerProcess | None = None
        self._stores: dict[str, S3Client] = {}

    def serve(self, fields: object, context: Any) -> dict[str, object]:
        """Run one invocation and return its answer.

        Args:
            fields: The invocation's JSON, parsed.
            context: Lambda's context object.
        """
        try:
            asked = Invocation.decode(invocation.check_fields(fields))
        except WireError as error:
            return invocation.answer(refused=str(error))
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if asked.session.python != here:
            return invocation.answer(
                refused=f"the client runs Python {asked.session.python}, the function {here}: run "
                "`lambdafutures deploy` with the client's Python"
            )
        if time.time() > asked.deadline_s:
            # Nobody waits any more; another attempt may be under way.
            return invocation.answer(dropped="it arrived after its deadline")
        began = time.monotonic()
        frame = self._outcome(asked, context)
        return self._answer(asked, frame, time.monotonic() - began)

    # ---------------------------------------------------------------- the answer

    def _answer(self, asked: Invocation, frame: bytes, took_s: float) -> dict[str, object]:
        payload = asked.payload
        sealed = seal.seal(asked.key, asked.session.session, payload.chunk, payload.attempt, frame)
        fits = invocation.fits(len(sealed), invocation.MAX_RESPONSE_BYTES)
        is_response = asked.reply == invocation.RESPONSE and fits
        if is_response and took_s < LONG_S:
            return invocation.answer(outcome=invocation.to_text(sealed))
        self._store(asked.bucket).put(asked.out_key, sealed, only_if_absent=True)
        if is_response:
            return invocation.answer(outcome=invocation.to_text(sealed))
        return invocation.answer(stored=asked.out_key)

    def _store(self, bucket: str) -> S3Client:
        if bucket not in self._stores:
            self._stores[bucket] = S3Client(bucket)
        return self._stores[bucket]

    # ---------------------------------------------------------------- the run

    def _outcome(self, asked: Invocation, context: Any) -> bytes:
        try:
            parts = self._parts(asked)
        except BlobMissing as missing:
            return self._packed(asked, Fault(outcome.BLOB_MISSING, str(missing)))
        except WireError as error:
            return self._packed(asked, Fault(outcome.REFUSED, str(error)))
        runner = self._runner_for(asked)
        with_function = bool(asked.payload.function_parts)
        try:
            runner.send(asked.payload.encode_head(with_function=with_function), parts)
        except OSError as error:
            self._drop_runner()
            return self._packed(asked, Fault(outcome.DIED, f"could not be begun: {error}"))
        return self._watch(asked, context, runner)

    def _parts(self, asked: Invocation) -> list[Buffer]:
        """Return function and arguments, fetched where they are not inline, and checked."""
        payload = asked.payload
        store = self._store(asked.bucket)
        if asked.stored_function:
            key = keys.blob_key(asked.prefix, payload.function)
            payload.function_parts = _unpacked(store.get(key))
        blob.check(payload.function_parts, payload.function)
        stored = asked.stored_arguments
        if stored is not None:
            payload.arguments = _unpacked(store.get(stored.key, stored.start, stored.length))
            blob.check(payload.arguments, stored.sha256)
        return [*payload.function_parts, *payload.arguments]

    def _runner_for(self, asked: Invocation) -> RunnerProcess:
        """Return the warm runner if it is of this session, else a new one."""
        runner = self._runner
        if runner is not None and (runner.session != asked.session.session or runner.has_ended):
            self._drop_runner()
        if self._runner is None:
            self._runner = RunnerProcess(asked.session)
        return self._runner

    def _drop_runner(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()

    def _watch(self, asked: Invocation, context: Any, runner: RunnerProcess) -> bytes:
        """Wait for the outcome, and end the runner when a limit is passed."""
        limit_mb = int(context.memory_limit_in_mb)
        ends_s = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - MARGIN_S
        while True:
            frame = runner.wait(WATCH_S)
            if frame is not None:
                return self._received(asked, frame)
            if runner.has_ended:
                frame = runner.wait(0)  # what it wrote before its end
                return self._received(asked, frame) if frame else self._died(asked, runner)
            fault = self._fault(asked, runner, limit_mb, ends_s)
            if fault is not None:
                runner.kill()
                return self._salvaged(asked, runner, fault)

    def _received(self, asked: Invocation, frame: Frame) -> bytes:
        if frame.kind == frames.FAILED:
            self._drop_runner()
            described = json.loads(frame.head)
            text = f"{described['type']}: {described['message']}\n\n{described['traceback']}"
            return self._packed(asked, Fault(outcome.INITIALIZER, text))
        return frames.pack(frame.kind, frame.head, frame.parts)

    def _fault(
        self, asked: Invocation, runner: RunnerProcess, limit_mb: int, ends_s: float
    ) -> Fault | None:
        payload = asked.payload
        call, started_s = runner.journal.running(payload.chunk, payload.attempt)
        running = None if call == IDLE else call
        now_s = time.monotonic()
        what = "was still being set up" if call < 0 else "had not returned"
        limit_s = payload.limit_s
        if limit_s is not None and call != IDLE and now_s > started_s + limit_s:
            message = f"{what} after its time limit of {limit_s:g} s"
            return Fault(outcome.TIME, message, running)
        if now_s > ends_s:
            if running is not None and running > _first(payload.calls):
                return Fault(outcome.CUT, "was cut off by the end of its worker's time", running)
            message = f"{what} when its function's time-out came"
            return Fault(outcome.TIME, message, running)
        used_mb = runner.resident_bytes() / _MIB
        if used_mb > limit_mb - RESERVED_MB:
            message = f"used {used_mb:,.0f} MiB of memory, its function has {limit_mb} MiB in all"
            return Fault(outcome.MEMORY, message, running)
        return None

    def _died(self, asked: Invocation, runner: RunnerProcess) -> bytes:
        payload = asked.payload
        call, _ = runner.journal.running(payload.chunk, payload.attempt)
        message = f"ended its worker: process {runner.pid} {runner.how_it_ended()}"
        fault = Fault(outcome.DIED, message, None if call == IDLE else call)
        return self._salvaged(asked, runner, fault)

    def _salvaged(self, asked: Invocation, runner: RunnerProcess, fault: Fault) -> bytes:
        payload = asked.payload
        salvaged = runner.journal.salvage(payload.chunk, payload.attempt, fault)
        packed = frames.pack(frames.OUTCOME, *salvaged.encode())
        self._drop_runner()
        return packed

    def _packed(self, asked: Invocation, fault: Fault) -> bytes:
        answer = Outcome(asked.payload.chunk, asked.payload.attempt, fault=fault)
        return frames.pack(frames.OUTCOME, *answer.encode())


def _unpacked(data: Buffer) -> Sequence[Buffer]:
    return invocation.unpack_parts(data)


def _first(calls: Sequence[tuple[int, int]] | None) -> int:
    return calls[0][0] if calls else 0


_supervisor = Supervisor()


def handler(event: object, context: Any) -> dict[str, object]:
    """Answer an invocation; the entry point that the deployment names.

    Args:
        event: The invocation's JSON, parsed.
        context: Lambda's context object.
    """
    return _supervisor.serve(event, context)
