"""The Lambda handler: it keeps a warm runner, hands it attempts, and always has an answer.

User code runs in the runner only. So a crash, a call that takes too long or too much memory ends
the runner, not this process, which then says what happened instead of falling silent.
"""

from __future__ import annotations

import json
import sys
import time

from lambdafutures._wire import blob, frames, invocation, keys, outcome, seal
from lambdafutures._wire.codec import Pickled
from lambdafutures._wire.invocation import Invocation, StoredParts
from lambdafutures._wire.journal import IDLE
from lambdafutures._wire.outcome import NOT_LOADED, Fault, Outcome
from lambdafutures._worker import late, refusals
from lambdafutures._worker.bundles import NoRoom, Shelf
from lambdafutures._worker.runner_process import RunnerProcess
from lambdafutures._worker.s3 import S3Client
from lambdafutures._worker.s3_http import S3Failed
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
# Of which this is left for the answer itself.
ANSWER_S = 0.3
# How often limits are looked at while the runner works.
WATCH_S = 0.05
# Kept of the function's memory for this process: it takes about 35 MB.
RESERVED_MB = 60
# How long the worker tries to reach S3 before it says that it cannot.
PROOF_S = 10.0
_MIB = 1024 * 1024


class Supervisor:
    """Serve invocations, one after the other."""

    def __init__(self) -> None:
        self._runner: RunnerProcess | None = None
        self._stores: dict[str, S3Client] = {}
        self._shelf = Shelf()

    def serve(self, fields: object, context: Any) -> dict[str, object]:
        """Run one invocation and return its answer.

        Args:
            fields: The invocation's JSON, parsed.
            context: Lambda's context object.
        """
        began_s, received_s = time.monotonic(), time.time()
        ends_s = began_s + context.get_remaining_time_in_millis() / 1000 - MARGIN_S
        try:
            asked = Invocation.decode(invocation.check_fields(fields))
        except WireError as error:
            return invocation.answer(refused=str(error))
        asked.payload.received_s = received_s
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if asked.session.python != here:
            return invocation.answer(refused=refusals.other_python(asked.session.python, here))
        try:
            if asked.proof_key is not None:
                proof_ends_s = min(ends_s, time.monotonic() + PROOF_S)
                self._store(asked.bucket).put(asked.proof_key, b"", deadline_s=proof_ends_s)
            elif asked.reply == invocation.POLL and received_s > asked.deadline_s:
                # Nobody waits any more; another attempt may be under way. (A client that waits
                # for the answer itself still does, whatever its clock says.)
                return invocation.answer(dropped="it arrived after its deadline")
            elif late.is_late(asked) and late.is_for_nobody(
                asked, self._store(asked.bucket), ends_s
            ):
                return invocation.answer(dropped="its session has ended")
            frame = self._outcome(asked, context, ends_s)
            return self._answer(asked, frame, time.monotonic() - began_s, ends_s)
        except NoRoom as error:
            return invocation.answer(refused=str(error))
        except S3Failed as failed:
            lasting = refusals.explain(failed, asked.bucket, asked.prefix)
            if lasting is not None or asked.proof_key is not None:
                return invocation.answer(refused=lasting or refusals.no_way_to_s3(failed))
            return invocation.answer(lost=str(failed))

    # ---------------------------------------------------------------- the answer

    def _answer(
        self, asked: Invocation, frame: bytes, took_s: float, ends_s: float
    ) -> dict[str, object]:
        payload = asked.payload
        sealed = seal.seal(asked.key, asked.session.session, payload.chunk, payload.attempt, frame)
        fits = invocation.fits(len(sealed), invocation.MAX_RESPONSE_BYTES)
        is_response = asked.reply == invocation.RESPONSE and fits
        answer = {"outcome": invocation.to_text(sealed)} if is_response else {}
        if not is_response or took_s >= asked.store_after_s:
            try:
                # Until the very end: the work is done, and nothing else is waiting.
                deadline_s = ends_s + MARGIN_S - ANSWER_S
                store = self._store(asked.bucket)
                store.put(asked.out_key, sealed, only_if_absent=True, deadline_s=deadline_s)
                answer["stored"] = asked.out_key
                late.take_back(asked, store, deadline_s)
            except S3Failed:
                if not is_response:  # else it goes home all the same
                    raise
        return invocation.answer(**answer)

    def _store(self, bucket: str) -> S3Client:
        if bucket not in self._stores:
            self._stores[bucket] = S3Client(bucket)
        return self._stores[bucket]

    # ---------------------------------------------------------------- the run

    def _outcome(self, asked: Invocation, context: Any, ends_s: float) -> bytes:
        memory_mb = int(context.memory_limit_in_mb)
        try:
            runner = self._begun(asked, ends_s)
            frame = self._watch(asked, memory_mb, ends_s, runner)
            if frame is None:
                self._drop_runner()
                runner = self._begun(asked, ends_s)
                frame = self._watch(asked, memory_mb, ends_s, runner)
        except BlobMissing as missing:
            return self._packed(asked, Fault(outcome.BLOB_MISSING, str(missing)))
        except NoRoom:
            raise  # no other attempt of the session would fare better
        except WireError as error:
            return self._packed(asked, Fault(outcome.REFUSED, str(error)))
        except OSError as error:
            self._drop_runner()
            return self._packed(asked, Fault(outcome.DIED, f"could not be begun: {error}"))
        return frame or self._died(asked, memory_mb, runner)

    def _begun(self, asked: Invocation, ends_s: float) -> RunnerProcess:
        """Hand the attempt to the warm runner, or to a new one, and return it."""
        runner = self._runner_for(asked, ends_s)
        try:
            self._hand_over(asked, ends_s, runner)
        except OSError:
            # It ended while nobody looked, between two invocations: this attempt had no part in
            # that. But if its initializer failed, that is what it has left to say.
            if runner.has_message:
                return runner
            self._drop_runner()
            runner = self._runner_for(asked, ends_s)
            self._hand_over(asked, ends_s, runner)
        return runner

    def _hand_over(self, asked: Invocation, ends_s: float, runner: RunnerProcess) -> None:
        payload = asked.payload
        with_function = not runner.holds(payload.function)
        parts: list[Buffer] = []
        if with_function:
            if asked.stored_function:
                key = keys.blob_key(asked.prefix, payload.function)
                data = self._store(asked.bucket).get(key, deadline_s=ends_s)
                payload.function_parts = invocation.unpack_parts(data)
            blob.check(payload.function_parts, payload.function)
            parts += payload.function_parts
        if asked.stored_arguments is not None:
            payload.arguments = self._fetched(asked, asked.stored_arguments, ends_s)
        runner.send(payload.encode_head(with_function=with_function), [*parts, *payload.arguments])

    def _fetched(self, asked: Invocation, stored: StoredParts, ends_s: float) -> Sequence[Buffer]:
        """Return parts that did not fit the payload, checked."""
        store = self._store(asked.bucket)
        data = store.get(stored.key, stored.start, stored.length, deadline_s=ends_s)
        parts = invocation.unpack_parts(data)
        blob.check(parts, stored.sha256)
        return parts

    def _runner_for(self, asked: Invocation, ends_s: float) -> RunnerProcess:
        """Return the warm runner if it is of this session, else a new one."""
        runner = self._runner
        if runner is not None and (runner.session != asked.session.session or runner.has_ended):
            self._drop_runner()
        self._fetch_bundles(asked, ends_s)
        if self._runner is None:
            if asked.stored_initializer is not None:
                data, *buffers = self._fetched(asked, asked.stored_initializer, ends_s)
                asked.session.initializer = Pickled(data, buffers)
            self._runner = RunnerProcess(asked.session)
        return self._runner

    def _fetch_bundles(self, asked: Invocation, ends_s: float) -> None:
        payload = asked.payload
        # What the initializer needs, every call needs: it is among the payload's.
        if payload.bundles:
            payload.fetched_bytes += self._shelf.fetch(
                payload.bundles, self._store(asked.bucket), asked.prefix, ends_s, self._drop_runner
            )
            asked.session.place_bundles({bundle.name: bundle.folder for bundle in payload.bundles})

    def _drop_runner(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()

    def _watch(
        self, asked: Invocation, memory_mb: int, ends_s: float, runner: RunnerProcess
    ) -> bytes | None:
        """Wait for the outcome, and end the runner when a limit is passed.

        Return None if the runner, warm from earlier attempts, ended before it took this one, which
        had no part in that then.
        """
        while True:
            frame = runner.wait(WATCH_S)
            if frame is not None:
                return self._received(asked, frame, runner)
            if runner.has_ended:
                frame = runner.wait(0)  # what it wrote before its end
                if frame is not None:
                    return self._received(asked, frame, runner)
                name = asked.payload.chunk, asked.payload.attempt
                if runner.is_warm and runner.journal.running(*name)[0] == IDLE:
                    return None
                return self._died(asked, memory_mb, runner)
            fault = self._fault(asked, runner, memory_mb, ends_s)
            if fault is not None:
                runner.kill()
                return self._salvaged(asked, runner, fault)

    def _received(self, asked: Invocation, frame: Frame, runner: RunnerProcess) -> bytes:
        if frame.kind == frames.FAILED:
            self._drop_runner()
            described = json.loads(frame.head)
            text = f"{described['type']}: {described['message']}\n\n{described['traceback']}"
            return self._packed(asked, Fault(outcome.INITIALIZER, text))
        if not runner.holds(asked.payload.function):
            answer = Outcome.decode(frame.head, frame.parts)
            if not any(entry.status == NOT_LOADED for entry in answer.entries):
                runner.keep(asked.payload.function)
        return frames.pack(frame.kind, frame.head, frame.parts)

    def _fault(
        self, asked: Invocation, runner: RunnerProcess, memory_mb: int, ends_s: float
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
        if asked.memory_mb is not None and used_mb > asked.memory_mb:
            message = f"used {used_mb:,.0f} MiB of memory, more than the limit of {asked.memory_mb}"
            return Fault(outcome.MEMORY, message, running)
        if used_mb > memory_mb - RESERVED_MB:
            message = f"used {used_mb:,.0f} MiB of memory, its function has {memory_mb} MiB in all"
            return Fault(outcome.MEMORY, message, running)
        return None

    def _died(self, asked: Invocation, memory_mb: int, runner: RunnerProcess) -> bytes:
        payload = asked.payload
        call, _ = runner.journal.running(payload.chunk, payload.attempt)
        peak_mb = runner.killed_at_bytes / _MIB
        if peak_mb > memory_mb - RESERVED_MB:
            # The kernel was faster than we: within two looks, memory can grow by a hundred MiB.
            message = f"used {peak_mb:,.0f} MiB of memory, its function has {memory_mb} MiB in all"
            fault = Fault(outcome.MEMORY, message, None if call == IDLE else call)
            return self._salvaged(asked, runner, fault)
        message = f"ended its worker: process {runner.pid} {runner.how_it_ended()}"
        fault = Fault(outcome.DIED, message, None if call == IDLE else call)
        return self._salvaged(asked, runner, fault)

    def _salvaged(self, asked: Invocation, runner: RunnerProcess, fault: Fault) -> bytes:
        payload = asked.payload
        salvaged = runner.journal.salvage(payload.chunk, payload.attempt, fault)
        salvaged.received_s = payload.received_s or 0.0
        salvaged.is_first = not runner.is_warm
        packed = frames.pack(frames.OUTCOME, *salvaged.encode())
        self._drop_runner()
        return packed

    def _packed(self, asked: Invocation, fault: Fault) -> bytes:
        answer = Outcome(asked.payload.chunk, asked.payload.attempt, fault=fault)
        return frames.pack(frames.OUTCOME, *answer.encode())


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
