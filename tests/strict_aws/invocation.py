"""One invocation and what became of it, with the log lines that Lambda writes around it."""

import base64
import json
import math
from dataclasses import dataclass, field

from .lambda_model import Function
from .limits import LOG_TAIL_BYTES

UNHANDLED = "Unhandled"
"""`X-Amz-Function-Error` of every error of a Python function."""


@dataclass(slots=True)
class Invocation:
    """One run of a function.

    Attributes:
        request_id: Its request id; re-runs of an Event keep it.
        function: The function.
        payload: The event, as JSON.
        client_context: The client context, as the request gave it.
        trace_id: The X-Ray trace header.
        kill_after_s: When a script kills the runtime, counted from the hand-over; None for never.
        kills_children: Whether it kills the runtime's children instead.
    """

    request_id: str
    function: Function
    payload: bytes
    client_context: str = ""
    trace_id: str = ""
    kill_after_s: float | None = None
    kills_children: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of an invocation.

    Attributes:
        body: The handler's response, or the error as JSON.
        error: The FunctionError: empty, or `Unhandled`.
        status: What the REPORT line says of a failure, such as `timeout`.
        log: What the function wrote.
        duration_s: How long the handler ran.
        init_s: How long INIT took, if this invocation began with it.
        memory_mb: The most memory seen, 0 where it was not looked at.
    """

    body: bytes
    error: str = ""
    status: str = ""
    log: bytes = b""
    duration_s: float = 0.0
    init_s: float | None = None
    memory_mb: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def full_log(self, invocation: Invocation) -> bytes:
        """Return the log with Lambda's START, END and REPORT lines.

        Args:
            invocation: The invocation.
        """
        request_id = invocation.request_id
        billed_s = self.duration_s + (self.init_s or 0.0)
        report = (
            f"REPORT RequestId: {request_id}\tDuration: {self.duration_s * 1000:.2f} ms\t"
            f"Billed Duration: {math.ceil(billed_s * 1000)} ms\t"
            f"Memory Size: {invocation.function.memory_mb} MB\tMax Memory Used: {self.memory_mb} MB"
        )
        if self.init_s is not None:
            report += f"\tInit Duration: {self.init_s * 1000:.2f} ms"
        if self.status:
            report += f"\t{self.status}"
        start = f"START RequestId: {request_id} Version: $LATEST\n".encode()
        end = f"END RequestId: {request_id}\n{report}\t\n".encode()
        gap = b"" if not self.log or self.log.endswith(b"\n") else b"\n"
        return b"".join((start, self.log, gap, end))

    def log_tail(self, invocation: Invocation) -> str:
        """Return the last 4 KB of the log in base64, as `LogType=Tail` answers it.

        Args:
            invocation: The invocation.
        """
        return base64.b64encode(self.full_log(invocation)[-LOG_TAIL_BYTES:]).decode()


def platform_error(kind: str, message: str, status: str) -> Outcome:
    """Return the outcome of a fault that the platform reports, not the function.

    Args:
        kind: The errorType.
        message: The errorMessage.
        status: What the REPORT line adds.
    """
    body = json.dumps({"errorType": kind, "errorMessage": message}).encode()
    return Outcome(body, UNHANDLED, status)
