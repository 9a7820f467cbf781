"""The supervisor's side of a runner: forked once, kept warm, watched."""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import socket
import sys
import time
from collections import OrderedDict
from contextlib import suppress

from lambdafutures._wire import frames, memory_file, process
from lambdafutures._wire.frames import Frame, FrameReader
from lambdafutures._wire.journal import Journal

# Imported before the fork, though it is used after it: once per sandbox and not once per session.
from lambdafutures._worker import cache, runner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambdafutures._wire.codec import Buffer
    from lambdafutures._wire.payload import SessionHead

# The kernel's out-of-memory killer takes the process with the highest score: the runner, not us.
OOM_SCORE = b"1000"
# Functions that the runner is known to hold. It drops the least recently used, too, but later.
HELD_FUNCTIONS = cache.FUNCTIONS // 2


class RunnerProcess:
    """Fork a runner that serves one session.

    Args:
        session: What to tell it first.
    """

    def __init__(self, session: SessionHead) -> None:
        self.session = session.session
        self.journal = Journal()
        self._crash = memory_file.create()
        self._requests, requests_end = frames.datagram_pair()
        self._answers, theirs = socket.socketpair()
        self._reader = FrameReader()
        self._status: int | None = None
        self._peak_kib = 0
        self._held: OrderedDict[str, None] = OrderedDict()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self._requests.close()
            self._answers.close()
            _become_runner(requests_end, theirs, self.journal.handle, self._crash, parent)
        requests_end.close()
        theirs.close()
        # Done on both sides, so that the group is there whoever comes first.
        with suppress(OSError):
            os.setpgid(self.pid, self.pid)
        self._ended = os.pidfd_open(self.pid)
        _send_all(self._answers, frames.HELLO, b"", session.encode())

    def send(self, head: bytes, parts: Sequence[Buffer]) -> None:
        """Hand over an attempt.

        Args:
            head: The payload's head.
            parts: Its parts.

        Raises:
            OSError: If the runner has ended, or there is no room.
        """
        _send_all(self._requests, frames.CHUNK, head, parts)

    def holds(self, sha256: str) -> bool:
        """Tell whether the runner has a function in its memory; it is then its newest one.

        Args:
            sha256: Hash of the function's blob.
        """
        if sha256 not in self._held:
            return False
        self._held.move_to_end(sha256)
        return True

    def keep(self, sha256: str) -> None:
        """Take note that the runner has loaded a function.

        Args:
            sha256: Hash of the function's blob.
        """
        self._held[sha256] = None
        if len(self._held) > HELD_FUNCTIONS:
            self._held.popitem(last=False)

    @property
    def is_warm(self) -> bool:
        """Whether it has served an attempt."""
        return bool(self._held)

    @property
    def has_message(self) -> bool:
        """Whether it has said something that was not read yet."""
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        try:
            return bool(poll.poll(0)) and bool(self._answers.recv(1, socket.MSG_PEEK))
        except ConnectionError:
            return False

    def wait(self, seconds: float) -> Frame | None:
        """Return the next message, or None if there is none within `seconds` or ever.

        Args:
            seconds: How long to wait at the most.
        """
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        poll.register(self._ended, select.POLLIN)
        until = time.monotonic() + seconds
        while True:
            for frame in self._reader.frames():
                return frame
            left_s = until - time.monotonic()
            ready = {handle for handle, _ in poll.poll(max(0.0, left_s) * 1000)}
            if self._answers.fileno() in ready:
                try:
                    data, handles = frames.receive(self._answers)
                except ConnectionError:
                    return None
                if not data:
                    return None
                self._reader.feed(data, handles)
            elif self._ended in ready or left_s <= 0:
                return None

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        if self._status is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
                self._peak_kib = usage.ru_maxrss
        return self._status is not None

    def wait_ended(self) -> None:
        """Wait for the process to end."""
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        """End the process and those that it started; wait for its end."""
        # Those it started are ended also when it has ended itself.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if not self.has_ended:
            os.kill(self.pid, signal.SIGKILL)
        self.wait_ended()

    @property
    def killed_at_bytes(self) -> int:
        """Peak resident memory, in bytes, if somebody else has killed it with SIGKILL; else 0."""
        return self._peak_kib * 1024 if self._status == -signal.SIGKILL else 0

    def how_it_ended(self) -> str:
        """Say in words how the process ended, and where it was if a signal of its own ended it."""
        return process.how_it_ended(self._status or 0, self._crash)

    def resident_bytes(self) -> int:
        """Return the resident memory now, in bytes; 0 if the process has ended."""
        return process.resident_bytes(self.pid) or 0

    def close(self) -> None:
        """End the process if it has not, and release everything."""
        self.kill()
        self._requests.close()
        self._answers.close()
        self._reader.close()
        os.close(self._ended)
        os.close(self._crash)
        self.journal.close()


def _send_all(sock: socket.socket, kind: int, head: bytes, parts: Sequence[Buffer]) -> None:
    frame = frames.encode(kind, head, parts)
    try:
        while not frames.send(sock, frame):
            pass
    finally:
        frame.close()


def _become_runner(
    requests: socket.socket, answers: socket.socket, journal: int, crash: int, parent: int
) -> None:
    """Serve in this forked process; never returns into the code that forked."""
    status = 1
    try:
        os.setpgid(0, 0)
        _prefer_for_oom_kill()
        runner.main(requests.detach(), answers.detach(), journal, crash, parent)
        status = 0
    except SystemExit:
        status = 0
    except BaseException:  # noqa: BLE001 - reported where Lambda's log shows it
        sys.excepthook(*sys.exc_info())
    finally:
        faulthandler.disable()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _prefer_for_oom_kill() -> None:
    try:
        handle = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(handle, OOM_SCORE)
    finally:
        os.close(handle)
