"""Objects in a folder: what a bucket is to Lambda, for local workers and durable local jobs.

A key's path has a folder per segment and a file for the last one, so that a listing can leave out
the folders it does not need. Names are such that any key is safe on any file system::

    a/b         a/=b            the file's name begins with "=": a/b and a/b/c do not clash
    a//Ü        a/%/=%C3%9C     all but a-z 0-9 - _ . is percent-encoded, an empty segment is "%"
    ../A        %2E./=%41       nothing leads out of the folder, nothing depends on case
    01234...    +0123.../=...   a long segment is cut: file names end at 255 bytes
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from lambdafutures._backends.base import StoredObject
from lambdafutures.exceptions import BackendError, BlobMissing

# Like S3's pages.
PAGE_KEYS = 1000
# Bytes of a segment per file name: three times as long when encoded, and 255 are allowed.
PIECE_BYTES = 80
# A folder that another writer removes as empty just before ours gets its file is made again. Each
# try loses only to another delete at the same instant.
PUT_TRIES = 100

# Outside of what keys are encoded to, so that no key can name a half-written file.
_DRAFTS = "~drafts"
_PLAIN = b"abcdefghijklmnopqrstuvwxyz0123456789-_."
_ENCODED = [chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in range(256)]


class FileStore:
    """Keep bytes by key in a folder that several processes may share.

    Files are not forced to the disk: they outlive a killed process, not a power failure.

    Args:
        root: The folder; made by the first write.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def __repr__(self) -> str:
        return f"FileStore({str(self._root)!r})"

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> bool:
        """Store `body` under `key`; return False if `only_if_absent` and the key was taken.

        Args:
            key: The object's key.
            body: Its bytes.
            only_if_absent: Leave an object that is there as it is.

        Raises:
            BackendError: If the folder cannot be written to.
        """
        return await asyncio.to_thread(self._put, key, body, only_if_absent)

    def _put(self, key: str, body: bytes, only_if_absent: bool) -> bool:
        path = self._path(key)
        drafts = self._root / _DRAFTS
        draft = drafts / os.urandom(8).hex()
        try:
            # `mode` holds for the last folder only: the root's keeps others out of all below it.
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            drafts.mkdir(exist_ok=True)
            draft.write_bytes(body)
            try:
                return _place(draft, path, only_if_absent)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise BackendError(
                f"cannot write to the folder {self._root} ({error}): free space in it, make it "
                "writable or name another"
            ) from error

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the object's bytes from `start`, `length` of them or all; fewer at its end.

        Args:
            key: The object's key.
            start: Where to begin.
            length: How many bytes.

        Raises:
            BlobMissing: If there is no such object.
        """
        return await asyncio.to_thread(self._get, key, start, length)

    def _get(self, key: str, start: int, length: int | None) -> bytes:
        try:
            with self._path(key).open("rb") as file:
                file.seek(start)
                return file.read(-1 if length is None else length)
        except FileNotFoundError:
            raise BlobMissing(f"{key!r} is not in {self._root}") from None

    async def head(self, key: str) -> StoredObject | None:
        """Return the object's description, or None if there is none.

        Args:
            key: The object's key.
        """
        return await asyncio.to_thread(self._head, key)

    def _head(self, key: str) -> StoredObject | None:
        try:
            return StoredObject(key, self._path(key).stat().st_size)
        except FileNotFoundError:
            return None

    async def list(
        self, prefix: str, *, start_after: str = ""
    ) -> AsyncIterator[Sequence[StoredObject]]:
        """Yield pages of objects under `prefix`, in the order of their keys' bytes.

        Args:
            prefix: What the keys begin with.
            start_after: Only keys greater than this one are listed.
        """
        walk = _walk(str(self._root), b"", prefix.encode(), start_after.encode())
        while page := await asyncio.to_thread(lambda: list(islice(walk, PAGE_KEYS))):
            yield page

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete the objects; keys that do not exist are no error.

        Args:
            keys: Their keys.
        """
        await asyncio.to_thread(self._delete, keys)

    def _delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            path = self._path(key)
            path.unlink(missing_ok=True)
            # Not empty, or removed by another: either ends the climb.
            with contextlib.suppress(OSError):
                for folder in path.parents:
                    if folder == self._root:
                        break
                    folder.rmdir()

    async def close(self) -> None:
        """Do nothing: no file is kept open."""

    def _path(self, key: str) -> Path:
        *folders, last = key.encode().split(b"/")
        names: list[str] = []
        for segment in folders:
            pieces, rest = _pieces(segment)
            # A leading dot is encoded, so that no folder is called "." or "..".
            hidden = rest.startswith(b".")
            names += pieces
            names.append(("%2E" + _encoded(rest[1:]) if hidden else _encoded(rest)) or "%")
        pieces, rest = _pieces(last)
        return self._root.joinpath(*names, *pieces, f"={_encoded(rest)}")


class _Entry(NamedTuple):
    key: bytes
    """The object's key, or what the keys of all objects in a folder begin with."""
    is_folder: bool
    entry: os.DirEntry[str]


def _encoded(segment: bytes) -> str:
    return "".join([_ENCODED[byte] for byte in segment])


def _pieces(segment: bytes) -> tuple[list[str], bytes]:
    """Cut a segment; whatever begins with the same piece comes into the same folder."""
    pieces = []
    while len(segment) >= PIECE_BYTES:
        pieces.append(f"+{_encoded(segment[:PIECE_BYTES])}")
        segment = segment[PIECE_BYTES:]
    return pieces, segment


def _place(draft: Path, path: Path, only_if_absent: bool) -> bool:
    for tries_left in reversed(range(PUT_TRIES)):
        try:
            # Raises FileExistsError, too, if the folder goes away between mkdir's two looks at it.
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError):
            if not tries_left:
                raise
            continue
        try:
            if only_if_absent:
                os.link(draft, path)
            else:
                draft.replace(path)
            return True
        except FileExistsError:
            return False
        except FileNotFoundError:
            if not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


def _walk(folder: str, base: bytes, prefix: bytes, after: bytes) -> Iterator[StoredObject]:
    """Yield the objects of a folder in the order of their keys.

    All keys of a folder begin with the same bytes and no others do, so they are neighbours, and
    folders are sorted among files by these bytes.
    """
    for key, is_folder, entry in _entries(folder, base):
        if is_folder:
            is_behind = key < after and not after.startswith(key)
            if not is_behind and (key.startswith(prefix) or prefix.startswith(key)):
                yield from _walk(entry.path, key, prefix, after)
        elif key > after and key.startswith(prefix):
            with contextlib.suppress(FileNotFoundError):
                yield StoredObject(key.decode(), entry.stat().st_size)


def _entries(folder: str, base: bytes) -> list[_Entry]:
    found: list[_Entry] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name[0] in "=+":
                key = base + unquote_to_bytes(name[1:])
                found.append(_Entry(key, name[0] == "+", entry))
            elif name[0] not in "~.":  # drafts, and what desktops leave behind
                segment = b"" if name == "%" else unquote_to_bytes(name)
                found.append(_Entry(base + segment + b"/", True, entry))
    found.sort(key=lambda each: each.key)
    return found
