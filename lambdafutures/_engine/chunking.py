"""How many calls travel together when the user leaves it to us. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal

# More calls in a chunk pay nothing: at this size the cost of a chunk (about 100 us locally) is a
# tenth of a microsecond per call, far below the cost of the call itself.
MAX_AUTO_CHUNKSIZE = 1000
# Chunks that each worker still has to do when sizes shrink: with two, the last to finish is late
# by half of a chunk that is itself half of what was left for each.
SHARES_PER_WORKER = 2


def next_chunksize(taken: int, remaining: int | None, workers: int) -> int:
    """Return the size of an automatic map's next chunk.

    Sizes grow at first, so that the first results come early; and shrink with what is left
    ("guided self-scheduling", Polychronopoulos and Kuck, 1987), so that all workers end together.

    Args:
        taken: Calls in the chunks before.
        remaining: Calls that are left; None if nobody knows.
        workers: Workers that share them, at least 1.
    """
    size = min(MAX_AUTO_CHUNKSIZE, 1 + taken // workers)
    if remaining is not None:
        size = min(size, remaining // (SHARES_PER_WORKER * workers))
    return max(1, size)


def split(
    items: Iterator[Any], chunksize: int | Literal["auto"], workers: int, length: int | None
) -> Iterator[list[Any]]:
    """Yield the items in chunks.

    Args:
        items: The arguments of the calls.
        chunksize: Calls in a chunk, or ``"auto"``.
        workers: Workers that share them, at least 1.
        length: How many items there are; None if nobody knows.
    """
    taken = 0
    while True:
        if chunksize == "auto":
            remaining = None if length is None else length - taken
            size = next_chunksize(taken, remaining, workers)
        else:
            size = chunksize
        chunk = list(islice(items, size))
        if not chunk:
            return
        taken += len(chunk)
        yield chunk


def known_length(iterables: Sequence[Any]) -> int | None:
    """Return how many calls a map of these makes; None if any of them does not tell.

    Args:
        iterables: What the map is over; it ends with the shortest.
    """
    try:
        return min(len(iterable) for iterable in iterables) if iterables else 0
    except TypeError:
        return None
