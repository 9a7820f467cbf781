"""What both sides say of a runner's process: how it ended, and how much memory it holds."""

from __future__ import annotations

import os
import signal

# The stack of a fatal signal, as `faulthandler` writes it: a hundred frames of each thread at the
# most; of many threads the first ones will do.
CRASH_BYTES = 8192


def how_it_ended(status: int, crash_handle: int) -> str:
    """Say in words how a process ended, and where it was if a signal of its own ended it.

    Args:
        status: Its exit status; minus the signal's number if one ended it.
        crash_handle: Descriptor of the memory file with the stack of a fatal signal.
    """
    how = f"exited with status {status}"
    if status < 0:
        try:
            how = f"was killed by {signal.Signals(-status).name}"
        except ValueError:
            how = f"was killed by signal {-status}"
    stack = os.pread(crash_handle, CRASH_BYTES, 0).decode("utf-8", "replace").strip()
    return f"{how}; it was here:\n{stack}\n" if stack else how


def resident_bytes(pid: int) -> int | None:
    """Return a process's resident memory now, in bytes.

    Args:
        pid: Its id.

    Returns:
        None where the system does not tell, or the process has ended.
    """
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError):
        return None
