"""What packages a user asks for: a list, a file, or those that calls are found to use."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

from lambdafutures._environment.target import Target

AUTO = "auto"
# Counted up when bundles of the same packages would be made differently.
BUILD_VERSION = 1

Requirements: TypeAlias = str | os.PathLike[str] | Sequence[str]

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_INCLUDE = re.compile(r"(?:-r|--requirement)[ =]?\s*(.+)")
# Options that name a file or a folder.
_WITH_PATH = re.compile(r"(-c|--constraint|-f|--find-links)[ =]\s*(.+)")
_DIRECT = re.compile(r"[^@]+@\s*file://([^\s#;]+).*")
# A byte order mark, as some editors write it, is no part of the first line.
_ENCODING = "utf-8-sig"


class Request(NamedTuple):
    """Hold what is to be installed, as an installer reads it.

    Args:
        lines: Lines of a requirements file, sorted; paths in them are absolute.
        constraints: Lines of a constraints file.
        without: Names of packages that come another way.
    """

    lines: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def key(self, target: Target) -> str:
        """Return what names the request for a target: the same one is built once.

        Args:
            target: What the packages are for.
        """
        files = [_digest(path) for path in map(_file_in, self.lines) if path is not None]
        parts = [BUILD_VERSION, str(target), self.lines, self.constraints, self.without, files]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def __str__(self) -> str:
        return ", ".join(self.lines)


def read(wanted: Requirements) -> Request:
    """Return the request that an argument means; not for ``"auto"``.

    Args:
        wanted: Requirements, or the path of a ``requirements.txt`` or ``pyproject.toml``.

    Raises:
        ValueError: If it means nothing; says what does.
    """
    if isinstance(wanted, str | os.PathLike):
        path = Path(wanted)
        if not path.is_file():
            hint = f"; for the package of that name give [{str(wanted)!r}]"
            raise ValueError(f"requirements={str(wanted)!r} is no file{hint}")
        lines = _of_pyproject(path) if path.suffix == ".toml" else list(_of_file(path))
        return _request(lines, str(path))
    if not all(isinstance(line, str) for line in wanted):
        raise ValueError(f"requirements must be strings such as 'numpy>=2', not {wanted!r}")
    return _request([_absolute(line, Path()) for line in wanted], "requirements")


def _request(lines: Sequence[str], where: str) -> Request:
    cleaned = sorted({line.strip() for line in lines if line.strip()})
    for line in cleaned:
        if not line.startswith("-") and not _is_file(line) and not _NAME.match(line):
            raise ValueError(f"{where}: {line!r} is no requirement, such as 'numpy>=2'")
    return Request(tuple(cleaned))


def _of_pyproject(path: Path) -> list[str]:
    try:
        described = tomllib.loads(path.read_text(encoding=_ENCODING))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    project = described.get("project", {})
    if "dependencies" not in project:
        raise ValueError(f"{path} names no dependencies: [project] has no `dependencies`")
    return [str(line) for line in project["dependencies"]]


def _of_file(path: Path, above: tuple[Path, ...] = ()) -> Iterator[str]:
    if path.resolve() in above:
        raise ValueError(f"{path} includes itself")
    try:
        text = path.read_text(encoding=_ENCODING).replace("\\\n", " ")
    except FileNotFoundError as error:
        raise ValueError(f"{above[-1]}: there is no {path}" if above else str(error)) from error
    for raw in text.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        if not line:
            continue
        included = _INCLUDE.fullmatch(line)
        if included:
            yield from _of_file(path.parent / included[1].strip(), (*above, path.resolve()))
        elif line.startswith(("-e", "--editable")):
            raise ValueError(
                f"{path}: {line!r} is editable: your own packages travel by themselves"
            )
        else:
            yield _absolute(line, path.parent)


def _absolute(line: str, folder: Path) -> str:
    """Return a line in which no path depends on the working directory."""
    option = _WITH_PATH.fullmatch(line)
    if option:
        path = (folder / option[2].strip()).resolve()
        return f"{option[1]} {path}" if path.exists() else line
    return str((folder / line).resolve()) if _is_file(str(folder / line)) else line


def _is_file(line: str) -> bool:
    return line.endswith((".whl", ".tar.gz", ".zip")) and Path(line).is_file()


def _file_in(line: str) -> Path | None:
    """Return the file that a line names; None if it names none."""
    option, direct = _WITH_PATH.fullmatch(line), _DIRECT.fullmatch(line)
    named = option[2] if option else unquote(direct[1]) if direct else line
    path = Path(named)
    is_named = bool(option or direct) or _is_file(line)
    return path if is_named and path.is_file() else None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def normalised(name: str) -> str:
    """Return a package's name as all ways to write it have it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
