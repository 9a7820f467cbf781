"""Extension modules of the user's own: whether the worker can load them, read from the files."""

from __future__ import annotations

import re
from pathlib import Path

from lambdafutures._environment.target import LINUX, Target

SUFFIXES = (".so", ".pyd")

# What a file of a system begins with, and where an ELF file names its processor (System V ABI;
# numbers of `e_machine` in the ELF specification).
_ELF = b"\x7fELF"
_MACH_O = (b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_MACHINE = slice(18, 20)
_MACHINES = {62: "x86_64", 183: "arm64"}

_TAG = re.compile(r"\.(?:cpython-|cp)(\d)(\d+)(t?)[^.]*\.(?:so|pyd)$")
_MUSL = b"libc.musl-"
_GLIBC = re.compile(rb"GLIBC_2\.(\d+)\0")


def is_extension(name: str) -> bool:
    """Tell whether a file is an extension module, or a library that one links to."""
    return name.endswith(SUFFIXES)


def stem(name: str) -> str:
    """Return what the builds of one extension module have in common.

    Args:
        name: A file's name, with or without folders.
    """
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition('.')[0]}"


def why_not(path: Path, target: Target) -> str | None:
    """Say why the target cannot load an extension module; None if it can.

    Args:
        path: The file.
        target: What is to load it.
    """
    tag = _TAG.search(path.name)
    if tag and "abi3" not in path.name and f"{tag[1]}.{tag[2]}" != target.python:
        return f"it is for Python {tag[1]}.{tag[2]}"
    if tag and tag[3]:
        return f"it is for a free-threaded Python {tag[1]}.{tag[2]}"
    content = path.read_bytes()
    if content.startswith(_MACH_O):
        return None if target.system == "darwin" else "it is built for macOS"
    if not content.startswith(_ELF):
        return "it is no library of a known system"
    if target.system != LINUX:
        return "it is built for Linux"
    machine = int.from_bytes(content[_MACHINE], "little")
    built_for = _MACHINES.get(machine, f"machine {machine}")
    if built_for != target.arch:
        return f"it is built for {built_for}"
    if _MUSL in content and target.libc is not None:
        return "it is built for musl"
    needed = max((int(found[1]) for found in _GLIBC.finditer(content)), default=0)
    if target.libc is not None and (2, needed) > target.libc:
        return f"it needs glibc 2.{needed}"
    return None
