"""What runs the calls: a Python, a processor, and the C library that extension modules link to."""

from __future__ import annotations

import platform
import sys
from typing import NamedTuple

# glibc of Lambda's runtimes: Amazon Linux 2 has 2.26, Amazon Linux 2023 has 2.34 (AWS, "Lambda
# runtimes", November 2026).
_LAMBDA_GLIBC = {"3.11": (2, 26)}
_LAMBDA_GLIBC_SINCE = (2, 34)

LINUX = "linux"
# Names of a processor, as systems have them.
_SAME = {"amd64": "x86_64", "aarch64": "arm64"}


class Target(NamedTuple):
    """Say what packages and extension modules must be built for.

    Args:
        python: Minor version of Python, such as ``"3.12"``.
        arch: Processor, ``"x86_64"`` or ``"arm64"``.
        system: `sys.platform` of the system.
        libc: Version of glibc; None where there is none (macOS).
    """

    python: str
    arch: str
    system: str = LINUX
    libc: tuple[int, int] | None = None

    @classmethod
    def of_lambda(cls, python: str, arch: str) -> Target:
        """Return what a Lambda function is.

        Args:
            python: Minor version of its Python.
            arch: Its processor.
        """
        return cls(python, arch, LINUX, _LAMBDA_GLIBC.get(python, _LAMBDA_GLIBC_SINCE))

    @classmethod
    def here(cls) -> Target:
        """Return what this process is."""
        machine = platform.machine().lower()
        return cls(
            f"{sys.version_info.major}.{sys.version_info.minor}",
            _SAME.get(machine, machine),
            sys.platform,
            _glibc() if sys.platform == LINUX else None,
        )

    @property
    def abi(self) -> str:
        """The interpreter's part of a wheel's name, such as ``cp312``."""
        return f"cp{self.python.replace('.', '')}"

    def __str__(self) -> str:
        libc = f", glibc {self.libc[0]}.{self.libc[1]}" if self.libc else ""
        return f"Python {self.python} on {self.system} {self.arch}{libc}"


def _glibc() -> tuple[int, int] | None:
    name, version = platform.libc_ver()
    if name != "glibc":
        return None
    major, _, minor = version.partition(".")
    return int(major), int(minor.partition(".")[0])
