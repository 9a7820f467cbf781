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

from lambdafutures._wire import codec, frames, remote_error
from lambdafutures._wire.frames import Encoded, Frame
from lambdafutures._wire.journal import Journal
from lambdafutures._wire.outcome import DIED, Fault
from lambdafutures._wire.payload import Payload, SessionHead
from lambdafutures._worker import guard, import_path
from lambdafutures._worker.capture import Capture
from lambdafutures._worker.execute import Execution

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdafutures._wire.outcome import Outcome

DEPTH_VARIABLE = "LAMBDAFUTURES_DEPTH"


def main(
    requests_handle: int, answers_handle: int, journal_handle: int, crash_handle: int, parent: int
) -> None:
    """Serve until told to leave or until the other side has gone.

    Args:
        requests_handle: Descriptor of the Unix datagram socket that the supervisor writes to.
        answers_handle: Descriptor of the Unix stream socket that it reads; it says hello there.
        journal_handle: Descriptor of the journal's memory file.
        crash_handle: Descriptor of the memory file for the stack of a fatal signal.
        parent: Process id of the supervisor.
    """
    guard.end_with(parent)
    faulthandler.enable(crash_handle)
    with (
        socket.socket(fileno=requests_handle) as requests,
        socket.socket(fileno=answers_handle) as answers,
    ):
        # Where the client set a default time-out, its sockets do not block, and these share that.
        requests.setblocking(True)
        answers.setblocking(True)
        _serve(requests, answers, journal_handle)


def _serve(requests: socket.socket, answers: socket.socket, journal_handle: int) -> None:
    hello = _hello(answers)
    if hello is None:
        return
    session = SessionHead.decode(hello.parts)
    capture = Capture()
    try:
        _prepare(session, capture)
    except BaseException as error:  # noqa: BLE001 - the initializer is user code
        described = json.dumps(remote_error.describe(error)).encode()
        _send(answers, frames.encode(frames.FAILED, described))
        return
    journal = Journal(journal_handle)
    execution = Execution(journal, capture, session.serializer, is_apart=session.is_apart)
    journal.end()
    here = os.getpid()
    while (payload := _next(requests)) is not None:
        outcome = execution.run(payload)
        del payload
        if os.getpid() != here:
            os._exit(0)  # a child that the call forked, and that came back out of it as well
        _answer(answers, outcome)
        del outcome  # an idle worker keeps neither the last arguments nor the last result
        journal.end()


def _prepare(session: SessionHead, capture: Capture) -> None:
    if session.sys_path is not None:
        sys.path[:] = session.sys_path
    import_path.lead_with(session.folders)
    os.environ.update(session.environment)
    os.environ[DEPTH_VARIABLE] = str(session.depth)
    capture.install(session.log_level)
    if session.initializer is not None:
        initializer, arguments = codec.loads(session.initializer.parts)
        initializer(*arguments)
        capture.take()


def _hello(stream: socket.socket) -> Frame | None:
    reader = frames.FrameReader()
    while True:
        data, handles = frames.receive(stream)
        if not data:
            return None
        reader.feed(data, handles)
        for frame in reader.frames():
            return frame


def _next(requests: socket.socket) -> Payload | None:
    """Return the next attempt; None to leave."""
    data, handles = frames.receive(requests)
    if not data:
        return None
    frame = frames.parse(data, handles)
    if frame.kind == frames.LEAVE:
        return None
    return Payload.decode(frame.head, frame.parts)


def _answer(answers: socket.socket, outcome: Outcome) -> None:
    try:
        frame = frames.encode(frames.OUTCOME, *outcome.encode())
    except OSError as error:  # no room for a memory file
        outcome.entries = ()
        outcome.run_s = array("f")
        outcome.fault = Fault(DIED, f"has results that could not be sent home: {error}")
        frame = frames.encode(frames.OUTCOME, *outcome.encode())
    _send(answers, frame)


def _send(answers: socket.socket, frame: Encoded) -> None:
    while not frames.send(answers, frame):
        pass
