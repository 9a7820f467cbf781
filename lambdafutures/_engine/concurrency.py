"""How many attempts may be in flight when the backend pushes back. Pure.

Additive increase, multiplicative decrease (Chiu and Jain, 1989), as TCP does: a throttle halves the
limit, once per window, and every success raises it, quickly up to the last limit that held.
"""

from __future__ import annotations

# Throttles of attempts that were sent before the limit was halved say nothing new: they arrive
# within about the time that an Invoke takes, a second with its queueing.
WINDOW_S = 1.0
# Wait at least this long after a throttle, also where the backend names no time: Lambda refills its
# request rate every second.
PAUSE_S = 0.25


class Concurrency:
    """Adapt the limit to what the backend takes.

    Args:
        ceiling: The most that is ever wanted.
    """

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self._limit = float(ceiling)
        self._threshold = float(ceiling)
        self._halved_at_s = float("-inf")
        self._held_until_s = float("-inf")

    def allowed(self, now_s: float) -> int:
        """Return how many attempts may be in flight.

        Args:
            now_s: The time.
        """
        if now_s < self._held_until_s:
            return 0
        return max(1, min(self.ceiling, int(self._limit)))

    @property
    def held_until_s(self) -> float:
        """When sending may go on after a throttle."""
        return self._held_until_s

    def on_throttled(self, in_flight: int, retry_after_s: float, now_s: float) -> None:
        """Take note that an attempt was not accepted.

        Args:
            in_flight: Attempts that are under way without it.
            retry_after_s: How long the backend asks to wait, in seconds; 0 if it does not say.
            now_s: The time.
        """
        self._held_until_s = max(self._held_until_s, now_s + max(PAUSE_S, retry_after_s))
        if now_s - self._halved_at_s >= WINDOW_S:
            self._halved_at_s = now_s
            self._limit = max(1.0, min(self._limit, in_flight + 1.0) / 2)
            self._threshold = self._limit

    def on_success(self) -> None:
        """Take note that an attempt was accepted and has ended."""
        if self._limit < self.ceiling:
            self._limit += 1.0 if self._limit < self._threshold else 1.0 / self._limit
