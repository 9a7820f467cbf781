"""Futures whose outcome is unpacked by whoever asks for it first.

User code (``__setstate__``, imports) then runs in that thread, never on the event loop, and results
that nobody has looked at stay packed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import Any, Generic, Protocol, TypeVar, cast

from lambdafutures._endings import Ending

T = TypeVar("T")

# What takes longer to unpack than to hand to another thread (50 us or so) is unpacked there, where
# an event loop waits for it.
UNPACK_ON_LOOP_BYTES = 64 * 1024


class SlimCondition:
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


class PackedFuture(Future[T], Generic[T]):
    """A future whose outcome is unpacked by whoever asks for it first.

    Its methods that begin with an underscore are for the engine.
    """

    def __init__(self) -> None:
        # The fields of `Future`, whose own `__init__` would make a `threading.Condition`: that
        # is half of a future's memory and of the time that making it takes.
        self._condition: Any = SlimCondition()
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
        self._wait_unpacked(timeout)
        if self._exception is not None:
            try:
                raise self._exception
            finally:
                del self  # else the exception's traceback would keep it alive
        return cast(T, self._result)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call raised, or None, waiting for its end.

        Args:
            timeout: Seconds to wait at the most; None for as long as it takes.

        Raises:
            TimeoutError: If it has not ended by then.
            CancelledError: If it was cancelled.
        """
        self._wait_unpacked(timeout)
        return self._exception

    def _wait_unpacked(self, timeout: float | None) -> None:
        with self._condition:
            if self._state != FINISHED:
                if self._state not in (CANCELLED, CANCELLED_AND_NOTIFIED):
                    self._condition.wait(timeout)
                if self._state in (CANCELLED, CANCELLED_AND_NOTIFIED):
                    raise CancelledError
                if self._state != FINISHED:
                    raise TimeoutError
        if self._packed is not None:
            self._unpack()

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
        # Here rather than in the callbacks: that of `await` runs on the awaiter's event loop.
        self._unpack()
        self._invoke_callbacks()  # type: ignore[attr-defined]

    def _is_large(self) -> bool:
        """Tell whether what has come home takes so long to unpack that a loop would notice."""
        packed = self._packed
        return packed is not None and sum(each.nbytes for each in packed) > UNPACK_ON_LOOP_BYTES


class ChunkFuture(PackedFuture[list[Ending]]):
    """Hold the future endings of a map's chunk.

    The calls of a map have no future each: one of 10,000 calls would spend more time on them than
    on the calls.

    Args:
        count: How many calls the chunk has.
    """

    def __init__(self, count: int = 1) -> None:
        super().__init__()
        self._count = count

    def _open(self, endings: list[Ending]) -> tuple[object, BaseException | None]:
        return endings, None

    def watch(self, on_done: Callable[[ChunkFuture], object]) -> None:
        """Have a function called when the chunk has ended, at once if it has.

        Args:
            on_done: Called with this future, on any thread; it must neither block nor raise.
        """
        with self._condition:
            if self._state not in (FINISHED, CANCELLED_AND_NOTIFIED):
                self._waiters.append(cast(Any, _Watcher(on_done)))
                return
        on_done(self)

    async def unpack_ahead(self) -> None:
        """Unpack what is large on another thread, so that the caller's event loop goes on."""
        if self._is_large():
            import asyncio

            await asyncio.to_thread(self._unpack_endings)

    def _unpack_endings(self) -> None:
        for ending in self._packed or ():
            ending.unpack_ahead()

    def results(
        self, timeout: float | None = None, *, return_exceptions: bool = False
    ) -> Iterator[Any]:
        """Yield the calls' results in order; raise the first exception in its place.

        Args:
            timeout: Seconds to wait for the chunk at the most; None for as long as it takes.
            return_exceptions: Yield what calls raised as if it were their results.

        Raises:
            TimeoutError: If the chunk has not ended by then.
        """
        if return_exceptions and (failed := self._failure(timeout)):
            yield from failed
            return
        endings = self.result(timeout)
        self._result = None
        endings.reverse()
        while endings:
            ending = endings.pop()
            values, error = ending.unpack()
            if error is not None:
                if not return_exceptions:
                    try:
                        raise error
                    finally:
                        del error  # else the traceback would keep itself alive
                values = [error] * ending.count
            values.reverse()
            while values:
                yield values.pop()

    def _failure(self, timeout: float | None) -> list[BaseException]:
        """Return, for each call, why the chunk as a whole has failed, if it has."""
        try:
            error = self.exception(timeout)
        except CancelledError as cancelled:
            error = cancelled
        return [] if error is None else [error] * self._count


class _Watcher:
    """Tell of a future's end; in the form that `concurrent.futures` calls."""

    __slots__ = ("add_cancelled", "add_exception", "add_result")

    def __init__(self, on_done: Callable[[ChunkFuture], object]) -> None:
        self.add_result = self.add_exception = self.add_cancelled = on_done
