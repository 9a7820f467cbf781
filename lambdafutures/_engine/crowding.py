"""Whether more attempts are under way than the backend runs, where nobody says so. Pure.

Lambda takes every Event and keeps what it has no room for in a queue of its own, where each is
tried again after a second, then two, up to five minutes. So throttles stay hidden, but the time
from being sent to being started tells of them (as the delay does in TCP Vegas: Brakmo and Peterson,
1995), and what has ended tells how much ran side by side: so much there is room for.
"""

from __future__ import annotations

from collections import deque

from lambdafutures._wire.outcome import Outcome

# An attempt that waits longer than the shortest by this has been put off: Lambda does so for about
# a second at first, while to deliver an Event takes tens of milliseconds.
LATE_S = 0.5
# There is no room for all when attempts wait for more than this share of the time that they are
# away: a few may be late by chance.
WAITING_SHARE = 0.25
# Attempts over which that is averaged, at least; and as many as are under way.
LEAST_WEIGHED = 8


class Crowding:
    """Watch how long attempts wait for a worker, and how many run at once.

    Args:
        ceiling: The most attempts that are ever under way.
    """

    def __init__(self, ceiling: int) -> None:
        self._shortest_s = float("inf")
        self._waiting_s = 0.0
        self._away_s = 0.0
        self._runs: deque[tuple[float, float]] = deque(maxlen=2 * max(ceiling, LEAST_WEIGHED))

    def on_outcome(
        self, answer: Outcome, *, away_s: float, was_alone: bool, in_flight: int, limit: int
    ) -> bool:
        """Take note of an attempt; tell whether it was late, through no start of a runner.

        Args:
            answer: Its outcome. How long it waited is by two clocks, so only differences count.
            away_s: Seconds from its being sent until now.
            was_alone: No other attempt was under way when it was sent: if it waited, it was for
                nobody of ours, or one of the clocks was set.
            in_flight: Attempts that are under way without it.
            limit: How many may be: while there are more, of before it was lowered, their waiting
                is no news.
        """
        if answer.waited_s is None:
            return False
        ended_s = answer.received_s + answer.setup_s + answer.ran_s + answer.packing_s
        self._runs.append((answer.received_s, ended_s))
        if answer.is_first:
            return False
        if was_alone:
            self._shortest_s = answer.waited_s
        self._shortest_s = min(self._shortest_s, answer.waited_s)
        waiting_s = answer.waited_s - self._shortest_s
        is_late = waiting_s > LATE_S
        if in_flight <= limit:
            weight = 1 / max(LEAST_WEIGHED, in_flight)
            self._waiting_s += weight * ((waiting_s if is_late else 0.0) - self._waiting_s)
            self._away_s += weight * (away_s - self._away_s)
        return is_late

    @property
    def is_crowded(self) -> bool:
        """Whether attempts wait for too much of the time."""
        return self._waiting_s > WAITING_SHARE * self._away_s

    def room_before(self, answer: Outcome) -> int:
        """Return how many ran at once while an attempt waited; it is measured anew from then on.

        Args:
            answer: The outcome of the one that was late.
        """
        self._waiting_s = self._away_s = 0.0
        until_s = answer.received_s
        since_s = until_s - ((answer.waited_s or 0.0) - self._shortest_s)
        changes = []
        for began_s, ended_s in self._runs:
            if began_s < until_s and ended_s > since_s:
                changes += [(max(began_s, since_s), 1), (ended_s, -1)]
        running = most = 0
        for _, change in sorted(changes):
            running += change
            most = max(most, running)
        return most
