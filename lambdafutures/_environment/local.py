"""What a worker of this machine has when it is to have no more than one on Lambda."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import sysconfig
import tempfile
import weakref
from importlib.util import find_spec
from pathlib import Path

from lambdafutures._wire import bundle
from lambdafutures._wire.bundle import Bundle
from lambdafutures.deployment import home

# Beside our own code: who pickles by value.
PROVIDED = ("lambdafutures", "cloudpickle")


def bare_path() -> list[str]:
    """Return an import path with the standard library, lambdafutures and cloudpickle only."""
    kinds = ("stdlib", "platstdlib")
    standard = [sysconfig.get_path(kind) for kind in kinds]
    # Compiled modules of the standard library, and its zip where a Python has one.
    standard += [entry for entry in sys.path if _is_standard(entry, standard)]
    return [_provided_folder(), *dict.fromkeys(standard)]


def _is_standard(entry: str, standard: list[str]) -> bool:
    path = Path(entry)
    if path.name in ("site-packages", "dist-packages"):
        return False
    return path.name == "lib-dynload" or (
        path.suffix == ".zip" and path.parent == Path(standard[0]).parent
    )


def _provided_folder() -> str:
    """Return a folder with links to what every worker has, and nothing else."""
    homes = {}
    for name in PROVIDED:
        spec = find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            homes[name] = spec.submodule_search_locations[0]
    named = hashlib.sha256("\n".join(sorted(homes.values())).encode()).hexdigest()[:16]
    folder = home() / "workers" / named
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with bundle.Draft(str(folder)) as draft:
            for name, where in homes.items():
                os.symlink(where, os.path.join(draft.folder, name))
    return str(folder)


class BundleFolder:
    """Unpack bundles of modules for the local workers of one executor; gone when that is."""

    def __init__(self) -> None:
        self._root = tempfile.mkdtemp(prefix="lambdafutures-")
        weakref.finalize(self, _remove, self._root, os.getpid())

    def unpack(self, made: Bundle) -> None:
        """Unpack a bundle, and say in it where.

        Args:
            made: The bundle, with what reads its parts.

        Raises:
            OSError: If there is no room.
        """
        made.folder = os.path.join(self._root, made.name)
        unpack(made, made.folder)


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # not in a process that was forked from it
        shutil.rmtree(folder, ignore_errors=True)


def unpack(made: Bundle, folder: str) -> None:
    """Unpack a bundle into a folder that is there complete or not at all.

    Args:
        made: The bundle, with what reads its parts.
        folder: The folder, which does not exist.

    Raises:
        OSError: If there is no room.
    """
    assert made.read is not None  # noqa: S101 - whoever made it can
    with bundle.Draft(folder) as draft:
        for number in range(len(made.parts)):
            bundle.unpack(made.read(number), draft.folder)
