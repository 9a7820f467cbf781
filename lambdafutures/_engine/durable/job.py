"""One durable job as its client has it: made anew, or taken up where another has left it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from lambdafutures import events
from lambdafutures._backends.base import Invoker, Store
from lambdafutures._engine.chunk import CallOptions, Chunk, Function
from lambdafutures._engine.durable.call_futures import CallFutures
from lambdafutures._engine.durable.clerk import Clerk
from lambdafutures._engine.durable.intake import Intake
from lambdafutures._engine.durable.ledger import Ledger
from lambdafutures._engine.durable.place import JobPlace
from lambdafutures._engine.durable.reader import JobReader, JobRecord
from lambdafutures._engine.durable.recording_invoker import LastingInvoker, RecordingInvoker
from lambdafutures._engine.durable.records import JobHead
from lambdafutures._engine.durable.session import DurableSession, LeftChunk
from lambdafutures._wire import codec, invocation
from lambdafutures._wire.payload import SessionHead
from lambdafutures.futures import LambdaFuture
from lambdafutures.jobs import JobHandle


class Found(NamedTuple):
    """Hold what was read of a job that is taken up."""

    head: JobHead
    record: JobRecord


async def take_over(store: Store, place: JobPlace, check: Callable[[SessionHead], object]) -> Found:
    """Read a job, and end the client that may still have it.

    Args:
        store: The job's store.
        place: Its keys and seal.
        check: Raises if this client cannot go on with it.

    Raises:
        JobNotFound: If it is not there, or not all of it.
        WireError: If an object is not ours, or of another version.
    """
    reader = JobReader(store, place)
    head = await reader.head()
    check(head.session)
    record = await reader.record()
    await reader.claim(record)
    return Found(head, record)


class DurableJob:
    """Make the parts of a durable session.

    Args:
        handle: The job's handle.
        prefix: Prefix of all keys of its store.
        store: Its store, for the loop of the session that is to come.
        memory_mb: Which of the deployment's functions runs its calls, by its memory in MiB.
        limit_mb: Memory that a call may use, in MiB.
        found: What was read, if the job is taken up.
    """

    def __init__(
        self,
        handle: JobHandle,
        prefix: str,
        store: Store,
        memory_mb: int | None = None,
        limit_mb: int | None = None,
        found: Found | None = None,
    ) -> None:
        self.handle = handle
        self.futures: tuple[LambdaFuture[Any], ...] = ()
        """Futures of the calls that earlier clients have submitted, in order."""
        self.next_chunk = 0
        self.head = found.head.session if found is not None else None
        self._place = JobPlace(prefix, handle.session, handle.key)
        self._store = store
        self._sizes_mb = memory_mb, limit_mb
        self._record = found.record if found is not None else None
        self._left: list[LeftChunk] = []
        self._session: DurableSession | None = None
        if self._record is not None:
            self._take_up(self._record)

    def _take_up(self, record: JobRecord) -> None:
        futures: list[LambdaFuture[Any]] = []
        functions: dict[str, Function] = {}
        options: dict[bytes, CallOptions] = {}
        for row, packed in sorted(record.chunks, key=lambda each: each[0].number):
            if packed not in options:
                options[packed] = codec.loads(invocation.unpack_parts(packed))
            function = functions.setdefault(row.function, Function(row.function, ()))
            future: LambdaFuture[Any] | CallFutures
            if row.calls == 1:
                future = LambdaFuture(self._place.session, row.number)
                futures.append(future)
            else:
                future = CallFutures(self._place.session, row.number, row.calls)
                futures += future.calls
            chunk = Chunk(
                row.number,
                row.calls,
                function,
                (),
                row.has_kwargs,
                future,
                row.submitted_s,
                options[packed],
                record.bundles[row.number],
            )
            chunk.place = self._place.arguments(row.arguments)
            sent = record.sent.get(row.number, [])
            if row.number in record.cancelled:
                future._settle_cancelled()
            else:
                if sent:
                    future.set_running_or_notify_cancel()
                self._left.append(LeftChunk(chunk, sent))
            self.next_chunk = row.number + 1
        self.futures = tuple(futures)

    def prepare(self, options: CallOptions) -> None:
        """Pickle a call's options, on the thread that submits it.

        Args:
            options: Its options.

        Raises:
            Exception: What the pickling raises.
        """
        self._intake.prepare(options)

    def open(
        self, invoker: Invoker, head: SessionHead, observers: Sequence[events.Observer]
    ) -> DurableSession:
        """Return the running session.

        Args:
            invoker: The backend's invoker.
            head: What workers are told.
            observers: Who is told what happens.

        Raises:
            OSError: If the handle cannot be saved.
        """
        store, place, record = self._store, self._place, self._record
        if record is None:
            self._save_handle()
            ledger = Ledger(store, place, JobHead(head, *self._sizes_mb))
        else:
            ledger = Ledger(store, place, next_number=record.next_number)
        stored = {row.function for row, _ in record.chunks} if record is not None else ()
        self._intake = Intake(store, place, ledger, head.serializer, stored)
        if self.handle.backend == "aws":
            recorder = RecordingInvoker(invoker, ledger, lasting=cast(LastingInvoker, invoker))
        else:
            recorder = RecordingInvoker(invoker, ledger, clerk=Clerk(store, place))
        reader = JobReader(store, place)
        left, self._left = self._left, []
        session = DurableSession(
            place.session, recorder, observers, ledger, self._intake, reader, left
        )
        for each in left:
            each.chunk.future._belong_to(session, each.chunk)
        self._session = session
        return session

    def wait_stored(self, timeout_s: float | None) -> None:
        """Wait until all that was submitted until now is stored.

        Args:
            timeout_s: Seconds to wait at the most; None for as long as it takes.

        Raises:
            TimeoutError: If it is not by then.
            BaseException: Why nothing can be stored any more.
        """
        if self._session is not None:
            self._session.wait_stored(timeout_s)

    def _save_handle(self) -> None:
        try:
            self.handle.save()
        except OSError as error:
            error.add_note("LAMBDAFUTURES_HOME names another folder for the handles of jobs")
            raise
