"""How many attempts a backend that starts its workers by and by can have begun. Pure.

What is sent beyond waits in a queue of Lambda's own, where each is tried again after a second, then
two, four and so on, while workers stand idle that became free meanwhile.
"""

from __future__ import annotations

from math import inf

from lambdafutures._backends.base import StartRate

# Workers that are taken for warm before anything is known of them. In the simulation of 10,000
# calls of 2 s (`tests/benchmarks/simulate.py`), with 0, 1,000 and 3,000 warm, the makespan is 1.31,
# 1.08 and 1.74 times the ideal; with nobody taken for warm 1.06, 1.44 and 2.36; and 2.5, 2.0 and
# 1.6 without this module.
ASSUMED_WARM = 1000
# The backend's own count begins when the last of a salvo has arrived there. Those few that arrive
# before their start is allowed would be put off: the simulated makespan grew by a tenth.
LAG_S = 1.0
# More are sent in portions of this much time's starts, so that the timer is not set for each.
PORTION_S = 0.125


class Ramp:
    """Follow how many workers there are, and how many more can be started.

    Args:
        rate: How quickly the backend starts workers.
    """

    def __init__(self, rate: StartRate) -> None:
        self._rate = rate
        self._workers = ASSUMED_WARM
        self._starts = float(rate.at_once)
        self._counted_s = -inf

    def allowed(self, now_s: float) -> int:
        """Return how many attempts may be under way.

        Args:
            now_s: The time.
        """
        self._count(now_s)
        return self._workers + int(self._starts)

    def on_sent(self, in_flight: int, now_s: float) -> None:
        """Take note of how many are under way: more than ever before need workers to be started.

        Args:
            in_flight: Attempts under way.
            now_s: The time.
        """
        if in_flight > self._workers:
            self._count(now_s)
            if self._starts == self._rate.at_once:
                self._counted_s = now_s + LAG_S
            self._starts -= in_flight - self._workers
            self._workers = in_flight

    def more_at_s(self, now_s: float) -> float:
        """Return when more attempts will be allowed.

        Args:
            now_s: The time.
        """
        return now_s + PORTION_S

    def _count(self, now_s: float) -> None:
        if now_s > self._counted_s:
            more = (now_s - self._counted_s) * self._rate.per_s
            self._starts = min(float(self._rate.at_once), self._starts + more)
            self._counted_s = now_s
