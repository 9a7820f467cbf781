"""Runtime bundles: packages of one request for one target, built once and kept on this machine.

::

    $LAMBDAFUTURES_HOME/runtimes/{name}/000, 001, ...    the parts
    $LAMBDAFUTURES_HOME/runtimes/{name}/about            what is in it, as JSON
    $LAMBDAFUTURES_HOME/runtimes/{name}/files/           unpacked, for workers of this machine
    $LAMBDAFUTURES_HOME/requests/{key}                   which bundle a request led to
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lambdafutures._environment import archive, installer, local, tree
from lambdafutures._environment.requirements import Request
from lambdafutures._environment.target import Target
from lambdafutures._wire import bundle
from lambdafutures._wire.bundle import Bundle
from lambdafutures.deployment import home

_log = logging.getLogger("lambdafutures")

# Parts are fetched and unpacked side by side, four at a time (`_worker/s3_parts.py`). With about
# 12 MB of files each, some 4 MB packed, one is unpacked while others are on their way; each is one
# request, and its hash takes 70 bytes of every invocation. (`tests/benchmarks/runtime.py` measures
# whole bundles; how parts of other sizes would do has not been measured on a quiet machine.)
PART_FILES_BYTES = 12 * 1024 * 1024
_ABOUT = "about"
_FILES = "files"

Progress = Callable[[str, float], None]
"""Told what is being done, and which part of it is, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """Hold a runtime bundle.

    Args:
        bundle: The bundle.
        packages: Version of each package in it, by its normalised name.
        requirements: What was asked for.
        target: What it is for, in words.
    """

    bundle: Bundle
    packages: Mapping[str, str]
    requirements: tuple[str, ...]
    target: str


def provide(request: Request, target: Target, progress: Progress | None = None) -> Runtime:
    """Return the runtime of a request, built if it was not before.

    Args:
        request: The packages.
        target: What they are for.
        progress: Told how a build goes on.

    Raises:
        PackageError: If the packages cannot be had for the target.
    """
    pointer = home() / "requests" / request.key(target)
    try:
        return read(pointer.read_text())
    except FileNotFoundError:
        pass
    made = build(request, target, progress or _silent)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    draft = pointer.with_suffix(f".{os.urandom(4).hex()}~")
    draft.write_text(made.bundle.name)
    draft.replace(pointer)
    return made


def build(request: Request, target: Target, progress: Progress) -> Runtime:
    """Build a runtime, whether or not there is one.

    Args:
        request: The packages.
        target: What they are for.
        progress: Told how it goes on.

    Raises:
        PackageError: If the packages cannot be had for the target.
    """
    began_s = time.monotonic()
    _log.info("lambdafutures: building packages for %s: %s", target, request)
    with tempfile.TemporaryDirectory(prefix="lambdafutures-") as scratch:
        folder = Path(scratch, "files")
        progress("installing", 0.0)
        folder.mkdir()
        if request.lines:
            installer.install(request, target, folder)
        tree.clean(folder, request.without)
        packages = tree.packages(folder)
        progress("compiling", 0.2)
        tree.compile_sources(folder, target)
        made = _packed(folder, request, target, packages, progress)
    _log.info("lambdafutures: built packages in %.1f s", time.monotonic() - began_s)
    return made


def _packed(
    folder: Path,
    request: Request,
    target: Target,
    packages: Mapping[str, str],
    progress: Progress,
) -> Runtime:
    groups = _groups(folder)
    done = 0

    def pack(group: list[tuple[str, Path]]) -> bytes:
        nonlocal done
        part = archive.pack(group)
        done += 1
        progress("packing", 0.3 + 0.7 * done / len(groups))
        return part

    with ThreadPoolExecutor(os.cpu_count()) as threads:  # zlib releases the interpreter's lock
        parts = list(threads.map(pack, groups))
    unpacked_bytes = sum(size for _, _, size in tree.files(folder))
    made = Bundle([(bundle.digest(part), len(part)) for part in parts], unpacked_bytes)
    about = {
        "requirements": list(request.lines),
        "packages": dict(packages),
        "target": str(target),
        "parts": [list(part) for part in made.parts],
        "unpacked_bytes": unpacked_bytes,
    }
    where = home() / "runtimes" / made.name
    try:
        return read(made.name)
    except FileNotFoundError:
        shutil.rmtree(where, ignore_errors=True)  # what is left of a damaged one
    where.parent.mkdir(parents=True, exist_ok=True)
    with bundle.Draft(str(where)) as draft:
        for number, part in enumerate(parts):
            Path(draft.folder, f"{number:03}").write_bytes(part)
        Path(draft.folder, _ABOUT).write_text(json.dumps(about, indent=1))
    return read(made.name)


def _groups(folder: Path) -> list[list[tuple[str, Path]]]:
    """Divide the files into parts of about the same length, always in the same way."""
    found = list(tree.files(folder))
    total_bytes = sum(size for _, _, size in found)
    groups: list[list[tuple[str, Path]]] = [[] for _ in range(1 + total_bytes // PART_FILES_BYTES)]
    loads = [0] * len(groups)
    for name, path, size in sorted(found, key=lambda each: (-each[2], each[0])):
        least = loads.index(min(loads))
        groups[least].append((name, path))
        loads[least] += size
    return [group for group in groups if group]


def read(name: str) -> Runtime:
    """Return a runtime that was built.

    Args:
        name: Name of its bundle.

    Raises:
        FileNotFoundError: If there is none, or it is damaged.
    """
    where = home() / "runtimes" / name
    try:
        about: dict[str, Any] = json.loads((where / _ABOUT).read_text())
    except ValueError as error:
        raise FileNotFoundError(f"{where / _ABOUT} is damaged") from error
    for number, (_, nbytes) in enumerate(about["parts"]):
        if (where / f"{number:03}").stat().st_size != nbytes:
            raise FileNotFoundError(f"{where / f'{number:03}'} is damaged")
    made = Bundle(
        [(sha256, nbytes) for sha256, nbytes in about["parts"]],
        about["unpacked_bytes"],
        lambda number: (where / f"{number:03}").read_bytes(),
        about={key: about[key] for key in ("requirements", "packages", "target")}
        | {"unpacked_bytes": about["unpacked_bytes"]},
    )
    return Runtime(made, about["packages"], tuple(about["requirements"]), about["target"])


def make_ready(runtime: Runtime) -> None:
    """Unpack a runtime for workers of this machine, once.

    Args:
        runtime: The runtime.

    Raises:
        OSError: If there is no room.
    """
    folder = home() / "runtimes" / runtime.bundle.name / _FILES
    if not folder.is_dir():
        local.unpack(runtime.bundle, str(folder))
    runtime.bundle.folder = str(folder)


def kept() -> Iterator[Runtime]:
    """Yield the runtimes that are kept on this machine."""
    folder = home() / "runtimes"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            yield read(path.name)


def remove(name: str) -> None:
    """Remove a runtime from this machine.

    Args:
        name: Name of its bundle.
    """
    shutil.rmtree(home() / "runtimes" / name, ignore_errors=True)
    requests = home() / "requests"
    for pointer in list(requests.iterdir()) if requests.is_dir() else ():
        if pointer.read_text() == name:
            pointer.unlink(missing_ok=True)


def _silent(what: str, share: float) -> None:
    pass
