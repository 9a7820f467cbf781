"""The process in which user code runs: frames in, calls, frames out.

On Lambda the supervisor is on the other side of the socket; locally it is the client itself. The
runner imports the standard library only; what the user's code needs is imported by unpickling it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import socket
import sys
from array import array

from lambdafutures._wire import codec, frames, memory_file, remote_error
from lambdafutures._wire.frames import Frame, FrameReader
from lambdafutures._wire.journal import Journal
from lambdafutures._wire.outcome import DIED, Fault
from lambdafutures._wire.payload import Payload, SessionHead
from lambdafutures._worker import guard
from lambdafutures._worker.capture import Capture
from lambdafutures._worker.execute import Execution

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdafutures._wire.codec import Buffer
    from lambdafutures._wire.outcome import Outcome

DEPTH_VARIABLE = "LAMBDAFUTURES_DEPTH"


def main(socket_handle: int, journal_handle: int, crash_handle: int, parent: int) -> None:
    """Serve until told to leave or until the other side has gone.

    Args:
        socket_handle: Descriptor of a Unix stream socket to the supervisor.
        journal_handle: Descriptor of the journal's memory file.
        crash_handle: Descriptor of the memory file for the stack of a fatal signal.
        parent: Process id of the supervisor.
    """
    guard.end_with(parent)
    faulthandler.enable(crash_handle)
    connection = socket.socket(fileno=socket_handle)
    frames_in = _frames(connection)
    hello = next(frames_in, None)
    if hello is None:
        return
    session = SessionHead.decode(hello.head, hello.parts)
    capture = Capture()
    try:
        _prepare(session, capture)
    except BaseException as error:  # noqa: BLE001 - the initializer is user code
        described = json.dumps(remote_error.describe(error)).encode()
        _send(connection, frames.FAILED, described, remote_error.pack(error, session.serializer))
        return
    execution = Execution(Journal(journal_handle), capture, session.serializer)
    for frame in frames_in:
        if frame.kind == frames.LEAVE:
            return
        _answer(connection, execution.run(Payload.decode(frame.head, frame.parts)))


def _prepare(session: SessionHead, capture: Capture) -> None:
    if session.sys_path is not None:
        sys.path[:] = session.sys_path
    os.environ.update(session.environment)
    os.environ[DEPTH_VARIABLE] = str(session.depth)
    capture.install(session.log_level)
    if session.initializer is not None:
        initializer, arguments = codec.loads(session.initializer.parts)
        initializer(*arguments)
        capture.take()


def _frames(connection: socket.socket) -> Iterator[Frame]:
    reader = FrameReader()
    while True:
        data, handles = frames.receive(connection)
        if not data:
            return
        reader.feed(data, handles)
        yield from reader.frames()


def _answer(connection: socket.socket, outcome: Outcome) -> None:
    try:
        _send(connection, frames.OUTCOME, *outcome.encode())
    except BrokenPipeError:
        raise
    except OSError as error:  # no room for a memory file: nothing of the outcome was sent yet
        outcome.entries = ()
        outcome.run_s = array("f")
        outcome.fault = Fault(DIED, f"its results could not be sent home: {error}")
        _send(connection, frames.OUTCOME, *outcome.encode())


def _send(connection: socket.socket, kind: int, head: bytes, parts: list[Buffer]) -> None:
    handle = memory_file.write_parts(parts) if frames.is_large(parts) else None
    try:
        pieces = frames.encode(kind, head, parts, in_file=handle is not None)
        rest = frames.send(connection, pieces, handle)
    finally:
        if handle is not None:
            os.close(handle)
    while rest:
        rest = frames.send(connection, rest)
