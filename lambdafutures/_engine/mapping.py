"""The results of a map, in order, as they are asked for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from lambdafutures._packed_future import ChunkFuture


def iterate(
    pending: deque[ChunkFuture],
    submit_next: Callable[[], None] | None,
    deadline_s: float | None,
) -> Iterator[Any]:
    """Yield the results of chunks in order; cancel the rest when the iterator is dropped.

    Args:
        pending: The chunks' futures, in order.
        submit_next: Adds a chunk to `pending`, if there is one more; None if all are there.
        deadline_s: When to give up, by the monotonic clock.

    Raises:
        TimeoutError: If a result is not there by the deadline.
    """
    try:
        while pending:
            if submit_next is not None:
                submit_next()
            future = pending.popleft()
            try:
                left_s = None if deadline_s is None else deadline_s - time.monotonic()
                yield from future.results(left_s)
            finally:
                future.cancel()
                del future
    finally:
        for future in pending:
            future.cancel()
