"""Start a fresh interpreter with the client's flags and path: what a local worker is."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence

# 0, 1 and 2 are the standard streams.
LOWEST_HANDLE = 3

_START = (
    # The client's own path, so that nothing in the working directory comes before the standard
    # library, and the same lambdafutures is found.
    "import sys; sys.path[:] = {path!r}; "
    "from lambdafutures._worker.runner import main; "
    "main({requests}, {answers}, {journal}, {crash}, {parent})"
)


# Without the packages of this Python, and without what their `.pth` files do.
_NO_SITE = "-S"


def start_runner(
    path: Sequence[str], *inherited: int, is_bare: bool = False
) -> subprocess.Popen[bytes]:
    """Start an interpreter that runs `lambdafutures._worker.runner.main`.

    Args:
        path: Its import path.
        inherited: Descriptors that it gets: requests, answers, journal and crash.
        is_bare: It has nothing but that path.

    Raises:
        OSError: If no process can be started.
    """
    # A client whose standard streams are closed may have made these with their numbers.
    moved = [
        fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, LOWEST_HANDLE)
        for handle in inherited
        if handle < LOWEST_HANDLE
    ]
    fresh = iter(moved)
    handles = [next(fresh) if handle < LOWEST_HANDLE else handle for handle in inherited]
    try:
        return _popen(path, handles, [_NO_SITE] if is_bare else [])
    finally:
        for handle in moved:
            os.close(handle)


def _popen(
    path: Sequence[str], handles: Sequence[int], options: Sequence[str]
) -> subprocess.Popen[bytes]:
    code = _START.format(
        path=path,
        requests=handles[0],
        answers=handles[1],
        journal=handles[2],
        crash=handles[3],
        parent=os.getpid(),
    )
    # Private, but what multiprocessing uses to give -W, -X, -O and the like to its children.
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return subprocess.Popen(
        [sys.executable, *flags, *options, "-c", code],
        stdin=subprocess.DEVNULL,
        pass_fds=handles,
        # A group of its own: Ctrl-C in the terminal is the client's to handle, and what user code
        # started ends with the worker.
        process_group=0,
    )
