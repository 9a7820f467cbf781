"""Which files of a folder travel, and which are left out: secrets, repositories, what is large."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

# A module or the data of one rarely has more; what has belongs into a store, and every cold worker
# would fetch it.
MAX_FILE_BYTES = 16 * 1024 * 1024

# Never taken along by accident. (`*.pem` may be a certificate, but then it can be named.)
_SECRETS = (
    ".env",
    ".env.*",
    "*.pem",
    "*.key",
    "*.env",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.ppk",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    "credentials",
    "credentials.json",
    "secrets.json",
    "secrets.toml",
    "secrets.yaml",
    "secrets.yml",
    "service[-_]account*.json",
    "kubeconfig",
    ".netrc",
    ".pypirc",
    ".npmrc",
    ".git-credentials",
)
_REPOSITORIES = frozenset({".git", ".hg", ".svn"})
# What tools write beside sources: nobody misses it, so nothing is said.
_LITTER = frozenset({"__pycache__", "node_modules"})
_LITTER_FILES = ("*.pyc", "*.pyo", "*~")
# What every virtual environment has, whatever it is called.
_ENVIRONMENT_FILE = "pyvenv.cfg"


class File(NamedTuple):
    """Hold a file that travels.

    Args:
        name: Its name in the bundle, with forward slashes.
        path: Where it is.
        size_bytes: Its length.
    """

    name: str
    path: Path
    size_bytes: int


class LeftOut(NamedTuple):
    """Hold a file or folder that does not travel.

    Args:
        name: What its name in the bundle would be.
        reason: Why it is left out.
    """

    name: str
    reason: str


def is_excluded(name: str, patterns: Sequence[str]) -> bool:
    """Tell whether a pattern names a file, a folder that it is in, or its module.

    Args:
        name: The file's name in the bundle.
        patterns: Dotted names of modules, or patterns of names as shells have them.
    """
    parts = name.split("/")
    above = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    dotted = [each.replace("/", ".") for each in above]
    dotted.append(dotted[-1].removesuffix(".py"))
    return any(
        fnmatch.fnmatchcase(each, pattern) for pattern in patterns for each in (*above, *dotted)
    )


def collect(
    folder: Path, prefix: str, exclude: Sequence[str] = (), kept: frozenset[Path] = frozenset()
) -> Iterator[File | LeftOut]:
    """Yield the files of a folder, and what is left out of it, in the order of their names.

    Args:
        folder: The folder.
        prefix: Name of the folder in the bundle.
        exclude: What to leave out without a word.
        kept: Files that are taken along whatever they are, as `Path.resolve` has them.
    """
    yield from _collect(folder, prefix, exclude, kept, frozenset({folder.resolve()}))


def _collect(
    folder: Path,
    prefix: str,
    exclude: Sequence[str],
    kept: frozenset[Path],
    above: frozenset[Path],
) -> Iterator[File | LeftOut]:
    for path in sorted(folder.iterdir()):
        name = f"{prefix}/{path.name}"
        if is_excluded(name, exclude):
            continue
        if path.is_dir():
            resolved = path.resolve()
            if path.name in _LITTER or resolved in above:  # a link may lead back
                continue
            reason = _reason_against_folder(path)
            if reason:
                yield LeftOut(name, reason)
            elif not path.name.startswith("."):
                yield from _collect(path, name, exclude, kept, above | {resolved})
        elif path.is_file():
            yield from take(path, name, is_kept=bool(kept) and path.resolve() in kept)


def take(path: Path, name: str, *, is_kept: bool = False) -> Iterator[File | LeftOut]:
    """Yield a file, or why it is left out; nothing for what tools have written.

    Args:
        path: The file.
        name: Its name in the bundle.
        is_kept: It is taken along whatever it is.
    """
    size_bytes = path.stat().st_size
    printable = name.encode("utf-8", "backslashreplace").decode()
    if printable != name:
        yield LeftOut(printable, "its name is no text, which zips cannot hold")
    elif is_kept:
        yield File(name, path, size_bytes)
    elif _matches(path.name.lower(), _SECRETS):
        yield LeftOut(name, "it looks like a secret")
    elif size_bytes > MAX_FILE_BYTES:
        yield LeftOut(
            name, f"{size_bytes / 1e6:,.0f} MB are more than {MAX_FILE_BYTES / 1e6:,.0f} MB"
        )
    elif not path.name.startswith(".") and not _matches(path.name, _LITTER_FILES):
        yield File(name, path, size_bytes)


def _reason_against_folder(path: Path) -> str:
    if path.name in _REPOSITORIES:
        return "it is a repository"
    if os.path.exists(path / _ENVIRONMENT_FILE):
        return "it is a virtual environment"
    return ""


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
