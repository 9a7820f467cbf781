"""Where a module comes from: Python itself, an installed package, or the user's own folders.

Nothing is imported to find out: the import system's finders are asked, as for an import, and a
package that is loaded tells its own path.
"""

from __future__ import annotations

import csv
import os
import sys
import sysconfig
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

# What every worker has, whoever deployed it.
PROVIDED = frozenset({"lambdafutures", "cloudpickle"})
_SITE = frozenset({"site-packages", "dist-packages"})
NAMES_KNOWN = 4096


class Origin(Enum):
    """Name where a module comes from."""

    STANDARD = "the standard library"
    PROVIDED = "what every worker has"
    INSTALLED = "an installed package"
    OWN = "a folder of the user's"
    UNKNOWN = "nowhere that files could be read from"


class Place(NamedTuple):
    """Say where a module is.

    Args:
        name: Its full name.
        origin: Where it comes from.
        file: Its file; None for a namespace package and what has none.
        folders: Where its submodules are; empty for a plain module.
    """

    name: str
    origin: Origin
    file: Path | None = None
    folders: tuple[Path, ...] = ()

    @property
    def is_package(self) -> bool:
        """Whether it is a package with a file of its own, not a namespace."""
        return bool(self.folders) and self.file is not None


def find(name: str) -> Place | None:
    """Return where a module is; None if there is none of that name.

    Args:
        name: Its full name.
    """
    parts = name.split(".")
    if parts[0] in PROVIDED:
        return Place(name, Origin.PROVIDED)
    file: str | None = None
    path: list[str] | None = None
    for depth in range(1, len(parts) + 1):
        if depth > 1 and path is None:
            return None  # a plain module has no submodules
        partial = ".".join(parts[:depth])
        found = _loaded(partial) or _asked(partial, path)
        if found is None:
            return None
        file, path = found
    return _place(name, file, path)


@lru_cache(NAMES_KNOWN)
def is_standard(top: str) -> bool:
    """Tell whether a top-level name is the standard library's, and not shadowed by a file.

    Args:
        top: The name.
    """
    if top in sys.builtin_module_names:
        return True
    if top not in sys.stdlib_module_names:
        return False
    found = find(top)
    return found is None or found.origin is not Origin.OWN


def _loaded(name: str) -> tuple[str | None, list[str] | None] | None:
    module = sys.modules.get(name)
    if module is None:
        return None
    file = getattr(module, "__file__", None)
    path = getattr(module, "__path__", None)
    spec = getattr(module, "__spec__", None)
    if file is None and spec is not None:
        file = spec.origin
    return file, None if path is None else _strings(path)


def _asked(name: str, path: list[str] | None) -> tuple[str | None, list[str] | None] | None:
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        if find_spec is None:
            continue
        try:
            spec = find_spec(name, path)
        except Exception:  # noqa: BLE001, S112 - a foreign finder's own trouble
            continue
        if spec is not None:
            locations = spec.submodule_search_locations
            return spec.origin, None if locations is None else _strings(locations)
    # Of a folder without ``__init__.py`` in a package that was not imported, finders know nothing.
    last = name.rpartition(".")[2]
    folders = [os.path.join(entry, last) for entry in path or ()]
    portions = [folder for folder in folders if os.path.isdir(folder)]
    return (None, portions) if portions else None


def _strings(path: object) -> list[str]:
    try:
        return [entry for entry in path if isinstance(entry, str)]  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - a module may have any `__path__`
        return []


def _place(name: str, file: str | None, path: list[str] | None) -> Place:
    folders = tuple(Path(entry) for entry in path or () if Path(entry).is_dir())
    where = Path(file) if file and Path(file).is_file() else None
    if file in ("built-in", "frozen"):
        return Place(name, Origin.STANDARD)
    if where is None and not folders:
        return Place(name, Origin.UNKNOWN)
    if where is not None:
        return Place(name, origin_of_file(where), where, folders)
    # A namespace: its portions may lie in several places, and what is the user's own decides.
    origins = {origin_of_file(folder) for folder in folders}
    origin = Origin.OWN if Origin.OWN in origins else origins.pop()
    return Place(name, origin, None, folders)


def origin_of_file(file: Path) -> Origin:
    """Return where a file, or a folder, comes from.

    Args:
        file: The file.
    """
    absolute = file.absolute()
    if _SITE.intersection(absolute.parts) or _is_below(absolute, _installed_folders()):
        return Origin.INSTALLED
    if any(_is_of_package(absolute, folder) for folder in absolute.parents):
        return Origin.INSTALLED  # as in a worker, where packages that travelled are
    if _is_below(absolute, _standard_folders()) or _is_below(
        absolute.resolve(), _standard_folders()
    ):
        return Origin.STANDARD
    return Origin.OWN


def _is_of_package(file: Path, folder: Path) -> bool:
    """Tell whether a file belongs to a package that is installed in a folder of the import path."""
    if str(folder) not in sys.path:
        return False
    names = _installed_in(folder)
    return names is None or file.relative_to(folder).parts[0] in names


@lru_cache(NAMES_KNOWN)
def _installed_in(folder: Path) -> frozenset[str] | None:
    """Return what installers have put into a folder; None for all of it."""
    names: set[str] = set()
    for info in folder.glob("*.dist-info"):
        try:
            with (info / "RECORD").open(newline="", encoding="utf-8") as record:
                names.update(row[0].partition("/")[0] for row in csv.reader(record) if row)
        except OSError:
            return None  # as in a worker, where only packages are
    return frozenset(names)


def _is_below(file: Path, folders: tuple[Path, ...]) -> bool:
    return any(file.is_relative_to(folder) for folder in folders)


@lru_cache(1)
def _installed_folders() -> tuple[Path, ...]:
    found = [sysconfig.get_path(kind) for kind in ("purelib", "platlib")]
    return tuple(Path(folder) for folder in found if folder)


@lru_cache(1)
def _standard_folders() -> tuple[Path, ...]:
    found = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib")]
    return tuple(Path(folder).resolve() for folder in found if folder)
