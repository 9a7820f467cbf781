"""The results of a map as they are asked for: in order or as they come, by `for` or `async for`."""

from __future__ import annotations

import contextlib
import itertools
import queue
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from lambdafutures._packed_future import ChunkFuture

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


class MapOptions(NamedTuple):
    """Hold what a user wishes of a map; see `LambdaPoolExecutor.map`."""

    timeout: float | None
    chunksize: int | Literal["auto"]
    buffersize: int | None
    ordered: bool
    return_exceptions: bool


class Course(NamedTuple):
    """Hold what a map has under way, and how its results are wanted.

    Args:
        pending: Futures of the chunks that have not been yielded, in order.
        submit_next: Adds a chunk to `pending`, if there is one more; None if all are there.
        deadline_s: When to give up, by the monotonic clock; None for never.
        ordered: Yield in the order of the arguments, not of completion.
        return_exceptions: Yield what calls raised instead of raising it.
    """

    pending: deque[ChunkFuture]
    submit_next: Callable[[], None] | None = None
    deadline_s: float | None = None
    ordered: bool = True
    return_exceptions: bool = False

    def left_s(self) -> float | None:
        """Return how much time is left, in seconds."""
        return None if self.deadline_s is None else max(0.0, self.deadline_s - time.monotonic())

    def advance(self) -> None:
        """Submit one more chunk, if there is one."""
        if self.submit_next is not None:
            self.submit_next()


class MapResults(itertools.chain[T]):
    """The results of a map: an iterator, and an asynchronous one for `async for`.

    When it is dropped or closed before its end, what has not been sent is cancelled. (It is a
    `chain` so that `next` costs no Python call.)
    """

    _course: Course
    _generator: Generator[T, None, None]

    @classmethod
    def of(cls, course: Course) -> MapResults[Any]:
        """Return the results of what is under way.

        Args:
            course: That.
        """
        generator = _in_order(course) if course.ordered else _as_completed(course)
        results = cls(generator)
        results._course = course
        results._generator = generator
        return results

    def close(self) -> None:
        """Yield no more, and cancel what has not been sent."""
        self._generator.close()

    def __aiter__(self) -> AsyncGenerator[T, None]:
        return _asynchronously(self._course)


def _in_order(course: Course) -> Generator[Any, None, None]:
    pending = course.pending
    try:
        while pending:
            course.advance()
            future = pending.popleft()
            try:
                yield from future.results(
                    course.left_s(), return_exceptions=course.return_exceptions
                )
            finally:
                future.cancel()
                del future
    finally:
        _cancel(pending)


def _as_completed(course: Course) -> Generator[Any, None, None]:
    arrived: queue.SimpleQueue[ChunkFuture] = queue.SimpleQueue()
    awaited: set[ChunkFuture] = set()
    try:
        while course.pending or awaited:
            _watch(course.pending, awaited, arrived.put)
            try:
                future = arrived.get(timeout=course.left_s())
            except queue.Empty:
                raise TimeoutError from None
            awaited.discard(future)
            course.advance()
            yield from future.results(return_exceptions=course.return_exceptions)
            del future
    finally:
        _cancel((*course.pending, *awaited))


async def _asynchronously(course: Course) -> AsyncGenerator[Any, None]:
    import asyncio

    arrived: asyncio.Queue[ChunkFuture] = asyncio.Queue()
    put = _from_any_thread(asyncio.get_running_loop(), arrived)
    awaited: set[ChunkFuture] = set()
    pending = course.pending
    try:
        while pending or awaited:
            if course.ordered:
                course.advance()
                _watch(deque([pending.popleft()]), awaited, put)
            else:
                _watch(pending, awaited, put)
            async with asyncio.timeout(course.left_s()):
                future = await arrived.get()
            awaited.discard(future)
            if not course.ordered:
                course.advance()
            await future.unpack_ahead()
            for value in future.results(return_exceptions=course.return_exceptions):
                yield value
            del future
    finally:
        _cancel((*pending, *awaited))


def _from_any_thread(
    loop: asyncio.AbstractEventLoop, arrived: asyncio.Queue[ChunkFuture]
) -> Callable[[ChunkFuture], None]:
    def put(future: ChunkFuture) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits there
            loop.call_soon_threadsafe(arrived.put_nowait, future)

    return put


def _watch(
    pending: deque[ChunkFuture],
    awaited: set[ChunkFuture],
    on_done: Callable[[ChunkFuture], None],
) -> None:
    while pending:
        future = pending.popleft()
        awaited.add(future)
        future.watch(on_done)


def _cancel(futures: Iterable[ChunkFuture]) -> None:
    for future in futures:
        future.cancel()
