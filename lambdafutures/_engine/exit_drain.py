"""Work that is pending when the script ends is finished, as the standard library's is.

The drain is registered with `threading`, not `atexit`: it then runs before the interpreter forbids
new threads, and a `submit` in an `atexit` callback is refused.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - see the end of this module
import os
import threading
import weakref
from typing import Protocol


class Drainable(Protocol):
    """What can be finished and waited for."""

    def finish(self) -> None:
        """Take no more calls, and end once the pending ones have ended."""

    def join(self) -> None:
        """Wait for the end."""


class _State:
    shutting_down = False


_sessions: weakref.WeakSet[Drainable] = weakref.WeakSet()


def is_shutting_down() -> bool:
    """Tell whether the interpreter is about to end."""
    return _State.shutting_down


def watch(session: Drainable) -> None:
    """Have a session drained when the interpreter ends.

    Args:
        session: The session.
    """
    _sessions.add(session)


def _drain() -> None:
    _State.shutting_down = True
    sessions = list(_sessions)
    for session in sessions:
        session.finish()
    for session in sessions:
        session.join()


# A forked child has none of the sessions' threads: there is nothing that it could wait for.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_sessions.clear)
# Private, but the only hook that runs early enough; `concurrent.futures` uses it as well. The last
# to register is the first to be called, and draining may need the threads of the loop's executor
# (connections are opened there): so those are registered already, and end after us.
threading._register_atexit(_drain)  # type: ignore[attr-defined]
