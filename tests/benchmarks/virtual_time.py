"""Time that passes only when nothing is left to be done: a day of waiting takes a moment.

    with VirtualTime() as clock:
        ...                 # the event loops that are made here wait without waiting
        clock.release()     # until then no time passes

`time.time` and `time.monotonic` tell that time, and so does every event loop made meanwhile.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from collections.abc import Mapping
from typing import Any, Self

# How long a loop whose time stands still waits in earnest before it looks again.
FROZEN_S = 0.001
# When it begins, in seconds since the epoch: 2026-11-22.
EPOCH_S = 1_795_305_600.0


class VirtualTime:
    """Stand in for the clocks of this process, and for the waiting of its event loops."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._released = threading.Event()

    def __enter__(self) -> Self:
        self._saved = time.time, time.monotonic, asyncio.new_event_loop
        time.time = lambda: EPOCH_S + self._now_s
        time.monotonic = lambda: self._now_s
        asyncio.new_event_loop = self._new_loop
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        time.time, time.monotonic, asyncio.new_event_loop = self._saved

    @property
    def now_s(self) -> float:
        """Seconds since the beginning."""
        return self._now_s

    @property
    def is_frozen(self) -> bool:
        """Whether time stands still."""
        return not self._released.is_set()

    def release(self) -> None:
        """Let time pass."""
        self._released.set()

    def advance(self, seconds: float) -> None:
        """Let seconds pass; called by the one loop that runs."""
        self._now_s += seconds

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(_Selector(self))


class _Selector(selectors.BaseSelector):
    """Wait for files in earnest, but let time pass instead of waiting for it."""

    def __init__(self, clock: VirtualTime) -> None:
        self._clock = clock
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            return self._real.select(None)
        if self._clock.is_frozen:
            return self._real.select(FROZEN_S)
        self._clock.advance(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        found: Mapping[Any, selectors.SelectorKey] = self._real.get_map()
        return found

    def close(self) -> None:
        self._real.close()
