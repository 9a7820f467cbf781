"""Files that travel: zip archives, named by what is in them, unpacked where a worker imports from.

A bundle is made once, by a client, in one or several parts, each a zip. It is named by the hash of
its parts, and each part is checked against its own before anything of it is unpacked.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from lambdafutures.exceptions import WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lambdafutures._wire.codec import Buffer

_EXECUTABLE = 0o111


class Bundle:
    """Name files that come before a worker's own on its import path.

    Args:
        parts: SHA-256, in hexadecimal, and length in bytes of each part.
        unpacked_bytes: Length of all its files.
        read: Return a part by its number; with the client that made the bundle only.
        folder: Where it is unpacked, on the machine that asks; None if it is not.
        about: What is said of it beside its parts in the store; with the client only.
    """

    __slots__ = ("about", "folder", "name", "parts", "read", "unpacked_bytes")

    def __init__(
        self,
        parts: Sequence[tuple[str, int]],
        unpacked_bytes: int,
        read: Callable[[int], bytes] | None = None,
        folder: str | None = None,
        about: dict[str, Any] | None = None,
    ) -> None:
        from hashlib import sha256

        self.name = sha256("\n".join(part for part, _ in parts).encode()).hexdigest()
        self.parts = parts
        self.unpacked_bytes = unpacked_bytes
        self.read = read
        self.folder = folder
        self.about = about

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bundle) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def packed_bytes(self) -> int:
        """Length of all parts."""
        return sum(nbytes for _, nbytes in self.parts)

    def to_fields(self) -> list[Any]:
        """Return the bundle as JSON has it."""
        return [[list(part) for part in self.parts], self.unpacked_bytes]

    @classmethod
    def of_fields(cls, fields: Sequence[Any]) -> Bundle:
        """Return the bundle that `to_fields` described.

        Args:
            fields: What it returned.
        """
        parts, unpacked_bytes = fields
        return cls([(sha256, nbytes) for sha256, nbytes in parts], unpacked_bytes)


def digest(part: Buffer) -> str:
    """Return the SHA-256 of a part, in hexadecimal."""
    from hashlib import sha256

    return sha256(part).hexdigest()


def check_part(part: Buffer, expected: str) -> None:
    """Refuse a part that is not what the bundle names.

    Args:
        part: What arrived.
        expected: Its SHA-256, in hexadecimal.

    Raises:
        WireError: If it is another. Nothing of it may be unpacked then.
    """
    found = digest(part)
    if found != expected:
        raise WireError(
            f"a part of what the worker is to import has the SHA-256 {found}, not {expected}: "
            "somebody has overwritten it; `lambdafutures runtime remove --all` has it stored anew"
        )


def unpack(part: Buffer, folder: str) -> None:
    """Write the files of a part into a folder, which others may do with other parts meanwhile.

    Args:
        part: The zip.
        folder: Where to; it exists.

    Raises:
        OSError: If there is no room.
    """
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(part)) as archive:
        entries = archive.infolist()
        for parent in {os.path.dirname(entry.filename) for entry in entries}:
            os.makedirs(os.path.join(folder, parent), exist_ok=True)
        for entry in entries:
            path = os.path.join(folder, entry.filename)
            with open(path, "wb") as file:
                file.write(archive.read(entry))
            if entry.external_attr >> 16 & _EXECUTABLE:
                os.chmod(path, 0o755)  # noqa: S103 - libraries and programs that packages bring


class Draft:
    """Unpack into a folder that appears under its name complete, or not at all.

    Args:
        folder: The name.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.folder = f"{folder}.{os.urandom(4).hex()}~"
        """Where to unpack meanwhile."""

    def __enter__(self) -> Draft:
        os.makedirs(self.folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        import shutil
        from contextlib import suppress

        if kind is None:
            # Another may have been faster: the same name holds the same files.
            with suppress(OSError):
                os.rename(self.folder, self._folder)
                return
        shutil.rmtree(self.folder, ignore_errors=True)
        if kind is None and not os.path.isdir(self._folder):
            raise OSError(f"{self._folder} cannot be made")
