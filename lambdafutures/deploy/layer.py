"""Packages that are deployed with the functions: a layer, made as runtimes are."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from lambdafutures._environment import archive, distributions, runtimes
from lambdafutures._environment.origins import PROVIDED, Origin, origin_of_file
from lambdafutures._environment.requirements import Request, normalised
from lambdafutures._environment.target import Target
from lambdafutures.deploy.errors import DeployError

# What a function and its layers may hold unzipped (AWS, "Lambda quotas", 2026), less the worker.
MAX_BYTES = 250 * 1024 * 1024 - 8 * 1024 * 1024
# Where Lambda puts a layer's files, below which it looks for modules.
_FOLDER = "python/"
_EXECUTABLE = 0o111
# Of an environment, what installs packages is of no use to a worker.
_INSTALLERS = frozenset({"pip", "setuptools", "uv", "wheel"})


@dataclass(frozen=True, slots=True)
class Layer:
    """Say which packages are deployed; none by default.

    Args:
        sha256: SHA-256 of the layer's zip, in hexadecimal.
        requirements: Lines of the request that it was built for.
        packages: Name and version of each package in it.
        target: What they are for, in words.
    """

    sha256: str = ""
    requirements: tuple[str, ...] = ()
    packages: tuple[tuple[str, str], ...] = ()
    target: str = ""

    def __bool__(self) -> bool:
        return bool(self.sha256)

    def to_fields(self) -> list[Any]:
        """Return the layer as JSON has it."""
        return [self.sha256, list(self.requirements), dict(self.packages), self.target]

    @classmethod
    def of_fields(cls, fields: Iterable[Any]) -> Layer:
        """Return the layer that `to_fields` described.

        Args:
            fields: What it returned.
        """
        sha256, requirements, packages, target = fields
        return cls(sha256, tuple(requirements), tuple(sorted(packages.items())), target)


NO_LAYER = Layer()


def build(
    request: Request, target: Target, progress: runtimes.Progress | None = None
) -> tuple[Layer, bytes]:
    """Return a layer of packages, and its zip.

    Args:
        request: The packages.
        target: What they are for.
        progress: Told how it goes on.

    Raises:
        PackageError: If the packages cannot be had for the target.
        ValueError: If they are more than Lambda takes.
    """
    made = runtimes.provide(request, target, progress)
    size_bytes = made.bundle.unpacked_bytes
    if size_bytes > MAX_BYTES:
        raise ValueError(
            f"the packages have {size_bytes / 1e6:,.0f} MB unzipped, and Lambda takes "
            f"{MAX_BYTES / 1e6:,.0f} MB: let them travel with "
            "LambdaPoolExecutor(requirements=...), or run the functions from an --image"
        )
    data = archive.pack(_files(made))
    sha256 = hashlib.sha256(data).hexdigest()
    packages = tuple(sorted(made.packages.items()))
    return Layer(sha256, request.lines, packages, str(target)), data


def build_again(layer: Layer, target: Target) -> bytes:
    """Return the zip of a layer that was built before, if the same can be had.

    Args:
        layer: The layer.
        target: What it is for.

    Raises:
        DeployError: If it comes out differently.
    """
    made, data = build(pinned(dict(layer.packages)), target)
    if made.sha256 != layer.sha256:
        raise DeployError(
            "the deployed packages are not in the bucket any more and cannot be built as they "
            "were: give --requirements again"
        )
    return data


def pinned(packages: Mapping[str, str]) -> Request:
    """Return the request for exactly these versions.

    Args:
        packages: Version by name.
    """
    return Request(tuple(f"{name}=={version}" for name, version in sorted(packages.items())))


def of_environment() -> Request:
    """Return the request for what this Python has installed, in the same versions.

    What is installed from a folder (editable installs) travels with calls instead.
    """
    found = {}
    for distribution in metadata.distributions():
        if "Name" not in distribution.metadata:
            continue  # left over from a removal
        name = normalised(distribution.metadata["Name"])
        if name not in PROVIDED | _INSTALLERS and not _is_of_folder(distribution):
            found[name] = distribution.version
    return pinned({name: distributions.version(name) or found[name] for name in found})


def _is_of_folder(distribution: metadata.Distribution) -> bool:
    if distribution.read_text("METADATA") is None:  # an egg-info, as builds leave it beside sources
        return origin_of_file(Path(str(distribution.locate_file("")))) is Origin.OWN
    text = distribution.read_text("direct_url.json")
    return bool(text) and "dir_info" in json.loads(text or "{}")


def _files(made: runtimes.Runtime) -> Iterable[tuple[str, bytes]]:
    read = made.bundle.read
    assert read is not None  # noqa: S101 - it was made, or read, by this process
    for number in range(len(made.bundle.parts)):
        with zipfile.ZipFile(io.BytesIO(read(number))) as part:
            for entry in part.infolist():
                content = part.read(entry)
                if entry.external_attr >> 16 & _EXECUTABLE:
                    content = archive.Executable(content)
                yield f"{_FOLDER}{entry.filename}", content
