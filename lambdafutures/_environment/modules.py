"""The user's own modules: from what is reached to a bundle, with a word about each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from lambdafutures._environment import archive, extensions, files, origins
from lambdafutures._environment.files import File, LeftOut
from lambdafutures._environment.origins import Origin
from lambdafutures._environment.reach import Unit, unit_of
from lambdafutures._environment.target import Target
from lambdafutures._wire import bundle
from lambdafutures._wire.bundle import Bundle
from lambdafutures.exceptions import PackageError

# What travels is fetched by every cold worker before its first call.
MAX_BUNDLE_BYTES = 128 * 1024 * 1024
NAMED = "modules= names it"


@dataclass(frozen=True, slots=True)
class BundledModule:
    """Tell what travelled of the user's own.

    Args:
        name: The module's or package's name; of files that were named, the path.
        path: Where it was found.
        files: How many files it has.
        size_bytes: Their length.
        reason: Why it travels.
    """

    name: str
    path: str
    files: int
    size_bytes: int
    reason: str


class Packed(NamedTuple):
    """Hold a bundle of modules.

    Args:
        bundle: The bundle; None if nothing is in it.
        modules: What is in it.
        left_out: What is not.
    """

    bundle: Bundle | None
    modules: tuple[BundledModule, ...]
    left_out: tuple[LeftOut, ...]


def named_by_user(wanted: str | os.PathLike[str] | ModuleType) -> Unit | Path:
    """Return what an entry of `modules=[...]` means: a module, or a file or folder.

    Args:
        wanted: A module, the name of one, or a path.

    Raises:
        ValueError: If there is no such module, file or folder, or it is not the user's own.
    """
    if isinstance(wanted, ModuleType):
        wanted = wanted.__name__
    if isinstance(wanted, str):
        place = origins.find(wanted)
        unit = unit_of(place) if place is not None and place.origin is Origin.OWN else None
        if unit is not None:
            return Unit(unit, NAMED)
        if place is not None and place.origin is Origin.OWN:
            raise ValueError(
                f"modules=[{wanted!r}] is a namespace, which has no file of its own: name the "
                "packages inside it, or its folder by its path"
            )
        if place is not None and place.origin is not Origin.UNKNOWN:
            raise ValueError(
                f"modules=[{wanted!r}] is {place.origin.value}, which does not travel with your "
                "modules: name it in requirements=[...] if the worker lacks it"
            )
    path = Path(wanted)
    if not path.exists():
        raise ValueError(f"modules=[{str(wanted)!r}] is neither a module nor a file or folder")
    return path


def pack(
    wanted: Iterable[Unit | Path],
    exclude: Sequence[str],
    target: Target,
    named: Iterable[Path] = (),
) -> Packed | None:
    """Return a bundle of modules; None if there is nothing in it, and nothing to say.

    Args:
        wanted: Modules that were reached, and modules, files and folders that the user named.
        exclude: What to leave out without a word.
        target: What is to run them.
        named: Files that the user named: they stay in their packages, whatever they are.

    Raises:
        PackageError: If an extension module cannot run there, or there is too much.
    """
    kept_paths = frozenset(path.resolve() for path in named)
    found: dict[str, File] = {}
    modules: list[BundledModule] = []
    left_out: list[LeftOut] = []
    for each in wanted:
        mine, others = _divided(_files_of(each, exclude, kept_paths))
        left_out += others
        kept = _loadable(mine, target)
        found.update((file.name, file) for file in kept)
        modules.append(_described(each, kept))
    _check_size(found.values())
    if not found:
        return Packed(None, (), tuple(left_out)) if left_out else None
    part = archive.pack((name, file.path) for name, file in found.items())
    made = Bundle(
        [(bundle.digest(part), len(part))],
        sum(file.size_bytes for file in found.values()),
        lambda _: part,
    )
    return Packed(made, tuple(modules), tuple(left_out))


def _divided(entries: Iterable[File | LeftOut]) -> tuple[list[File], list[LeftOut]]:
    found = list(entries)
    return (
        [each for each in found if isinstance(each, File)],
        [each for each in found if isinstance(each, LeftOut)],
    )


def _described(each: Unit | Path, kept: Sequence[File]) -> BundledModule:
    size_bytes = sum(file.size_bytes for file in kept)
    if isinstance(each, Path):
        return BundledModule(each.name, str(each), len(kept), size_bytes, NAMED)
    place = each.place
    path = place.file.parent if place.is_package and place.file else place.file
    return BundledModule(place.name, str(path), len(kept), size_bytes, each.reason)


def _files_of(
    each: Unit | Path, exclude: Sequence[str], kept: frozenset[Path]
) -> Iterator[File | LeftOut]:
    if isinstance(each, Path):
        name = os.path.basename(os.path.abspath(each))  # a link has its own name
        if each.is_dir():
            yield from files.collect(each, name, exclude, kept)
        else:  # whoever names a file means it, whatever it is
            yield from files.take(each, name, is_kept=True)
        return
    place = each.place
    folder, slash, last = place.name.replace(".", "/").rpartition("/")
    if place.is_package:
        for portion in place.folders:
            yield from files.collect(portion, f"{folder}{slash}{last}", exclude, kept)
    elif place.file is not None:
        name = f"{folder}{slash}{place.file.name}"
        if not files.is_excluded(name, exclude):
            yield from files.take(place.file, name, is_kept=True)


def _loadable(found: Sequence[File], target: Target) -> list[File]:
    """Return files without the extension modules of other platforms, one build of each kept."""
    refused: dict[str, tuple[File, str]] = {}
    loadable: set[str] = set()
    kept = []
    for each in found:
        if extensions.is_extension(each.name):
            reason = extensions.why_not(each.path, target)
            if reason is not None:
                refused[extensions.stem(each.name)] = each, reason
                continue
            loadable.add(extensions.stem(each.name))
        kept.append(each)
    for stem, (each, reason) in refused.items():
        if stem not in loadable:
            raise PackageError(
                f"the extension module {each.path} cannot run in the worker ({target}): {reason}; "
                f"build it for that, or leave it out with exclude=[{each.name!r}]"
            )
    return kept


def _check_size(found: Iterable[File]) -> None:
    largest = sorted(found, key=lambda each: each.size_bytes, reverse=True)
    total_bytes = sum(each.size_bytes for each in largest)
    if total_bytes > MAX_BUNDLE_BYTES:
        names = ", ".join(f"{each.name} ({each.size_bytes / 1e6:,.0f} MB)" for each in largest[:3])
        raise PackageError(
            f"your modules have {total_bytes / 1e6:,.0f} MB of files, more than "
            f"{MAX_BUNDLE_BYTES / 1e6:,.0f} MB; the largest are {names}: leave out with "
            "exclude=[...] what workers do not need"
        )
