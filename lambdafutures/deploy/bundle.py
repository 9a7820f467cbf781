"""The worker's zip: our sources and cloudpickle's, byte for byte the same wherever it is made."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable

HANDLER = "lambdafutures._worker.supervisor.handler"

# The whole package travels: a call may open an executor of its own. cloudpickle comes along since
# Lambda's Python does not have it.
PACKAGES = ("lambdafutures", "cloudpickle")

# The earliest date that a zip can hold.
_DATE = (1980, 1, 1, 0, 0, 0)
# A plain file that everybody may read: Lambda runs the code as another user than its owner.
_MODE = 0o100644 << 16
_UNIX = 3


@dataclass(frozen=True, slots=True)
class Bundle:
    """Hold the zip.

    Args:
        data: Its bytes.
        names: The files in it, sorted.
    """

    data: bytes
    names: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """SHA-256 of the zip in hexadecimal: its name in the bucket."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def code_sha256(self) -> str:
        """SHA-256 of the zip as Lambda writes it."""
        return base64.b64encode(hashlib.sha256(self.data).digest()).decode()


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a zip of the files: the same files give the same bytes.

    Nothing is compressed, since different builds of zlib compress differently, and the few hundred
    kilobytes travel once per deployment.

    Args:
        files: Content by name; names have forward slashes.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system = _UNIX
            entry.external_attr = _MODE
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def sources(package: str) -> dict[str, bytes]:
    """Return a package's Python sources by their name in the zip.

    Args:
        package: Name of an installed package.
    """
    return dict(_walk(importlib.resources.files(package), package))


def _walk(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        inner = f"{name}/{entry.name}"
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _walk(entry, inner)
        elif entry.name.endswith(".py"):
            yield inner, entry.read_bytes()


def build() -> Bundle:
    """Return the zip of this installation."""
    files: dict[str, bytes] = {}
    for package in PACKAGES:
        files |= sources(package)
    return Bundle(pack(files), tuple(sorted(files)))
