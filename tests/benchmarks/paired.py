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


def row(what: str, pair: Pair, unit: str, scale: float = 1.0, goal: float = 1.0) -> str:
    """Return a line of the table.

    Args:
        what: What was measured.
        pair: The figures, in seconds or bytes.
        unit: Name of the unit that is printed.
        scale: Figures are multiplied by it; negative for a rate, `-scale / figure`.
        goal: The ratio to reach.
    """

    def shown(figures: list[float]) -> float:
        middle = statistics.median(figures)
        return -scale / middle if scale < 0 else middle * scale

    verdict = "reached" if pair.ratio >= goal else "MISSED"
    return (
        f"{what:44s} {shown(pair.ours):12,.1f} {shown(pair.theirs):12,.1f} {unit:10s}"
        f" {pair.ratio:7.2f} {goal:5.1f}  {verdict}"
    )
