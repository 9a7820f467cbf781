"""A folder of installed packages, made the same wherever and by whomever it was installed."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from email.parser import HeaderParser
from pathlib import Path

from lambdafutures._environment.origins import PROVIDED
from lambdafutures._environment.requirements import normalised
from lambdafutures._environment.target import Target

# What installers write about themselves.
_NOTES = frozenset({"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json"})
# Programs name the interpreter that they were installed for; a worker calls functions.
_PROGRAMS = ("bin", "Scripts", ".lock")
# Tests are imported by nobody, and would make a third more to compile.
_NOT_COMPILED = r"[/\\]tests?[/\\]"


def packages(folder: Path) -> dict[str, str]:
    """Return the version of each package in a folder, by its name.

    Args:
        folder: Where packages are installed.
    """
    found = {}
    for info in sorted(folder.glob("*.dist-info")):
        name, version = _named(info)
        found[name] = version
    return found


def _named(info: Path) -> tuple[str, str]:
    text = (info / "METADATA").read_text(encoding="utf-8", errors="replace")
    headers = HeaderParser().parsestr(text.partition("\n\n")[0])
    return normalised(str(headers["Name"])), str(headers["Version"])


def clean(folder: Path, without: Collection[str] = ()) -> None:
    """Remove what differs from one installation to the next, and packages that are not wanted.

    Args:
        folder: Where packages are installed.
        without: Normalised names of packages that workers have another way.
    """
    # The worker's own come with the deployment: two versions in one process would not agree.
    unwanted = {*without, *map(normalised, PROVIDED)}
    for info in sorted(folder.glob("*.dist-info")):
        if _named(info)[0] in unwanted:
            _uninstall(folder, info)
    for name in _PROGRAMS:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for info in folder.glob("*.dist-info"):
        for name in _NOTES:
            (info / name).unlink(missing_ok=True)
    for cache in list(folder.rglob("__pycache__")):
        shutil.rmtree(cache)


def _uninstall(folder: Path, info: Path) -> None:
    with (info / "RECORD").open(newline="", encoding="utf-8") as record:
        for name, *_ in csv.reader(record):
            path = folder / name
            if path.resolve().is_relative_to(folder.resolve()):
                path.unlink(missing_ok=True)
                for above in path.parents:
                    if above == folder or not above.is_dir() or any(above.iterdir()):
                        break
                    above.rmdir()
    shutil.rmtree(info, ignore_errors=True)


def compile_sources(folder: Path, target: Target) -> None:
    """Compile the modules, so that no worker has to; nothing for another Python than this one.

    The same sources give the same bytes: the compiler runs alone and in one order, and files name
    neither their date nor where they were.

    Args:
        folder: Where packages are installed.
        target: What they are for.
    """
    if target.python != Target.here().python:
        return
    command = [sys.executable, "-S", "-m", "compileall", "-q", "-s", str(folder)]
    command += ["-x", _NOT_COMPILED, "--invalidation-mode", "unchecked-hash", str(folder)]
    # What cannot be compiled (templates, sources of another Python) is not meant to be.
    subprocess.run(
        command,
        # Without what this environment says of where byte code goes and how it is optimised.
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        | {"PYTHONHASHSEED": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )


def files(folder: Path) -> Iterator[tuple[str, Path, int]]:
    """Yield name, path and length in bytes of each file, in the order of their names.

    Args:
        folder: Where packages are installed.
    """
    found = (path for path in folder.rglob("*") if path.is_file())
    for path in sorted(found, key=lambda path: path.relative_to(folder).as_posix()):
        yield path.relative_to(folder).as_posix(), path, path.stat().st_size
