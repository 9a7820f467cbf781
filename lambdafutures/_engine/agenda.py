"""What is to be done at which time. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from math import inf
from typing import Generic, TypeVar

T = TypeVar("T")


class Agenda(Generic[T]):
    """Keep things until their time comes."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._count = 0

    @property
    def next_s(self) -> float:
        """The time of the first; infinite if there is none."""
        return self._heap[0][0] if self._heap else inf

    def add(self, at_s: float, thing: T) -> None:
        """Keep a thing.

        Args:
            at_s: Until when.
            thing: What.
        """
        self._count += 1
        heapq.heappush(self._heap, (at_s, self._count, thing))

    def take_due(self, now_s: float) -> Iterator[T]:
        """Yield the things whose time has come, and keep them no longer.

        Args:
            now_s: The time.
        """
        while self._heap and self._heap[0][0] <= now_s:
            yield heapq.heappop(self._heap)[2]

    def clear(self) -> None:
        """Forget everything."""
        self._heap.clear()
