"""From the modules that a call names to all that it may import: own ones, and packages."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lambdafutures._environment import origins
from lambdafutures._environment.files import is_excluded
from lambdafutures._environment.imports import imports_of_file
from lambdafutures._environment.origins import Origin, Place


class Root(NamedTuple):
    """Say where to begin.

    Args:
        module: Full name of a module.
        is_certain: The worker surely imports it.
        reason: Why, in words.
    """

    module: str
    is_certain: bool
    reason: str


class Unit(NamedTuple):
    """Hold what travels as a whole: an outermost package, or a module that is in none.

    Args:
        place: Where it is.
        reason: Why it travels.
    """

    place: Place
    reason: str


class Need(NamedTuple):
    """Hold a module of an installed package that is reached.

    Args:
        module: Its full name.
        is_certain: Without it no call can begin.
        reason: Why it is needed, in words.
    """

    module: str
    is_certain: bool
    reason: str


@dataclass(slots=True)
class Reach:
    """Hold what was reached.

    Args:
        units: The user's own, by name.
        needs: Installed ones, by top-level name; the certain ones win.
    """

    units: dict[str, Unit] = field(default_factory=dict)
    needs: dict[str, Need] = field(default_factory=dict)


def follow(roots: Iterable[Root], exclude: Sequence[str] = ()) -> Reach:
    """Return what modules reach, directly or through modules of the user's own.

    Args:
        roots: Where to begin.
        exclude: Modules that are not followed, as `files.is_excluded` takes them.
    """
    reach = Reach()
    seen: dict[str, bool] = {}
    pending = deque(roots)
    while pending:
        root = pending.popleft()
        if seen.get(root.module, False) or (root.module in seen and not root.is_certain):
            continue
        seen[root.module] = root.is_certain
        if origins.is_standard(root.module.partition(".")[0]) or is_excluded(
            root.module.replace(".", "/"), exclude
        ):
            continue
        place = origins.find(root.module)
        if place is None:
            continue
        if place.origin is Origin.INSTALLED:
            _add_need(reach, root)
        elif place.origin is Origin.OWN:
            _add_unit(reach, place, root.reason)
            pending.extend(_imported_by(place, root.is_certain))
    return reach


def _add_need(reach: Reach, root: Root) -> None:
    top = root.module.partition(".")[0]
    known = reach.needs.get(top)
    if known is None or (root.is_certain and not known.is_certain):
        reach.needs[top] = Need(*root)


def _add_unit(reach: Reach, place: Place, reason: str) -> None:
    unit = unit_of(place)
    if unit is not None and unit.name not in reach.units:
        reach.units[unit.name] = Unit(unit, reason)


def unit_of(place: Place) -> Place | None:
    """Return what travels with a module: its outermost package; None for a namespace.

    Args:
        place: The module.
    """
    parts = place.name.split(".")
    for depth in range(1, len(parts)):
        above = origins.find(".".join(parts[:depth]))
        if above is not None and above.is_package:
            return above
    return place if place.file is not None else None


def _imported_by(place: Place, is_certain: bool) -> Iterable[Root]:
    """Yield what importing a module imports: its packages first, then what it says."""
    parent = place.name.rpartition(".")[0]
    if parent:
        yield Root(parent, is_certain, f"it is the package of {place.name}")
    if place.file is None:
        return
    found = imports_of_file(place.file, place.name, place.is_package)
    reason = f"{place.name} imports it"
    for name in sorted(found.certain):
        yield Root(name, is_certain, reason)
    for name in sorted(found.possible):
        yield Root(name, False, reason)
