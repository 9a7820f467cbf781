"""What a user may choose of a deployment, checked against what Lambda allows. Pure."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from lambdafutures._environment.target import Target
from lambdafutures.deploy.layer import NO_LAYER, Layer
from lambdafutures.deployment import DEFAULT_NAME

# What Lambda allows: AWS, "Lambda quotas", 2026.
MEMORY_MB = range(128, 10_240 + 1)
TIMEOUT_S = range(1, 900 + 1)
DISK_MB = range(512, 10_240 + 1)
ARCHITECTURES = ("x86_64", "arm64")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")

# Lambda gives one whole vCPU at this size.
DEFAULT_MEMORY_MB = 1769
# A template in a request may have 51,200 bytes; a function takes about 1,500.
MOST_SIZES = 16
# A function's name may have 64 characters, and ours end in "-py312i-10240".
NAME_CHARACTERS = 40

_NAME = re.compile(rf"[a-z][a-z0-9-]{{0,{NAME_CHARACTERS - 1}}}")


def running_python() -> str:
    """Return the minor version of this Python, such as ``"3.12"``."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class Options:
    """Say what is to be deployed.

    Args:
        name: The deployment's and the stack's name.
        memory_mb: Memory of each function, in MB.
        timeout_s: Time-out of the functions, in seconds.
        arch: Their processors, ``"x86_64"`` or ``"arm64"``.
        python: Minor version of their Python; the client's own.
        prefix: Prefix of every key in the bucket.
        nested: The worker's zip holds what an executor opened in a worker needs.
        disk_mb: Size of the functions' `/tmp`, in MB, where travelling packages are unpacked.
        layer: Packages that are deployed with the functions.
        image: Container image that the functions run, by its URI; empty for Lambda's own Python.
    """

    name: str = DEFAULT_NAME
    memory_mb: tuple[int, ...] = (DEFAULT_MEMORY_MB,)
    timeout_s: int = TIMEOUT_S[-1]
    arch: str = ARCHITECTURES[0]
    python: str = running_python()
    prefix: str = "lambdafutures"
    nested: bool = False
    disk_mb: int = DISK_MB[0]
    layer: Layer = NO_LAYER
    image: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "memory_mb", tuple(sorted(set(self.memory_mb))))
        check_name(self.name)
        _require(
            0 < len(self.memory_mb) <= MOST_SIZES,
            f"--memory takes between 1 and {MOST_SIZES} sizes, not {len(self.memory_mb)}",
        )
        for size in self.memory_mb:
            _require(
                size in MEMORY_MB,
                f"--memory {size} is not between {MEMORY_MB[0]} and {MEMORY_MB[-1]} MB",
            )
        _require(
            not (self.image and self.layer),
            "an --image brings its own packages: name them in its Dockerfile, not in "
            "--requirements (or give --no-requirements)",
        )
        _require(
            self.disk_mb in DISK_MB,
            f"--disk {self.disk_mb} is not between {DISK_MB[0]} and {DISK_MB[-1]} MB",
        )
        _require(
            self.timeout_s in TIMEOUT_S,
            f"--timeout {self.timeout_s} is not between {TIMEOUT_S[0]} and {TIMEOUT_S[-1]} s",
        )
        _require(
            self.arch in ARCHITECTURES, f"--arch {self.arch} is not {' or '.join(ARCHITECTURES)}"
        )
        _require(
            self.python in PYTHONS,
            f"Lambda runs Python {', '.join(PYTHONS)}, not {self.python}: run the client, and this "
            "command, under one of these",
        )

    @property
    def target(self) -> Target:
        """What packages and extension modules must be built for."""
        return Target.of_lambda(self.python, self.arch)

    @property
    def functions(self) -> dict[int, str]:
        """Function name by memory size."""
        # A function cannot be changed from zip to image: it is another one, by another name.
        version = self.python.replace(".", "") + ("i" if self.image else "")
        return {size: f"{self.name}-py{version}-{size}" for size in self.memory_mb}


def check_name(name: str) -> None:
    """Refuse what cannot name a deployment.

    Args:
        name: The name.

    Raises:
        ValueError: If it cannot; says what can.
    """
    _require(
        _NAME.fullmatch(name) is not None,
        f"--name {name!r} must be 1 to {NAME_CHARACTERS} lower-case letters, digits and hyphens, "
        "a letter first",
    )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
