"""Lambda: from a request to its operation, and Invoke in its three types."""

import base64
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any, Protocol
from urllib.parse import unquote

from .event_queue import Event, EventQueue, EventSettings
from .faults import Effects
from .invocation import Invocation, Outcome
from .lambda_control import LambdaCall, LambdaControl
from .limits import EVENT_REQUEST_MAX_BYTES, SYNC_REQUEST_MAX_BYTES
from .messages import AwsError, Request, Response
from .pool import Pool
from .recursion import next_trace

_UNSUPPORTED = "Unsupported"
_FUNCTION_PATH = re.compile(r"/\d{4}-\d\d-\d\d/functions/([^/]+)(?:/([a-z-]+))?/?")
_FUNCTION_OPERATIONS = {
    ("POST", "invocations"): "Invoke",
    ("GET", None): "GetFunction",
    ("DELETE", None): "DeleteFunction",
    ("GET", "configuration"): "GetFunctionConfiguration",
    ("PUT", "configuration"): "UpdateFunctionConfiguration",
    ("PUT", "code"): "UpdateFunctionCode",
    ("PUT", "concurrency"): "PutFunctionConcurrency",
    ("GET", "concurrency"): "GetFunctionConcurrency",
    ("DELETE", "concurrency"): "DeleteFunctionConcurrency",
    ("PUT", "event-invoke-config"): "PutFunctionEventInvokeConfig",
    ("GET", "event-invoke-config"): "GetFunctionEventInvokeConfig",
}


def identify(request: Request) -> tuple[str, str]:
    """Return a request's operation and the function it names, decoded.

    Args:
        request: The request.
    """
    found = _FUNCTION_PATH.fullmatch(request.raw_path)
    if found is not None:
        operation = _FUNCTION_OPERATIONS.get((request.method, found[2]), _UNSUPPORTED)
        return operation, unquote(found[1])
    path = request.path.rstrip("/")
    if path.endswith("/functions"):
        return {"GET": "ListFunctions", "POST": "CreateFunction"}.get(
            request.method, _UNSUPPORTED
        ), ""
    if path.endswith("/account-settings") and request.method == "GET":
        return "GetAccountSettings", ""
    return _UNSUPPORTED, ""


class Spawn(Protocol):
    """Starts a task that `wait_quiet` waits for."""

    def __call__(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the work."""


class LambdaService:
    """The functions, the environments they run in, and the queue of their Events.

    Attributes:
        control: The functions and what changes them.
        pool: The environments.
        queue: The Events.
    """

    def __init__(
        self,
        control: LambdaControl,
        pool: Pool,
        spawn: Spawn,
        time_scale: Callable[[], float],
    ) -> None:
        self.control = control
        self.pool = pool
        self.queue = EventQueue(EventSettings(), self._run_event, time_scale)
        self._spawn = spawn

    async def execute(self, call: LambdaCall, effects: Effects | None, request_id: str) -> Response:
        """Answer a request.

        Args:
            call: The request.
            effects: What a script does to it.
            request_id: Its id.

        Raises:
            AwsError: Whatever Lambda refuses.
        """
        if call.operation == _UNSUPPORTED:
            raise AwsError(
                404, "UnknownOperationException", f"{call.request.method} {call.request.target}"
            )
        if call.operation != "Invoke":
            return self.control.execute(call)
        function = self.control.find(call, "lambda:InvokeFunction")
        kind = call.request.header("x-amz-invocation-type", "RequestResponse")
        payload = _payload(call.request, kind)
        if kind == "DryRun":
            return Response(204)
        invocation = Invocation(
            request_id,
            function,
            payload,
            trace_id=next_trace(call.request.header("x-amzn-trace-id"), function, request_id),
        )
        if effects is not None:
            invocation.kill_after_s = effects.kill_after_s
            invocation.kills_children = effects.kills_children
        if kind == "Event":
            self._accept(invocation, effects)
            return Response(202)
        return await self._respond(call.request, invocation)

    async def _respond(self, request: Request, invocation: Invocation) -> Response:
        wants_log = request.header("x-amz-log-type") == "Tail"
        context = request.header("x-amz-client-context")
        if context:
            invocation.client_context = _decode_context(context)
        outcome = await self._run(invocation, is_sync=True, wants_memory=wants_log)
        headers = {"Content-Type": "application/json", "X-Amz-Executed-Version": "$LATEST"}
        if outcome.error:
            headers["X-Amz-Function-Error"] = outcome.error
        if wants_log:
            headers["X-Amz-Log-Result"] = outcome.log_tail(invocation)
        return Response(200, headers, outcome.body)

    async def _run(self, invocation: Invocation, is_sync: bool, wants_memory: bool) -> Outcome:
        release = self.pool.scaling.acquire(invocation.function, self.control.functions, is_sync)
        try:
            return await self.pool.run(invocation, wants_memory)
        finally:
            release()

    # -- Events ------------------------------------------------------------------------------

    def _accept(self, invocation: Invocation, effects: Effects | None) -> None:
        event = Event(invocation)
        self.queue.events.append(event)
        if effects is not None and effects.loses_event:
            event.status = "lost"
        else:
            delay_s = effects.event_delay_s if effects is not None else 0.0
            self._spawn(self.queue.deliver(event, delay_s))
        if effects is not None and effects.duplicate_after_s is not None:
            again = Invocation(
                invocation.request_id,
                invocation.function,
                invocation.payload,
                trace_id=invocation.trace_id,
            )
            duplicate = Event(again, is_duplicate=True)
            self.queue.events.append(duplicate)
            self._spawn(self.queue.deliver(duplicate, effects.duplicate_after_s))

    async def _run_event(self, invocation: Invocation) -> Outcome:
        function = invocation.function
        if self.control.functions.get((function.region, function.name)) is not function:
            raise AwsError(404, "ResourceNotFoundException", f"Function not found: {function.arn}")
        return await self._run(invocation, is_sync=False, wants_memory=False)


def _payload(request: Request, kind: str) -> bytes:
    """Return the event, checked for its size and for being JSON."""
    limit = {
        "RequestResponse": SYNC_REQUEST_MAX_BYTES,
        "DryRun": SYNC_REQUEST_MAX_BYTES,
        "Event": EVENT_REQUEST_MAX_BYTES,
    }.get(kind)
    if limit is None:
        raise AwsError(400, "InvalidParameterValueException", f"Unknown invocation type {kind}")
    body = request.body
    if len(body) > limit:
        raise AwsError(
            413,
            "RequestEntityTooLargeException",
            f"{len(body)} byte payload is too large for the {kind} invocation type "
            f"(limit {limit} bytes)",
        )
    if not body:
        return b"{}"
    try:
        json.loads(body)
    except ValueError as exc:
        raise AwsError(
            400,
            "InvalidRequestContentException",
            f"Could not parse request body into json: {exc}",
        ) from None
    return body


def _decode_context(text: str) -> str:
    try:
        context = base64.b64decode(text, validate=True).decode()
        json.loads(context)
    except ValueError:
        raise AwsError(
            400,
            "InvalidRequestContentException",
            "Client context must be valid Base64-encoded JSON",
        ) from None
    return context
