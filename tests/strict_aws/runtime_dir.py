"""Where a function's process finds `awslambdaric`, and nothing else of the test's environment."""

import importlib.machinery
import importlib.metadata
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent / "runtime"
_DISTRIBUTIONS = ("awslambdaric", "simplejson", "snapshot-restore-py")
"""awslambdaric and what it requires: on Lambda they stand in the runtime directory, too."""
_ASK = "import sys; print(sys._base_executable, *sys.version_info[:2])"
_ASK_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that functions run under.

    Attributes:
        executable: The interpreter itself, not the link to it in a virtual environment.
        version: Its minor version, such as `3.12`.
    """

    executable: str
    version: str


@cache
def find_interpreter(python: str) -> Interpreter:
    """Return the interpreter behind a path, looking through virtual environments.

    Args:
        python: Path of a Python executable.
    """
    if python == sys.executable:
        base = getattr(sys, "_base_executable", sys.executable)
        return Interpreter(base, f"{sys.version_info.major}.{sys.version_info.minor}")
    done = subprocess.run(
        [python, "-I", "-S", "-c", _ASK],
        check=True, capture_output=True, text=True, timeout=_ASK_TIMEOUT_S,
    )  # fmt: skip
    base, major, minor = done.stdout.strip().rsplit(" ", 2)
    return Interpreter(base, f"{major}.{minor}")


def make_runtime_dir(where: Path, version: str) -> Path:
    """Make the directory that stands for Lambda's `/var/runtime` and return it.

    It holds links to the installed `awslambdaric` and its dependencies. Interpreters of a version
    that the installed C extension does not fit get a substitute for that extension.

    Args:
        where: In which directory to make it.
        version: The interpreter's minor version.
    """
    target = where / f"runtime-{version}"
    if target.exists():
        return target
    target.mkdir()
    for name, path in _installed().items():
        os.symlink(path, target / name)
    suffix = f".cpython-{version.replace('.', '')}-"
    if not any(name.startswith("runtime_client") and suffix in name for name in _installed()):
        os.symlink(_HERE / "runtime_client.py", target / "runtime_client.py")
    os.symlink(_HERE / "lambda_bootstrap.py", target / "lambda_bootstrap.py")
    return target


@cache
def _installed() -> dict[str, Path]:
    """Return the top-level packages and modules of the distributions, by file name."""
    found: dict[str, Path] = {}
    for distribution in _DISTRIBUTIONS:
        for file in importlib.metadata.files(distribution) or ():
            top = file.parts[0]
            is_code = top.endswith((".py", *importlib.machinery.EXTENSION_SUFFIXES))
            is_package = len(file.parts) > 1 and not top.endswith((".dist-info", "__pycache__"))
            if top not in ("..", "__pycache__") and (is_code or is_package):
                base = Path(str(file.locate()))
                for _ in file.parts[1:]:
                    base = base.parent
                found[top] = base
    if "awslambdaric" not in found:
        raise RuntimeError("the strict fake needs awslambdaric: pip install awslambdaric")
    return found
