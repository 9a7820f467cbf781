"""What the calls of one executor need, found out as they are pickled."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

from lambdafutures._environment import local, modules, pickled, reach
from lambdafutures._environment.modules import BundledModule
from lambdafutures._environment.packages import Packages
from lambdafutures._environment.reach import Root, Unit
from lambdafutures._environment.report import Report
from lambdafutures._environment.target import Target
from lambdafutures._wire import codec
from lambdafutures._wire.bundle import Bundle
from lambdafutures._wire.codec import Pickled

# Frames between the user's call and the warning about what is left out, more or less.
_STACK = 6


class Environment:
    """Watch what is pickled, and bundle what it needs.

    Args:
        serializer: Who pickles what plain pickle cannot.
        target: What runs the calls.
        packages: The packages that workers have, and are to have.
        is_here: Workers are on this machine: bundles are unpacked for them.
        wanted: Modules, files and folders that travel in any case.
        exclude: What does not travel.
    """

    def __init__(
        self,
        serializer: str,
        target: Target,
        packages: Packages,
        *,
        is_here: bool,
        wanted: Sequence[Unit | Path] = (),
        exclude: Sequence[str] = (),
    ) -> None:
        self._serializer = serializer
        self._target = target
        self._packages = packages
        self._wanted = wanted
        self._exclude = tuple(exclude)
        self._folder = local.BundleFolder() if is_here else None
        # Modules that were followed: at all, as what a worker surely imports, and as what objects
        # are of.
        self._known: set[str] = set()
        self._certain: set[str] = set()
        self._carried: set[str] = set()
        self._units: set[str] = set()
        self._modules: tuple[Bundle, ...] = ()
        self._bundled: list[BundledModule] = []
        self._left_out: list[str] = []
        self._lock = threading.Lock()
        self._is_open = False
        self.bundles: tuple[Bundle, ...] = ()
        """What workers need so far, those that shadow others first."""

    @property
    def path(self) -> list[str]:
        """The import path of a local worker, less what travels."""
        return local.bare_path()

    def report(self) -> Report:
        """Return what travels so far."""
        with self._lock:
            return Report(
                tuple(self._bundled),
                tuple(self._left_out),
                {name: version for name, version in self._packages.known.items() if version},
                sum(bundle.packed_bytes for bundle in self.bundles),
            )

    def open(self) -> None:
        """Have what travels in any case.

        Raises:
            PackageError: If workers cannot have it.
        """
        with self._lock:
            if not self._is_open:
                self._packages.open()
                self._bundle([each for each in self._wanted if isinstance(each, Path)])
                named = [each for each in self._wanted if isinstance(each, Unit)]
                self._follow([Root(unit.place.name, False, unit.reason) for unit in named], ())
                self._is_open = True

    def dumps(self, value: object) -> Pickled:
        """Pickle an object, and see to it that workers can import what it needs.

        Args:
            value: A function, arguments, or an initializer.

        Raises:
            PackageError: If workers cannot have what it needs.
            Exception: Whatever the serializer raises for an object that it cannot pickle.
        """
        notes = pickled.Notes()
        packed = codec.dumps(value, self._serializer, by_value=notes.dumps)
        if pickled.is_plain(packed.data):  # most arguments are
            return packed
        carried = pickled.carried(packed.data)
        needed = frozenset(notes.modules | carried)
        if self._serializer == "dill":
            needed |= pickled.named(packed.data) | {"dill"}
        possible = notes.possible
        is_seen = carried <= self._carried and needed <= self._certain and possible <= self._known
        if not is_seen:
            with self._lock:
                self._take(needed, possible, carried)
        return packed

    def _take(
        self, needed: frozenset[str], possible: frozenset[str], carried: Collection[str]
    ) -> None:
        roots = [Root(name, True, "a call refers to it") for name in sorted(needed)]
        roots += [
            Root(name, False, "a function that travels imports it") for name in sorted(possible)
        ]
        self._follow(roots, carried)
        self._known |= needed | possible
        self._certain |= needed
        self._carried |= set(carried)

    def _follow(self, roots: Sequence[Root], carried: Collection[str]) -> None:
        found = reach.follow(roots, self._exclude)
        self._packages.take(found.needs.values(), carried)
        self._bundle([unit for name, unit in found.units.items() if name not in self._units])

    def _bundle(self, wanted: Sequence[Unit | Path]) -> None:
        named = [each for each in self._wanted if isinstance(each, Path)]
        packed = modules.pack(wanted, self._exclude, self._target, named) if wanted else None
        if packed is not None and packed.bundle is not None:
            if self._folder is not None:
                self._folder.unpack(packed.bundle)
            self._units.update(each.place.name for each in wanted if isinstance(each, Unit))
            self._bundled += packed.modules
            self._modules = (packed.bundle, *self._modules)
        self.bundles = (*self._modules, *self._packages.bundles)
        if packed is not None and packed.left_out:
            texts = [f"{each.name} ({each.reason})" for each in packed.left_out]
            self._left_out += texts
            warnings.warn(
                f"left out of what travels to workers: {', '.join(texts)}; name what they need in "
                "modules=[...], and what they do not need in exclude=[...]",
                stacklevel=_STACK,
            )
