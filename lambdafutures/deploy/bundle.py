"""The worker's zip: our sources and cloudpickle's, byte for byte the same wherever it is made."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path

HANDLER = "lambdafutures._worker.supervisor.handler"

# The whole package travels: a call may open an executor of its own. cloudpickle comes along since
# Lambda's Python does not have it.
PACKAGES = ("lambdafutures", "cloudpickle")

# What executors opened in a worker need besides: aiobotocore and what it requires, as sources, so
# that one zip runs on any processor. (Their compiled parts are switched off by `NESTED_VARIABLES`.)
NESTED_PACKAGES = (
    "aiobotocore",
    "aiohappyeyeballs",
    "aiohttp",
    "aioitertools",
    "aiosignal",
    "attr",
    "botocore",
    "dateutil",
    "frozenlist",
    "idna",
    "jmespath",
    "multidict",
    "propcache",
    "six",
    "typing_extensions",
    "urllib3",
    "wrapt",
    "yarl",
)
NESTED_VARIABLES = {
    "AIOHTTP_NO_EXTENSIONS": "1",
    "FROZENLIST_NO_EXTENSIONS": "1",
    "MULTIDICT_NO_EXTENSIONS": "1",
    "PROPCACHE_NO_EXTENSIONS": "1",
    "WRAPT_DISABLE_EXTENSIONS": "1",
    "YARL_NO_EXTENSIONS": "1",
}
# Of botocore's descriptions of 400 services, the files about those that a worker talks to.
_BOTOCORE_DATA = "botocore/data/"
_BOTOCORE_SERVICES = ("lambda", "s3", "sts")

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
        package: Name of an installed package, or of a module that is one file.
    """
    module = find_spec(package)
    if module is not None and module.origin and not module.submodule_search_locations:
        return {f"{package}.py": Path(module.origin).read_bytes()}
    return dict(_walk(importlib.resources.files(package), package, _is_source))


def _is_source(name: str) -> bool:
    return name.endswith(".py")


def _is_wanted(name: str) -> bool:
    """Tell whether a file of botocore is needed: its sources, certificates and few services."""
    if not name.startswith(_BOTOCORE_DATA):
        return name.endswith((".py", "cacert.pem"))
    first, _, rest = name.removeprefix(_BOTOCORE_DATA).partition("/")
    return not rest or first in _BOTOCORE_SERVICES


def _walk(
    folder: Traversable, name: str, is_wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        inner = f"{name}/{entry.name}"
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _walk(entry, inner, is_wanted)
        elif is_wanted(inner):
            yield inner, entry.read_bytes()


def build(nested: bool = False) -> Bundle:
    """Return the zip of this installation.

    Args:
        nested: With all that an executor needs that is opened in a worker.
    """
    files: dict[str, bytes] = {}
    for package in PACKAGES:
        files |= sources(package)
    if nested:
        # Which ones aiobotocore requires differs from version to version.
        for package in filter(find_spec, NESTED_PACKAGES):
            files |= sources(package)
        files |= dict(_walk(importlib.resources.files("botocore"), "botocore", _is_wanted))
    return Bundle(pack(files), tuple(sorted(files)))
