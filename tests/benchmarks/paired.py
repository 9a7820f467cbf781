"""Time two things in turn, so that a machine whose speed drifts is fair to both."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """Hold figures of two candidates, taken in turn.

    Args:
        ours: Our figures.
        theirs: The other's.
    """

    ours: list[float]
    theirs: list[float]

    @property
    def medians(self) -> tuple[float, float]:
        """Our median and theirs."""
        return statistics.median(self.ours), statistics.median(self.theirs)

    @property
    def ratio(self) -> float:
        """The median of theirs divided by ours, pair by pair: above 1, we are faster."""
        return statistics.median(
            other / own for own, other in zip(self.ours, self.theirs, strict=True)
        )


def measure(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> Pair:
    """Measure both in turn, each first every other time, after one round that does not count.

    Args:
        ours: Returns a figure, such as seconds.
        theirs: Returns the other's.
        rounds: How often.
    """
    ours(), theirs()
    pair = Pair([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            if which:
                pair.ours.append(ours())
            else:
                pair.theirs.append(theirs())
    return pair
