"""Requests to S3 over aiobotocore, each with a time-out, repeated while there is patience.

aiobotocore brings credentials, endpoints and signing. Its own retries are off: they neither see a
body that was cut nor have a deadline, and only requests that are sent here can be counted. Small
objects go the short way of `hot_requests`.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import botocore.exceptions as boto
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore import handlers, xform_name
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from lambdafutures._backends import s3_errors, s3_hot, s3_listing
from lambdafutures._backends.botocore_models import load_models
from lambdafutures._backends.s3_patience import PATIENCE_S, Patience
from lambdafutures._wire import s3_limits

# A client spends about 1 ms of CPU per request, so 64 connections keep it busy at the 25-60 ms that
# a request takes, and are far from the usual limit of 1,024 open files.
CONNECTIONS = 64
# One try of one request: far above any answer of S3, far below anybody's patience. On top of it
# comes the time for the body at the slowest rate worth waiting for (1 Mbit/s).
TRY_TIMEOUT_S = 20.0
SLOWEST_BYTES_PER_S = 125_000
# A dropped SYN is sent again after 1 s and 3 s: this allows for two of them.
CONNECT_TIMEOUT_S = 5.0

# Statuses that say something about the object, so that the caller decides: not found, conflict,
# precondition failed, range beyond the end.
UNDERSTOOD = frozenset({404, 409, 412, 416})

_PASSING = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    ResponseParserError,
    aiohttp.ClientError,
    OSError,  # TimeoutError is one
    s3_listing.BrokenPage,
)


class S3Requests:
    """Send requests to one bucket.

    Args:
        bucket: The bucket.
        region: Its region; by default `$AWS_REGION`, else what botocore finds.
        endpoint_url: Another server than AWS's, reached by paths.
        session: Where credentials come from; the standard chain by default.
        connections: Requests under way at once.
        patience_s: How long one request is repeated, in seconds.
        try_timeout_s: How long one try may take besides its body, in seconds.
        clock: Monotonic clock, in seconds.
        sleep: Wait for seconds.
        chance: Return a random number from 0 to 1.
    """

    def __init__(
        self,
        bucket: str,
        region: str | None = None,
        endpoint_url: str | None = None,
        session: AioSession | None = None,
        *,
        connections: int = CONNECTIONS,
        patience_s: float = PATIENCE_S,
        try_timeout_s: float = TRY_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.bucket = bucket
        self.counts: Counter[str] = Counter()
        """Requests sent so far, by operation."""
        # botocore reads AWS_DEFAULT_REGION only; Lambda, and AWS's other SDKs, set AWS_REGION.
        self._region = region or os.environ.get("AWS_REGION") or None
        self._endpoint_url = endpoint_url
        self._session = session
        self._connections = connections
        self._patience_s = patience_s
        self._try_timeout_s = try_timeout_s
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._hot: s3_hot.HotS3 | None = None
        self._opening = asyncio.Lock()
        # Waiting for a connection happens here and not in aiohttp, where it would use up the
        # request's own time-out.
        self._slots = asyncio.Semaphore(connections)

    async def close(self) -> None:
        """Close the connections."""
        self._client = None
        if self._hot is not None:
            self._hot.close()
        await self._stack.aclose()

    async def call(
        self, operation: str, key: str, *, nbytes: int = 0, **parameters: Any
    ) -> dict[str, Any]:
        """Send a request, again after each passing fault, and return the parsed answer.

        Args:
            operation: Name of S3's operation.
            key: The object's key or the prefix, for errors.
            nbytes: Length of the body either way, for the time-out.
            parameters: Parameters of the operation besides the bucket.

        Raises:
            ClientError: If S3 answers with one of `UNDERSTOOD`.
            BackendError: If S3 refuses it otherwise, or patience has ended.
        """
        client = self._client or await self._open()
        timeout_s = self._try_timeout_s + nbytes / SLOWEST_BYTES_PER_S
        patience = self.patience(operation, key)
        while True:
            try:
                async with self._slots:
                    patience.begin()
                    self.counts[operation] += 1
                    async with asyncio.timeout(timeout_s):
                        return await self._send(client, operation, parameters)
            except ClientError as error:
                self._judge(error, operation, key)
                fault: Exception = error
            except _PASSING as error:
                if s3_errors.is_untrusted(error):
                    raise s3_errors.explain_set_up(error) from error
                fault = error
            except BotoCoreError as error:
                raise s3_errors.explain_set_up(error) from error
            await patience.wait(fault)

    async def _send(
        self, client: Any, operation: str, parameters: dict[str, Any]
    ) -> dict[str, Any]:
        """Send a request, once; return the parsed answer with its body."""
        if self._hot is not None and self._hot.can_send(operation, parameters):
            return await self._hot.send(operation, parameters)
        send = getattr(client, xform_name(operation))
        return await _whole(await send(Bucket=self.bucket, **parameters))

    def patience(self, operation: str, key: str) -> Patience:
        """Return new patience with an operation.

        Args:
            operation: Name of S3's operation.
            key: The object's key or the prefix, for errors.
        """
        what = f"{operation} of s3://{self.bucket}/{key}"
        return Patience(what, self._patience_s, self._clock, self._sleep, self._chance)

    def refusal(self, error: ClientError, operation: str, key: str) -> Exception:
        """Return what to raise for a request that S3 refuses.

        Args:
            error: What the client raised.
            operation: Name of S3's operation.
            key: The object's key or the prefix.
        """
        region = self._region or "the default region"
        if self._client is not None:
            region = self._client.meta.region_name
        return s3_errors.explain_refusal(error, operation, self.bucket, key, region)

    def _judge(self, error: ClientError, operation: str, key: str) -> None:
        """Raise unless the request may succeed later."""
        status = int(error.response["ResponseMetadata"]["HTTPStatusCode"])
        code = s3_errors.code_of(error)
        # AWS: after a 409 at its end an upload must begin anew; anything else is just repeated.
        is_upload_lost = operation == "CompleteMultipartUpload" and status in UNDERSTOOD
        # A 200 may hold the error of a 500: S3 begins to answer some POSTs before they are done.
        if not is_upload_lost and (status < 300 or s3_limits.is_passing(status, code)):
            return
        if status in UNDERSTOOD and code != "NoSuchBucket":
            raise error
        raise self.refusal(error, operation, key) from error

    async def _open(self) -> Any:
        async with self._opening:
            if self._client is None:
                session = self._session or AioSession()
                try:
                    await asyncio.to_thread(load_models, session, "s3")
                    context = session.create_client("s3", **self._client_arguments())
                    client = await self._stack.enter_async_context(context)
                except (BotoCoreError, ValueError) as error:  # ValueError: a malformed endpoint
                    raise s3_errors.explain_set_up(error) from error
                events = client.meta.events
                # "Expect: 100-continue" costs each PUT a round trip, and hides it from time-outs.
                events.unregister("before-call.s3", handlers.add_expect_header)
                events.register("before-call.s3", _stay_in_region)
                events.register(s3_listing.EVENT, s3_listing.take_objects)
                self._hot = await s3_hot.find(client, session, self.bucket)
                self._client = client
        return self._client

    def _client_arguments(self) -> dict[str, Any]:
        endpoint_url = (
            self._endpoint_url
            or os.environ.get("AWS_ENDPOINT_URL_S3")
            or os.environ.get("AWS_ENDPOINT_URL")
        )
        config = AioConfig(
            retries={"total_max_attempts": 1},
            max_pool_connections=self._connections,
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=TRY_TIMEOUT_S,
            # Every blob and outcome carries a hash or signature of its own.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if endpoint_url else "auto"},
            # Built anew for every request otherwise, which takes 100 us.
            user_agent="lambdafutures",
        )
        return {"region_name": self._region, "endpoint_url": endpoint_url, "config": config}


async def _whole(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer with its body read, whole."""
    if "Body" in answer:
        async with answer["Body"] as stream:
            body = await stream.read()
        if len(body) != answer["ContentLength"]:
            raise boto.IncompleteReadError(
                actual_bytes=len(body), expected_bytes=answer["ContentLength"]
            )
        answer["Body"] = body
    return answer


def _stay_in_region(context: dict[str, Any], **_: Any) -> None:
    # Else botocore quietly follows the bucket into its region, at a price for every byte, and the
    # workers, which do not, fail.
    context.setdefault("s3_redirect", {})["redirected"] = True
