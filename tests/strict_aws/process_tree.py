"""What Linux knows of a function's processes: their descendants, their memory, their end."""

import os
import signal
from collections.abc import Iterator

_OOM_SCALE = 1000
"""`oom_score_adj` runs from -1000 to 1000, thousandths of the memory limit."""


def process_tree(pid: int) -> list[int]:
    """Return a process and all its living descendants.

    Args:
        pid: The process.
    """
    found = [pid]
    for parent in found:
        found.extend(_children(parent))
    return found


def _children(pid: int) -> Iterator[int]:
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                yield from map(int, file.read().split())
    except OSError:
        return  # it has ended meanwhile


def memory_kb(pid: int) -> int:
    """Return the proportional memory of a process, 0 if it is gone.

    Pages that a forked child shares with its parent count once in all, as in a cgroup.

    Args:
        pid: The process.
    """
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1])
    except OSError:
        return 0
    return 0


def oom_victim(memory_by_pid: dict[int, int], limit_kb: int) -> int:
    """Return the process that the kernel's out-of-memory killer would pick.

    Args:
        memory_by_pid: The memory of each process, in KB.
        limit_kb: The limit that was exceeded.
    """

    def badness(pid: int) -> float:
        try:
            with open(f"/proc/{pid}/oom_score_adj") as file:
                adjustment = int(file.read())
        except OSError:
            adjustment = -_OOM_SCALE
        return memory_by_pid[pid] + adjustment * limit_kb / _OOM_SCALE

    return max(memory_by_pid, key=badness)


def signal_group(pid: int, number: int) -> None:
    """Signal a process group; one that is gone is no error.

    Args:
        pid: The group's leader.
        number: The signal.
    """
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def kill_tree(pid: int) -> None:
    """Kill a process, its group, and descendants that left the group.

    Args:
        pid: The process.
    """
    strays = process_tree(pid)[1:]
    signal_group(pid, signal.SIGKILL)
    _kill(strays)


def kill_children(pid: int) -> None:
    """Kill the descendants of a process.

    Args:
        pid: The process, which lives on.
    """
    _kill(process_tree(pid)[1:])


def _kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
