"""A worker never outlives its client, not even one that was killed."""

from __future__ import annotations

import _thread
import contextlib
import os
import select
import signal


def end_with(parent: int) -> None:
    """End this process, and those it started, as soon as `parent` has ended.

    A thread blocks on the kernel's own notice (a pidfd, or kqueue's on macOS), so nothing polls.

    Args:
        parent: Process id of the client.
    """
    _thread.start_new_thread(_wait_then_end, (parent,))


def _wait_then_end(parent: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        _wait_for_exit_of(parent)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _wait_for_exit_of(parent: int) -> None:
    if hasattr(os, "pidfd_open"):
        poll = select.poll()
        poll.register(os.pidfd_open(parent), select.POLLIN)

        def wait() -> object:
            return poll.poll()

    else:
        queue = select.kqueue()  # type: ignore[attr-defined, unused-ignore]
        event = select.kevent(  # type: ignore[attr-defined, unused-ignore]
            parent,
            filter=select.KQ_FILTER_PROC,  # type: ignore[attr-defined, unused-ignore]
            flags=select.KQ_EV_ADD,  # type: ignore[attr-defined, unused-ignore]
            fflags=select.KQ_NOTE_EXIT,  # type: ignore[attr-defined, unused-ignore]
        )

        def wait() -> object:
            return queue.control([event], 1)

    # Checked after registering: a parent that ended before has handed us to another already.
    if os.getppid() == parent:
        wait()
