"""How Lambda gives out environments, and the least time that a map takes under that law.

At once what is warm; beyond, 1,000 more environments per 10 seconds and function (a bucket of 1,000
that fills at 100 a second), up to the account's concurrency.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Lambda Developer Guide, "Lambda function scaling", November 2026.
RAMP_ENVIRONMENTS = 1000
RAMP_WINDOW_S = 10.0


@dataclass(frozen=True)
class Law:
    """Say what the account and the function have.

    Args:
        warm: Environments that wait for calls already.
        limit: Concurrent executions.
        cold_s: What the start of an environment takes.
    """

    warm: int = 1000
    limit: int = 10_000
    cold_s: float = 0.5


class Environments:
    """Give out environments by the law.

    Args:
        law: The law.
        clock: Gives the time, in seconds.
    """

    def __init__(self, law: Law, clock: Callable[[], float]) -> None:
        self._law = law
        self._clock = clock
        self._idle = law.warm
        self._tokens = float(RAMP_ENVIRONMENTS)
        self._filled_s = clock()
        self.running = 0
        self.peak = 0
        self.throttles = 0
        self.cold_starts = 0

    def take(self) -> float | None:
        """Take an environment; return how long its start takes, or None if there is none."""
        if self.running >= self._law.limit:
            self.throttles += 1
            return None
        start_s = 0.0
        if self._idle:
            self._idle -= 1
        elif self._has_token():
            self.cold_starts += 1
            start_s = self._law.cold_s
        else:
            self.throttles += 1
            return None
        self.running += 1
        self.peak = max(self.peak, self.running)
        return start_s

    def give_back(self) -> None:
        """Give an environment back."""
        self.running -= 1
        self._idle += 1

    def _has_token(self) -> bool:
        now_s = self._clock()
        filled = self._tokens + (now_s - self._filled_s) * RAMP_ENVIRONMENTS / RAMP_WINDOW_S
        self._tokens, self._filled_s = min(float(RAMP_ENVIRONMENTS), filled), now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def ideal_s(law: Law, chunks: Sequence[float]) -> float:
    """Return when the last chunk ends if each takes the first environment that there can be.

    Args:
        law: The law.
        chunks: How long each takes, in seconds, in the order in which they are begun.
    """
    free = [0.0] * min(law.warm, law.limit)
    started = 0
    last_s = 0.0
    for run_s in chunks:
        new_s = max(0.0, (started + 1 - RAMP_ENVIRONMENTS) * RAMP_WINDOW_S / RAMP_ENVIRONMENTS)
        new_s += law.cold_s
        is_full = law.warm + started >= law.limit
        if free and (is_full or free[0] <= new_s):
            begin_s = heapq.heappop(free)
        else:
            started += 1
            begin_s = new_s
        heapq.heappush(free, begin_s + run_s)
        last_s = max(last_s, begin_s + run_s)
    return last_s


def heavy_tail(source: random.Random, median_s: float, tail: float = 3.0) -> float:
    """Draw a time most of which are near the median, and a few far above.

    With a tail of 3, one in a hundred exceeds 3.7 medians, one in a thousand 8.

    Args:
        source: The random source.
        median_s: Half of all are below.
        tail: The exponent of the Pareto distribution.
    """
    if not median_s:
        return 0.0
    return median_s / 2.0 ** (1.0 / tail) * source.paretovariate(tail)
