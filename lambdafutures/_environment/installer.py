"""Have uv or pip put packages for a target into a folder, and say in words why it cannot."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lambdafutures._environment.requirements import Request
from lambdafutures._environment.target import LINUX, Target
from lambdafutures.exceptions import PackageError

# ``uv``, ``pip`` or a path to uv; by default uv where there is one.
INSTALLER_VARIABLE = "LAMBDAFUTURES_INSTALLER"

# glibc that wheels of a processor can be built for at the earliest (PEP 600 and before), and the
# names that such wheels had before.
_OLDEST_GLIBC = {"x86_64": 5, "arm64": 17}
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
# Versions that uv knows by name: the newest that is not newer than the target's is taken.
_UV_GLIBC = (40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 28, 17)
_WHEEL_ARCH = {"arm64": "aarch64"}

# pip takes the platform of wheels as options, and conditions of requirements from the Python that
# runs it (pip, "Running pip: --python-version"); uv has both from the target.
_PIP_ELSEWHERE = """
import json, sys
told = json.loads(sys.argv.pop(1))
from pip._vendor.packaging import markers
known = markers.default_environment
markers.default_environment = lambda: {**known(), **told}
from pip._internal.cli.main import main
sys.exit(main())
"""

# Of what an installer says, the end says why.
_LINES_TOLD = 12
_SUBJECT = re.compile(
    r"(?:No matching distribution found for|requirement) ([A-Za-z0-9][\w.\-\[\]]*\S*)"
    r"|Because ([A-Za-z0-9][\w.\-]*(?:[=<>!~]=?\S+)?) (?:has|was|needs|only)"
    r"|versions? of ([A-Za-z0-9][\w.\-]*)"
)


def install(request: Request, target: Target, folder: Path) -> None:
    """Install packages, and what they require, into a folder.

    Args:
        request: What to install.
        target: What it is to run on.
        folder: Where to; it is made.

    Raises:
        PackageError: If that cannot be done; says which package, for what, and what mends it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        lines = Path(scratch, "requirements.txt")
        lines.write_text("\n".join(request.lines) + "\n")
        options = ["-r", str(lines)]
        if request.constraints:
            constraints = Path(scratch, "constraints.txt")
            constraints.write_text("\n".join(request.constraints) + "\n")
            options += ["-c", str(constraints)]
        command = [*_tool(target), "--target", str(folder), *options]
        try:
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        except FileNotFoundError as error:
            raise PackageError(
                f"there is no {command[0]}, which ${INSTALLER_VARIABLE} names: unset it, or set it "
                "to pip, uv or a path of uv"
            ) from error
    if done.returncode != 0:
        raise PackageError(_explained(request, target, done.stderr or done.stdout))


def _tool(target: Target) -> list[str]:
    chosen = os.environ.get(INSTALLER_VARIABLE, "")
    uv = find_uv(chosen) if chosen != "pip" else None
    if uv is not None:
        return [uv, "pip", "install", "--no-progress", *_uv_options(target)]
    if importlib.util.find_spec("pip") is None:
        raise PackageError(
            "packages are installed by uv or pip, and this Python has neither: run "
            "`python -m ensurepip`, or install uv"
        )
    pip = [sys.executable, "-m", "pip"]
    markers = _markers(target, Target.here())
    if markers:
        pip = [sys.executable, "-c", _PIP_ELSEWHERE, json.dumps(markers)]
    return [*pip, "install", *_pip_options(target)]


def _markers(target: Target, here: Target) -> dict[str, str]:
    """Return what requirements are conditional on, as far as it differs from this process."""
    found: dict[str, str] = {}
    if target.python != here.python:
        found |= {"python_version": target.python, "python_full_version": f"{target.python}.0"}
    if (target.arch, target.system) != (here.arch, here.system):
        machine = _WHEEL_ARCH.get(target.arch, target.arch)
        found |= {"platform_machine": machine, "platform_system": "Linux", "os_name": "posix"}
        found |= {"sys_platform": target.system}
    return found


def find_uv(chosen: str = "") -> str | None:
    """Return where uv is, or None.

    Args:
        chosen: A path to it, or nothing.
    """
    if chosen not in ("", "uv"):
        return chosen
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


def _pip_options(target: Target) -> list[str]:
    options = [
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--no-warn-conflicts",
        "--no-compile",
        "--ignore-installed",
        "--only-binary=:all:",
        "--implementation=cp",
        f"--python-version={target.python}",
    ]
    if target == Target.here() and target.system != LINUX:
        return options  # pip knows its own platform's names
    return options + [f"--platform={name}" for name in platforms(target)]


def platforms(target: Target) -> list[str]:
    """Return the names of platforms whose wheels run on a target, the best first.

    Args:
        target: A Linux with glibc.
    """
    arch = _WHEEL_ARCH.get(target.arch, target.arch)
    newest = target.libc[1] if target.libc else 17
    found = []
    for minor in range(newest, _OLDEST_GLIBC.get(target.arch, 17) - 1, -1):
        found.append(f"manylinux_2_{minor}_{arch}")
        if minor in _LEGACY:
            found.append(f"{_LEGACY[minor]}_{arch}")
    return [*found, f"linux_{arch}"]


def _uv_options(target: Target) -> list[str]:
    options = ["--quiet", "--only-binary=:all:", f"--python-version={target.python}"]
    # An interpreter to ask, so that none is looked for or downloaded.
    options += ["--python", sys.executable, "--link-mode=copy"]
    if target == Target.here() and target.system != LINUX:
        return options
    arch = _WHEEL_ARCH.get(target.arch, target.arch)
    newest = target.libc[1] if target.libc else 17
    known = next((minor for minor in _UV_GLIBC if minor <= newest), 17)
    return [*options, f"--python-platform={arch}-manylinux_2_{known}"]


def _explained(request: Request, target: Target, said: str) -> str:
    lines = [line.rstrip() for line in said.splitlines() if _is_telling(line)]
    told = "\n".join(f"  {line}" for line in lines[-_LINES_TOLD:])
    subject = _subject(said)
    if subject is None:
        return f"the packages {request} could not be installed for {target}:\n{told}"
    return (
        f"{subject} cannot be had as a wheel for {target}, which the worker needs:\n{told}\n"
        "Ask for a version that has one, name the file of a wheel that was built for it in "
        "requirements=[...], or run the workers under another Python (`lambdafutures deploy`)"
    )


def _is_telling(line: str) -> bool:
    return bool(line.strip()) and not line.startswith(("WARNING", "[notice]"))


def _subject(said: str) -> str | None:
    """Return the package that an installer blames; None if it names none."""
    found = _SUBJECT.search(said)
    return next(filter(None, found.groups())).rstrip(",.;:") if found else None
