"""One local worker: a fresh interpreter, sockets to it, and its end noticed at once."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from lambdafutures._backends import interpreter
from lambdafutures._wire import frames, memory_file, process
from lambdafutures._wire.frames import Encoded, Frame, FrameReader
from lambdafutures._wire.journal import Journal
from lambdafutures._wire.payload import Payload, SessionHead
from lambdafutures.exceptions import WireError

if TYPE_CHECKING:
    import asyncio

    from lambdafutures._wire.codec import Buffer

# Functions that the worker is known to have; fewer than it keeps, so that a miss is rare.
KNOWN_FUNCTIONS = 256
# Writing more than this would hold up the loop for about a millisecond; a thread does it.
WRITE_ON_LOOP_BYTES = 1024 * 1024
# Where the end of a process cannot be watched (macOS), look this often once its socket closed.
EXIT_POLL_S = 0.01
# How long a worker that has closed its socket may take to end by itself: it then has a status to
# tell, where one that is killed has not.
END_S = 0.5


class WorkerOwner(Protocol):
    """What a worker reports to."""

    def on_frame(self, worker: WorkerProcess, frame: Frame) -> None:
        """Take a message of the worker's."""

    def on_damaged(self, worker: WorkerProcess, error: WireError) -> None:
        """Take note that the worker's answers cannot be read any more."""

    def on_exit(self, worker: WorkerProcess, untaken: list[Payload]) -> None:
        """Take note that the worker has ended; all its messages have been handed over.

        Args:
            worker: The worker; its queue holds what it had begun and not answered.
            untaken: What it had not begun.
        """


NotSent: TypeAlias = "Callable[[WorkerProcess, Payload, BaseException], None]"


class WorkerProcess:
    """Start an interpreter that serves one session, and talk to it.

    Args:
        session: What to tell it first.

    Raises:
        OSError: If no process can be started.
    """

    def __init__(self, session: SessionHead) -> None:
        self.queue: list[Payload] = []
        """What it was given and has not answered: one that runs, and what waits in its socket."""
        self.chunks_sent = 0
        self.is_retired = False
        self._known: OrderedDict[str, None] = OrderedDict()
        self._outgoing: deque[tuple[Payload | None, Encoded, NotSent | None]] = deque()
        self._reader = FrameReader()
        self._encoding: set[Payload] = set()
        self._exited = False
        self._pidfd: int | None = None
        self.journal = Journal()
        self._crash = memory_file.create()
        self._requests, self._requests_end = frames.datagram_pair()
        self._answers, theirs = frames.stream_pair()
        try:
            self._process = interpreter.start_runner(
                list(session.sys_path or sys.path),
                self._requests_end.fileno(),
                theirs.fileno(),
                self.journal.handle,
                self._crash,
                is_bare=session.is_bare,
            )
            frame = frames.encode(frames.HELLO, b"", session.encode())
            # On the stream, so that nobody can take it back; nor does a slow initializer then
            # hold up what waits for this worker.
            while not frames.send(self._answers, frame):
                pass
        except BaseException:
            self._close_sockets()
            self.dispose()
            raise
        finally:
            theirs.close()
        self._requests.setblocking(False)
        self._answers.setblocking(False)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def open(self, loop: asyncio.AbstractEventLoop, owner: WorkerOwner) -> None:
        """Begin to report.

        Args:
            loop: Where to.
            owner: To whom.
        """
        self._loop = loop
        self._owner = owner
        loop.add_reader(self._answers, self._on_readable)
        if hasattr(os, "pidfd_open"):
            self._pidfd = os.pidfd_open(self.pid)
            loop.add_reader(self._pidfd, self._on_end)

    # ---------------------------------------------------------------- towards the worker

    def send(self, payload: Payload, on_error: NotSent) -> None:
        """Hand over a payload.

        Args:
            payload: What to run.
            on_error: Called if it cannot be handed over for want of room.
        """
        self.queue.append(payload)
        self.chunks_sent += 1
        with_function = payload.function not in self._known
        parts: list[Buffer] = list(payload.arguments)
        if with_function:
            parts[:0] = payload.function_parts
        head = payload.encode_head(with_function=with_function)
        if payload.nbytes > WRITE_ON_LOOP_BYTES:
            self._send_from_thread(payload, head, parts, on_error)
            return
        try:
            frame = frames.encode(frames.CHUNK, head, parts)
        except OSError as error:
            self._not_sent(payload, error, on_error)
        else:
            self._push(payload, frame, on_error)

    def _send_from_thread(
        self, payload: Payload, head: bytes, parts: Sequence[Buffer], on_error: NotSent
    ) -> None:
        self._encoding.add(payload)
        encoding = self._loop.run_in_executor(None, frames.encode, frames.CHUNK, head, parts)

        def encoded(done: asyncio.Future[Encoded]) -> None:
            self._encoding.discard(payload)
            error = done.exception()
            if error is not None:
                self._not_sent(payload, error, on_error)
            elif self._exited:
                done.result().close()
            else:
                self._push(payload, done.result(), on_error)

        encoding.add_done_callback(encoded)

    def _not_sent(self, payload: Payload, error: BaseException, on_error: NotSent) -> None:
        if payload in self.queue:
            on_error(self, payload, error)

    def learn(self, function: str) -> None:
        """Take note that the worker has a function: it has answered a payload that names it.

        Until then the function goes with every payload, since any of them may be taken back.

        Args:
            function: Its SHA-256.
        """
        if function not in self._known:
            self._known[function] = None
            if len(self._known) > KNOWN_FUNCTIONS:
                self._known.popitem(last=False)

    def forget(self, function: str) -> None:
        """Take note that the worker does not have a function any more.

        Args:
            function: Its SHA-256.
        """
        self._known.pop(function, None)

    def take_back(self) -> Payload | None:
        """Return a payload that the worker has not begun, and never will; None if there is none."""
        waiting = self._outgoing[-1][0] if self._outgoing else None
        if waiting is not None:
            self._outgoing.pop()[1].close()
            self._give_up(waiting)
            return waiting
        try:
            # The worker shares this end, and blocks on it: only this one read must not.
            data, handles = frames.receive(self._requests_end, socket.MSG_DONTWAIT)
        except OSError:
            return None
        frame = frames.parse(data, handles)
        if frame.kind != frames.CHUNK:
            return None
        sent = Payload.decode(frame.head, frame.parts)
        payload = self.find(sent.chunk, sent.attempt)
        if payload is not None:
            self._give_up(payload)
        return payload

    def _give_up(self, payload: Payload) -> None:
        self.queue.remove(payload)
        self.chunks_sent -= 1

    def take_back_all(self) -> list[Payload]:
        """Return all payloads that an ended worker had not begun."""
        untaken = [payload for payload, _, _ in self._outgoing if payload is not None]
        untaken += self._encoding
        for payload in untaken:
            self.queue.remove(payload)
        for _, frame, _ in self._outgoing:
            frame.close()
        self._outgoing.clear()
        while (taken_back := self.take_back()) is not None:
            untaken.append(taken_back)
        return untaken

    def find(self, chunk: int, attempt: int) -> Payload | None:
        """Return the payload of an attempt that the worker has not answered, or None.

        Args:
            chunk: Number of its chunk.
            attempt: Its number.
        """
        for payload in self.queue:
            if payload.chunk == chunk and payload.attempt == attempt:
                return payload
        return None

    def retire(self) -> None:
        """Tell the worker to leave once it has done what it has."""
        self.is_retired = True
        self._push(None, frames.encode(frames.LEAVE, b""))

    def kill(self) -> None:
        """End the worker and the processes that it started, at once."""
        if self._process.returncode is None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):  # macOS: EPERM for one that is ending
                self._process.kill()

    def _push(
        self, payload: Payload | None, frame: Encoded, on_error: NotSent | None = None
    ) -> None:
        self._outgoing.append((payload, frame, on_error))
        if len(self._outgoing) == 1:
            # After all that has arrived was dealt with: each write lets another thread run, and
            # the one that waits for results should find many, not one at a time.
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        while self._outgoing:
            payload, frame, on_error = self._outgoing[0]
            try:
                frames.send(self._requests, frame)
            except BlockingIOError:
                self._loop.add_writer(self._requests, self._on_writable)
                return
            except ConnectionError:
                frame.close()  # it has ended, which its owner is about to be told
            except OSError as error:
                frame.close()
                self._outgoing.popleft()
                if payload is not None and on_error is not None:
                    self._not_sent(payload, error, on_error)
                continue
            self._outgoing.popleft()

    def _on_writable(self) -> None:
        self._loop.remove_writer(self._requests)
        self._flush()

    # ---------------------------------------------------------------- from the worker

    def _on_readable(self) -> None:
        if self._receive():
            return
        self._loop.remove_reader(self._answers)
        if not self.is_retired:
            # Without its socket it is of no use, should it live on.
            self._loop.call_later(END_S, self.kill)
        if self._pidfd is None:
            self._on_end()

    def _receive(self) -> bool:
        """Hand over what has arrived; return False at the end of the stream."""
        try:
            data, handles = frames.receive(self._answers)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return self._hand_over(data, handles) and bool(data)

    def _hand_over(self, data: bytes, handles: Sequence[int]) -> bool:
        """Hand over complete messages; return False if the stream is damaged."""
        self._reader.feed(data, handles)
        try:
            for frame in self._reader.frames():
                self._owner.on_frame(self, frame)
        except WireError as error:
            self._owner.on_damaged(self, error)
            return False
        return True

    def _on_end(self) -> None:
        if self._exited:
            return
        if self._process.poll() is None:
            self._loop.call_later(EXIT_POLL_S, self._on_end)
            return
        self._exited = True
        self._hand_over_rest()
        self._loop.remove_reader(self._answers)
        self._loop.remove_writer(self._requests)
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        untaken = self.take_back_all()
        self._reader.close()
        self._close_sockets()
        self._owner.on_exit(self, untaken)

    def _hand_over_rest(self) -> None:
        """Read what the worker wrote before it ended; a child of it may hold the socket open."""
        while True:
            try:
                data, handles = frames.receive(self._answers)
            except OSError:
                return
            if not data or not self._hand_over(data, handles):
                return

    def _close_sockets(self) -> None:
        self._requests.close()
        self._requests_end.close()
        self._answers.close()

    def how_it_ended(self) -> str:
        """Say in words how the process ended, and where it was if a signal of its own ended it."""
        status = self._process.returncode
        if status is None:
            return "is still alive"
        return process.how_it_ended(status, self._crash)

    def discard(self) -> None:
        """End a worker that was never opened, and release everything."""
        self.kill()
        self._process.wait()
        self._close_sockets()
        self.dispose()

    def dispose(self) -> None:
        """Release what was kept to tell of the end."""
        self.journal.close()
        os.close(self._crash)

    def resident_bytes(self) -> int | None:
        """Return the resident memory now, in bytes, or None where the system does not tell."""
        return process.resident_bytes(self.pid)
