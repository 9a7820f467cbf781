"""What each benchmark prints: goal, ours, another's, their ratio, and whether it is reached."""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tests.benchmarks.paired import Pair
from tests.benchmarks.peers import Peers

HEADINGS = ("what", "ours", "goal", "the other", "ratio", "")


@dataclass(frozen=True)
class Options:
    """Say how much is measured.

    Args:
        small: A minute in all, rather than what the goals name.
        peers: Other libraries to measure beside; None to leave them out.
    """

    small: bool = True
    peers: Peers | None = None

    def pick(self, small: int, full: int) -> int:
        """Return one of two numbers."""
        return small if self.small else full


@dataclass(frozen=True)
class Row:
    """Hold one measurement.

    Args:
        what: What was measured.
        ours: Our figure.
        unit: Its unit.
        goal: What it is to reach; None if it is for comparison only.
        other: The figure that it is compared with, in the same unit.
        whose: Whose that is.
        ratio: How much better ours is.
        is_reached: Whether the goal is; None if there is none.
    """

    what: str
    ours: float
    unit: str
    goal: str = ""
    other: float | None = None
    whose: str = ""
    ratio: float | None = None
    is_reached: bool | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the text of each column."""
        other = "" if self.other is None else f"{shown(self.other)} ({self.whose})"
        verdict = {None: "", True: "reached", False: "MISSED"}[self.is_reached]
        return (
            self.what,
            f"{shown(self.ours)} {self.unit}",
            self.goal,
            other,
            "" if self.ratio is None else f"{self.ratio:.2f}",
            verdict,
        )


def shown(figure: float) -> str:
    """Return a figure with as many digits as can be told apart."""
    if figure and abs(figure) < 10:
        return f"{figure:.3g}"
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.1f}"


def at_most(
    what: str,
    ours: float,
    unit: str,
    goal: float | None = None,
    other: float | None = None,
    whose: str = "",
    ratio_goal: float | None = None,
) -> Row:
    """Return a row whose figure is better the smaller it is.

    Args:
        what: What was measured.
        ours: Our figure.
        unit: Its unit.
        goal: It should not exceed this.
        other: The figure that it is compared with.
        whose: Whose that is.
        ratio_goal: The other's should be this many times ours.
    """
    ratio = None if other is None else other / ours if ours else float("inf")
    goals, reached = [], []
    if goal is not None:
        goals.append(f"<= {shown(goal)}")
        reached.append(ours <= goal)
    if ratio_goal is not None:
        goals.append(f"{ratio_goal:g} x better")
        reached.append(ratio is not None and ratio >= ratio_goal)
    is_reached = all(reached) if reached and (ratio_goal is None or other is not None) else None
    return Row(what, ours, unit, ", ".join(goals), other, whose, ratio, is_reached)


def of_pair(
    what: str, pair: Pair, unit: str, whose: str, goal: float | None = 1.0, scale: float = 1.0
) -> Row:
    """Return a row of figures taken in turn.

    Args:
        what: What was measured.
        pair: The figures, in seconds or bytes.
        unit: Name of the unit that is shown.
        whose: Whose the other figures are.
        goal: The ratio to reach.
        scale: Figures are multiplied by it; negative for a rate, `-scale / figure`.
    """
    ours, other = pair.medians
    if scale < 0:
        ours, other = -scale / ours, -scale / other
    else:
        ours, other = ours * scale, other * scale
    goal_text = "" if goal is None else f"ratio {goal:g}"
    is_reached = None if goal is None else pair.ratio >= goal
    return Row(what, ours, unit, goal_text, other, whose, pair.ratio, is_reached)


def machine() -> str:
    """Return when and where it was measured, and what else the machine was doing."""
    load = os.getloadavg()[0]
    return (
        f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} cores "
        f"({platform.machine()}), load {load:.1f} at the start"
        + (" (BUSY: figures are too high)" if load > 0.7 else "")
    )


def show(rows: Iterable[Row], *, markdown: bool = False) -> int:
    """Print rows as they come; return how many missed their goal."""
    missed = 0
    if markdown:
        print("| " + " | ".join(HEADINGS) + " |\n|" + "---|" * len(HEADINGS))
    else:
        print(_line(HEADINGS))
    for row in rows:
        cells = row.cells()
        print("| " + " | ".join(cells) + " |" if markdown else _line(cells), flush=True)
        missed += row.is_reached is False
    return missed


def _line(cells: tuple[str, ...]) -> str:
    widths = (52, 18, 24, 26, 8, 8)
    return "".join(f"{cell:{width}s} " for cell, width in zip(cells, widths, strict=True)).rstrip()


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that all benchmarks have."""
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_true", help="a minute in all (the default)")
    size.add_argument("--full", action="store_true", help="what the goals name")
    parser.add_argument(
        "--peers", action="store_true", help="install loky and Lithops beside, and measure them too"
    )
    parser.add_argument("--markdown", action="store_true", help="print a table of Markdown")


def options_of(given: argparse.Namespace) -> Options:
    """Return what the command line asks for."""
    return Options(small=not given.full, peers=Peers.installed() if given.peers else None)


def main(rows: Callable[[Options], Iterator[Row]], about: str | None) -> None:
    """Run one benchmark by its command line.

    Args:
        rows: Measures.
        about: Its description.
    """
    parser = argparse.ArgumentParser(description=about)
    arguments(parser)
    given = parser.parse_args()
    print(machine())
    show(rows(options_of(given)), markdown=given.markdown)
