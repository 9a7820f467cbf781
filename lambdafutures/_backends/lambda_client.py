"""The client that sends Invokes: each once, and patiently."""

from __future__ import annotations

import asyncio
import io
import resource
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ReadTimeoutError

from lambdafutures._backends import hot_requests, s3_errors
from lambdafutures._backends.botocore_models import load_models
from lambdafutures._backends.hot_requests import HotRequests
from lambdafutures._wire import sigv4

CONNECT_TIMEOUT_S = 5.0
# With completion="auto", attempts in flight beyond which outcomes are collected from the store: a
# connection is held for each, and 1,024 open files is the usual limit of a process.
RESPONSE_MAX_IN_FLIGHT = 800
# Files that everything else may need: the store's connections, and the user's own.
OTHER_FILES = 200
# Events are answered within 30 ms or so: more connections than these would only cost handshakes,
# and the client signs no more than some 5,000 requests a second anyway.
EVENTS_AT_ONCE = 128

# The function of the pattern that requests are made by; it is not invoked.
_FUNCTION = "lambdafutures-pattern"


def max_in_response() -> int:
    """Return how many connections may be held at once, for the files this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return RESPONSE_MAX_IN_FLIGHT
    return max(16, min(RESPONSE_MAX_IN_FLIGHT, soft - OTHER_FILES))


class InvokeAnswer(NamedTuple):
    """Hold what an Invoke was answered.

    Args:
        function_error: How the function itself failed; empty if it did not.
        body: What it returned, as JSON.
        date: When AWS answered, by its own clock: the `Date` header; None if there is none.
    """

    function_error: str
    body: bytes
    date: str | None


class LambdaClient:
    """Invoke functions; the first call opens the connection.

    Args:
        region: The functions' region.
        read_timeout_s: How long an answer may take, in seconds.
        connections: How many invocations there are at once.
    """

    def __init__(self, region: str, read_timeout_s: float, connections: int) -> None:
        self._region = region
        self._read_timeout_s = read_timeout_s
        self._config = AioConfig(
            # Another try by the library would be another run of the calls.
            retries={"total_max_attempts": 1},
            max_pool_connections=connections,
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=read_timeout_s,
            tcp_keepalive=True,
            parameter_validation=False,
            user_agent="lambdafutures",
        )
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._hot: HotRequests | None = None
        self._opening = asyncio.Lock()
        self._responses = asyncio.Semaphore(connections)
        self._events = asyncio.Semaphore(min(connections, EVENTS_AT_ONCE))

    async def invoke(self, function: str, payload: bytes, *, is_event: bool) -> InvokeAnswer:
        """Send an Invoke, once.

        Args:
            function: The function's name.
            payload: The JSON to send.
            is_event: Only hand it over; nobody waits for what the function returns.

        Raises:
            Exception: What aiobotocore raises; `lambda_errors` judges it.
            BackendError: If there are no credentials, or the set-up is wrong.
        """
        client = self._client or await self._open()
        if self._hot is not None and len(payload) <= hot_requests.BODY_BYTES:
            # Waiting for a connection happens here, where it uses up nobody's time-out.
            async with self._events if is_event else self._responses:
                return await self._invoke_hot(self._hot, function, payload, is_event=is_event)
        response = await client.invoke(
            FunctionName=function,
            InvocationType=_kind(is_event),
            # A file, so that the event loop is not held up while megabytes are written.
            Payload=io.BytesIO(payload),
        )
        date = response["ResponseMetadata"]["HTTPHeaders"].get("date")
        async with response["Payload"] as stream:
            return InvokeAnswer(response.get("FunctionError", ""), await stream.read(), date)

    async def _invoke_hot(
        self, hot: HotRequests, function: str, payload: bytes, *, is_event: bool
    ) -> InvokeAnswer:
        path = hot.path.replace(_FUNCTION, sigv4.encode(function))
        headers = {"X-Amz-Invocation-Type": _kind(is_event)}
        try:
            async with asyncio.timeout(self._read_timeout_s):
                answer = await hot.send("Invoke", "POST", path, headers, payload)
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=path, error=error) from error
        function_error = answer.headers.get("x-amz-function-error", "")
        return InvokeAnswer(function_error, answer.body, answer.headers.get("date"))

    async def close(self) -> None:
        """Close the connections."""
        if self._hot is not None:
            self._hot.close()
        await self._stack.aclose()

    async def _open(self) -> Any:
        async with self._opening:
            if self._client is None:
                session = AioSession()
                try:
                    await asyncio.to_thread(load_models, session, "lambda")
                    context = session.create_client(
                        "lambda", region_name=self._region, config=self._config
                    )
                    client = await self._stack.enter_async_context(context)
                except (BotoCoreError, ValueError) as error:
                    raise s3_errors.explain_set_up(error) from error
                self._hot = await hot_requests.find(
                    client,
                    session,
                    "Invoke",
                    FunctionName=_FUNCTION,
                    InvocationType=_kind(is_event=True),
                    Payload=b"",
                )
                self._client = client
        return self._client


def _kind(is_event: bool) -> str:
    return "Event" if is_event else "RequestResponse"
