"""How many attempts may be in flight when the backend pushes back. Pure.

Additive increase, multiplicative decrease (Chiu and Jain, 1989), as TCP does: a throttle halves the
limit; successes raise it, quickly up to what was under way when it was halved and then slowly.
"""

from __future__ import annotations

# Wait at least this long after a throttle, also where the backend names no time: Lambda refills its
# request rate every second.
PAUSE_S = 0.25
# Beyond what is known to hold, the limit grows by this share while as many attempts succeed: it
# doubles in 14 such rounds, and of a hundred attempts no more than a few are refused.
GROWTH = 0.05


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
        return self.limit

    @property
    def limit(self) -> int:
        """How many attempts may be in flight when nothing is held back."""
        return max(1, min(self.ceiling, int(self._limit)))

    @property
    def held_until_s(self) -> float:
        """When sending may go on after a throttle."""
        return self._held_until_s

    def on_throttled(
        self, in_flight: int, retry_after_s: float, sent_s: float, now_s: float
    ) -> None:
        """Take note that an attempt was not accepted.

        Args:
            in_flight: Attempts that are under way without it.
            retry_after_s: How long the backend asks to wait, in seconds; 0 if it does not say.
            sent_s: When the attempt was sent.
            now_s: The time.
        """
        self._held_until_s = max(self._held_until_s, now_s + max(PAUSE_S, retry_after_s))
        if sent_s > self._halved_at_s:
            self._halved_at_s = now_s
            self._limit = max(1.0, min(self._limit, in_flight + 1.0) / 2)
            self._threshold = max(self._limit, float(in_flight))
        else:
            # Of the same salvo, sent before the limit was halved. Once all of it has been answered,
            # what is still under way is what the backend takes.
            self._threshold = max(1.0, min(self._threshold, float(in_flight)))
            self._limit = min(self._limit, self._threshold)

    def on_crowded(self, room: int) -> None:
        """Take note that attempts wait although they were accepted.

        Args:
            room: How many have run at once.
        """
        self._limit = max(1.0, min(self._limit, max(float(room), self._limit / 2)))
        self._threshold = self._limit

    def on_silence(self) -> None:
        """Take note that nothing has been heard for a while: one more may be tried."""
        self._limit = min(float(self.ceiling), self._limit + 1.0)

    def on_success(self) -> None:
        """Take note that an attempt was accepted and has ended."""
        if self._limit < self.ceiling:
            self._limit += 1.0 if self._limit < self._threshold else max(GROWTH, 1.0 / self._limit)
