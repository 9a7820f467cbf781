"""The Runtime API: what `awslambdaric` inside an environment talks to.

Each environment has a port of its own, as each sandbox has an endpoint of its own: awslambdaric
puts nothing into a request that would tell one environment from another.
"""

import json
import time
from collections import deque
from dataclasses import dataclass

from .http_server import HttpServer, Reply
from .invocation import Invocation
from .limits import SYNC_RESPONSE_MAX_BYTES
from .messages import Request, Response

_ROOT = "/2018-06-01/runtime/"
_ACCEPTED = {"status": "OK"}


@dataclass(frozen=True, slots=True)
class Signal:
    """What the runtime, or the end of its process, tells the environment.

    Attributes:
        kind: `ready`, `response`, `too-large`, `error`, `init-error` or `exit`.
        body: The response or the error, where there is one.
    """

    kind: str
    body: bytes = b""


class RuntimeApi:
    """The endpoint of one environment.

    Attributes:
        signals: What arrived and was not looked at yet.
        is_waiting: Whether the runtime has asked for the next invocation.
    """

    def __init__(self) -> None:
        self._server = HttpServer(self._handle)
        self._next: Reply | None = None
        self._current: Invocation | None = None
        self.signals: deque[Signal] = deque()
        self.on_signal = _ignore

    @property
    def is_waiting(self) -> bool:
        """Return whether the runtime waits for an invocation."""
        return self._next is not None

    @property
    def address(self) -> str:
        """Return the value of AWS_LAMBDA_RUNTIME_API."""
        return f"127.0.0.1:{self._server.port}"

    async def start(self) -> None:
        """Listen on a free port."""
        await self._server.start()

    def close(self) -> None:
        """Reset the runtime's connection."""
        self._server.close()

    def hand_over(self, invocation: Invocation) -> None:
        """Answer the runtime's request for work.

        Args:
            invocation: The work.
        """
        assert self._next is not None
        reply, self._next = self._next, None
        self._current = invocation
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Invoked-Function-Arn": invocation.function.arn,
            "Lambda-Runtime-Deadline-Ms": str(
                int((time.time() + invocation.function.timeout_s) * 1000)
            ),
            "Lambda-Runtime-Trace-Id": invocation.trace_id,
        }
        if invocation.client_context:
            headers["Lambda-Runtime-Client-Context"] = invocation.client_context
        reply(Response(200, headers, invocation.payload))

    def signal(self, signal: Signal) -> None:
        """Queue a signal and wake the environment.

        Args:
            signal: The signal.
        """
        self.signals.append(signal)
        self.on_signal()

    def _handle(self, request: Request, reply: Reply) -> None:
        path = request.path.removeprefix(_ROOT)
        if request.method == "GET" and path == "invocation/next":
            self._next = reply
            self.signal(Signal("ready"))
            return
        if request.method == "POST" and path == "init/error":
            reply(_json(202, _ACCEPTED))
            self.signal(Signal("init-error", request.body))
            return
        parts = path.split("/")
        if request.method == "POST" and len(parts) == 3 and parts[0] == "invocation":
            self._finish(request, reply, parts[1], parts[2])
            return
        reply(_json(404, {"errorType": "InvalidPath", "errorMessage": request.path}))

    def _finish(self, request: Request, reply: Reply, request_id: str, kind: str) -> None:
        current = self._current
        if current is None or current.request_id != request_id:
            reply(
                _json(400, {"errorType": "InvalidRequestID", "errorMessage": "Invalid request ID"})
            )
            return
        self._current = None
        if kind == "error":
            reply(_json(202, _ACCEPTED))
            self.signal(Signal("error", request.body))
        elif len(request.body) > SYNC_RESPONSE_MAX_BYTES:
            message = f"Exceeded maximum allowed payload size ({SYNC_RESPONSE_MAX_BYTES} bytes)."
            reply(_json(413, {"errorMessage": message, "errorType": "RequestEntityTooLarge"}))
            self.signal(Signal("too-large"))
        else:
            reply(_json(202, _ACCEPTED))
            self.signal(Signal("response", request.body))


def _json(status: int, value: dict[str, str]) -> Response:
    return Response(status, {"Content-Type": "application/json"}, json.dumps(value).encode())


def _ignore() -> None:
    """Stand in until an environment listens."""
