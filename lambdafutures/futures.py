"""`LambdaFuture`, and the vocabulary of `concurrent.futures` so that one import suffices.

An outcome is unpickled where it is asked for, in the thread that calls `result()` or `exception()`:
user code (``__setstate__``, imports) never runs on the event loop, and results that nobody has
looked at stay packed.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    InvalidStateError,
    as_completed,
    wait,
)
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from lambdafutures._wire import codec, outcome, remote_error
from lambdafutures._wire.outcome import Entry
from lambdafutures.exceptions import NotLoadable, RemoteError

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BrokenExecutor",
    "CallOutput",
    "CancelledError",
    "Executor",
    "Future",
    "InvalidStateError",
    "LambdaFuture",
    "LogLine",
    "Timings",
    "as_completed",
    "wait",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LogLine:
    """Hold one log record of a call.

    Args:
        time_s: When it was made, in seconds since the epoch.
        level: Name of its level.
        logger: Name of its logger.
        message: Its text.
    """

    time_s: float
    level: str
    logger: str
    message: str


@dataclass(frozen=True, slots=True)
class CallOutput:
    """Hold what a call printed and logged.

    Args:
        stdout: Text written to `sys.stdout`.
        stderr: Text written to `sys.stderr`.
        logs: Records made through `logging`.
    """

    stdout: str = ""
    stderr: str = ""
    logs: tuple[LogLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Timings:
    """Tell where the time of a call went; instants are seconds since the epoch.

    Args:
        submitted_s: When the call was handed to the executor.
        sent_s: When its last attempt was sent.
        received_s: When the worker received that.
        setup_s: Seconds from there to its chunk's first call: unpickling, imports.
        run_s: Seconds that the function ran.
        packing_s: Seconds to pickle the results of its chunk.
        done_s: When the outcome reached the client.
    """

    submitted_s: float
    sent_s: float
    received_s: float
    setup_s: float
    run_s: float
    packing_s: float
    done_s: float


class AttemptFacts:
    """Hold what is known of the attempt that ended some calls; shared by them."""

    __slots__ = (
        "attempts",
        "done_s",
        "output",
        "packing_s",
        "peak_memory_bytes",
        "received_s",
        "sent_s",
        "setup_s",
        "submitted_s",
    )

    def __init__(
        self,
        attempts: int,
        submitted_s: float,
        sent_s: float,
        done_s: float,
        received_s: float = 0.0,
        setup_s: float = 0.0,
        packing_s: float = 0.0,
        peak_memory_bytes: int = 0,
        output: dict[int, dict[str, Any]] | None = None,
    ) -> None:
        self.attempts = attempts
        self.submitted_s = submitted_s
        self.sent_s = sent_s
        self.done_s = done_s
        self.received_s = received_s
        self.setup_s = setup_s
        self.packing_s = packing_s
        self.peak_memory_bytes = peak_memory_bytes
        self.output = output


class Ending:
    """Tell how consecutive calls of a chunk ended: packed values, or one exception.

    Args:
        entry: What the worker answered; of status OK unless the calls failed.
        facts: What is known of the attempt.
        run_s: Run time of each call, in seconds.
        error: The exception, where it was made by the client.
    """

    __slots__ = ("_error", "count", "entry", "facts", "first", "run_s")

    def __init__(
        self,
        entry: Entry,
        facts: AttemptFacts,
        run_s: array[float] | None = None,
        error: BaseException | None = None,
    ) -> None:
        self.entry = entry
        self.first = entry.first
        self.count = entry.count
        self.facts = facts
        self.run_s = run_s
        self._error = error

    @property
    def failed(self) -> bool:
        """Whether the calls ended in an exception."""
        return self.entry.status != outcome.OK

    def unpack(self) -> tuple[list[Any], BaseException | None]:
        """Return the values, or the exception; user code may run here."""
        if self._error is not None:
            return [], self._error
        entry = self.entry
        if entry.status == outcome.OK:
            try:
                return codec.loads(entry.parts), None
            except Exception as error:  # noqa: BLE001 - user code
                return [], _caused_by(
                    NotLoadable(
                        "a result could not be unpickled in the client: "
                        f"{type(error).__name__}: {error}"
                    ),
                    error,
                )
        original = _rebuilt(entry)
        if entry.status == outcome.RAISED:
            return [], original
        described = entry.error or {}
        return [], _caused_by(
            NotLoadable(
                f"the call's {described.get('what', 'payload')} could not be unpickled in the "
                f"worker: {described.get('type')}: {described.get('message')}"
            ),
            original,
        )


def _caused_by(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def _rebuilt(entry: Entry) -> BaseException:
    """Return the exception that a worker raised, with its remote traceback as cause."""
    from concurrent.futures import process

    # Private, but what `ProcessPoolExecutor` sets and other code looks for.
    remote_traceback: Any = process._RemoteTraceback
    described = entry.error or {}
    error: BaseException | None = None
    if entry.parts:
        try:
            error = remote_error.unpack(entry.parts)
        except Exception:  # noqa: BLE001 - user code; the description is good enough
            error = None
    if error is None:
        error = RemoteError(str(described.get("type")), str(described.get("message")))
    text = described.get("traceback", "")
    return _caused_by(error, remote_traceback(f'\n"""\n{text}"""'))


class _SlimCondition:
    """Do what a future needs of `threading.Condition`, in a sixth of its memory.

    There are as many of these as there are calls outstanding, and hardly any is ever waited on.
    """

    __slots__ = ("_lock", "_waiters")

    def __init__(self) -> None:
        self._lock: Any = threading.RLock()
        self._waiters: list[Any] = _NO_WAITERS

    def acquire(self) -> None:
        self._lock.acquire()

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait to be notified; return False if that takes longer than `timeout` seconds."""
        waiter = threading.Lock()
        waiter.acquire()
        if self._waiters is _NO_WAITERS:
            self._waiters = []
        self._waiters.append(waiter)
        # What `threading.Condition` does: let go of the lock, however often it was taken.
        depth = self._lock._release_save()
        notified = False
        try:
            notified = waiter.acquire(True, -1 if timeout is None else max(0.0, timeout))
        finally:
            self._lock._acquire_restore(depth)
            if not notified and waiter in self._waiters:
                self._waiters.remove(waiter)
        return notified

    def notify_all(self) -> None:
        """Wake all who wait."""
        if self._waiters:
            waiters, self._waiters = self._waiters, _NO_WAITERS
            for waiter in waiters:
                waiter.release()


_NO_WAITERS: list[Any] = []


class Canceller(Protocol):
    """What is told that a future was cancelled."""

    def cancel(self, chunk: Any, /) -> None:
        """Take note that nobody wants a chunk any more."""


class _PackedFuture(Future[T], Generic[T]):
    """A future whose outcome is unpacked by whoever asks for it first.

    Its methods that begin with an underscore are for the engine.
    """

    def __init__(self) -> None:
        # The fields of `Future`, whose own `__init__` would make a `threading.Condition`: that
        # is half of a future's memory and of the time that making it takes.
        self._condition: Any = _SlimCondition()
        self._state = PENDING
        self._result = None
        self._exception = None
        self._waiters = []
        self._done_callbacks: list[Callable[[Future[T]], object]] = []
        self._canceller: Canceller | None = None
        self._chunk: object = None
        self._packed: list[Ending] | None = None

    def _belong_to(self, canceller: Canceller, chunk: object) -> None:
        """Name who is told, and of what, should the future be cancelled."""
        self._chunk = chunk
        self._canceller = canceller

    def _settle(self, endings: list[Ending]) -> bool:
        """Finish with packed endings; return whether done-callbacks are to be run.

        The callbacks are user code, so they are run by `_invoke_callbacks` on another thread.
        """
        with self._condition:
            self._packed = endings
            self._state = FINISHED
            self._canceller = self._chunk = None
            for waiter in self._waiters:
                if any(ending.failed for ending in endings):
                    waiter.add_exception(self)
                else:
                    waiter.add_result(self)
            self._condition.notify_all()
            return bool(self._done_callbacks)

    def _settle_cancelled(self) -> bool:
        """End as cancelled, and tell those who wait; return whether callbacks are to be run."""
        with self._condition:
            if self._state not in (PENDING, CANCELLED):
                return False
            # A future that its user has cancelled has had its callbacks run by that.
            has_callbacks = self._state == PENDING and bool(self._done_callbacks)
            self._state = CANCELLED_AND_NOTIFIED
            self._canceller = self._chunk = None
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            self._condition.notify_all()
            return has_callbacks

    def cancel(self) -> bool:
        """Cancel the call if it has not been sent; return whether it is cancelled."""
        if not super().cancel():
            return False
        canceller, self._canceller = self._canceller, None
        if canceller is not None:
            canceller.cancel(self._chunk)
        return True

    def result(self, timeout: float | None = None) -> T:
        """Return what the call returned, waiting for it.

        Args:
            timeout: Seconds to wait at the most; None for as long as it takes.

        Raises:
            TimeoutError: If it has not ended by then.
            CancelledError: If it was cancelled.
            BaseException: Whatever the call raised.
        """
        if self._packed is None:
            value = super().result(timeout)
            if self._packed is None:
                return value
        self._unpack()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call raised, or None, waiting for its end.

        Args:
            timeout: Seconds to wait at the most; None for as long as it takes.

        Raises:
            TimeoutError: If it has not ended by then.
            CancelledError: If it was cancelled.
        """
        if self._packed is None:
            error = super().exception(timeout)
            if self._packed is None:
                return error
        self._unpack()
        return super().exception(timeout)

    def _get_snapshot(self) -> Any:
        # Python 3.14's asyncio reads the fields through this.
        if self._packed is not None:
            self._unpack()
        return super()._get_snapshot()  # type: ignore[misc]

    def _unpack(self) -> None:
        endings = self._packed
        if endings is None:
            return
        # No lock is held while user code runs. Two threads may both unpack: the first to finish
        # stores its result, and both return that one.
        value, error = self._open(endings)
        with self._condition:
            if self._packed is not None:
                self._result = cast(T, value)
                self._exception = error
                self._packed = None

    def _open(self, endings: list[Ending]) -> tuple[object, BaseException | None]:
        raise NotImplementedError

    def _run_callbacks(self) -> None:
        self._invoke_callbacks()  # type: ignore[attr-defined]


class LambdaFuture(_PackedFuture[T]):
    """Hold the future result of one call: a `concurrent.futures.Future` that can be awaited.

    Beside the standard interface it tells, once the call has ended, what is known of it. `await`
    works in any event loop; for functions that take coroutines only, such as
    `asyncio.TaskGroup.create_task`, use `coroutine()`.

    Args:
        session: Id of the executor's session.
        number: Number of the call's chunk in the session.
    """

    def __init__(self, session: str = "", number: int = 0) -> None:
        super().__init__()
        self._session = session
        self._number = number
        self._facts: AttemptFacts | None = None
        self._run_s = 0.0

    def _settle(self, endings: list[Ending]) -> bool:
        ending = endings[0]
        self._facts = ending.facts
        if ending.run_s:
            self._run_s = ending.run_s[0]
        return super()._settle(endings)

    def _open(self, endings: list[Ending]) -> tuple[object, BaseException | None]:
        values, error = endings[0].unpack()
        return (None, error) if error is not None else (values[0], None)

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio

        return asyncio.wrap_future(self).__await__()

    async def coroutine(self) -> T:
        """Return a coroutine of this future, for `TaskGroup.create_task` and `asyncio.wait`."""
        return await self

    @property
    def call_id(self) -> str:
        """Names the call: its executor's session and its number there."""
        return f"{self._session}-{self._number}"

    @property
    def attempts(self) -> int:
        """How often the call was tried; 0 while it has not ended."""
        return self._facts.attempts if self._facts else 0

    @property
    def timings(self) -> Timings | None:
        """Where the time went; None while the call has not ended."""
        facts = self._facts
        if facts is None:
            return None
        return Timings(
            submitted_s=facts.submitted_s,
            sent_s=facts.sent_s,
            received_s=facts.received_s,
            setup_s=facts.setup_s,
            run_s=self._run_s,
            packing_s=facts.packing_s,
            done_s=facts.done_s,
        )

    @property
    def peak_memory_bytes(self) -> int | None:
        """The worker's peak resident memory by the end of the call, or None if unknown."""
        return (self._facts.peak_memory_bytes or None) if self._facts else None

    @property
    def output(self) -> CallOutput | None:
        """What the call printed and logged; None while it has not ended."""
        if self._facts is None:
            return None
        said = (self._facts.output or {}).get(0, {})
        return CallOutput(
            stdout=said.get("stdout", ""),
            stderr=said.get("stderr", ""),
            logs=tuple(LogLine(**line) for line in said.get("logs", ())),
        )

    def __repr__(self) -> str:
        state = str(self._state).lower().replace("_and_notified", "")
        tried = f" attempts={self.attempts}" if self._facts else ""
        return f"<LambdaFuture {self.call_id} {state}{tried}>"


class ChunkFuture(_PackedFuture[list[Ending]]):
    """Hold the future endings of a map's chunk.

    The calls of a map have no future each: one of 10,000 calls would spend more time on them than
    on the calls.
    """

    def _open(self, endings: list[Ending]) -> tuple[object, BaseException | None]:
        return endings, None

    def results(self, timeout: float | None = None) -> Iterator[Any]:
        """Yield the calls' results in order; raise the first exception in its place.

        Args:
            timeout: Seconds to wait for the chunk at the most; None for as long as it takes.
        """
        endings = self.result(timeout)
        self._result = None
        endings.reverse()
        while endings:
            values, error = endings.pop().unpack()
            if error is not None:
                try:
                    raise error
                finally:
                    del error  # else the traceback would keep itself alive
            values.reverse()
            while values:
                yield values.pop()
