"""The client that sends Invokes: each once, and patiently."""

from __future__ import annotations

import asyncio
import resource
from contextlib import AsyncExitStack
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError

from lambdafutures._backends import s3_errors

CONNECT_TIMEOUT_S = 5.0
# With completion="auto", attempts in flight beyond which outcomes are collected from the store: a
# connection is held for each, and 1,024 open files is the usual limit of a process.
RESPONSE_MAX_IN_FLIGHT = 800
# Files that everything else may need: the store's connections, and the user's own.
OTHER_FILES = 200

# What the loader reads to make a client: 100 ms of JSON, read on a thread beforehand.
_MODELS = (("lambda", "service-2"), ("lambda", "endpoint-rule-set-1"))
_DATA = ("partitions", "endpoints", "sdk-default-configuration", "_retry")


def max_in_response() -> int:
    """Return how many connections may be held at once, for the files this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return RESPONSE_MAX_IN_FLIGHT
    return max(16, min(RESPONSE_MAX_IN_FLIGHT, soft - OTHER_FILES))


class LambdaClient:
    """Invoke functions; the first call opens the connection.

    Args:
        region: The functions' region.
        read_timeout_s: How long an answer may take, in seconds.
        connections: How many invocations there are at once.
    """

    def __init__(self, region: str, read_timeout_s: float, connections: int) -> None:
        self._region = region
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
        self._opening = asyncio.Lock()

    async def invoke(self, **parameters: Any) -> dict[str, Any]:
        """Send an Invoke, once.

        Args:
            parameters: Its parameters.

        Raises:
            Exception: What aiobotocore raises; `lambda_errors` judges it.
            BackendError: If there are no credentials, or the set-up is wrong.
        """
        client = self._client or await self._open()
        answer: dict[str, Any] = await client.invoke(**parameters)
        return answer

    async def close(self) -> None:
        """Close the connections."""
        await self._stack.aclose()

    async def _open(self) -> Any:
        async with self._opening:
            if self._client is None:
                session = AioSession()
                try:
                    await asyncio.to_thread(_load_models, session)
                    context = session.create_client(
                        "lambda", region_name=self._region, config=self._config
                    )
                    self._client = await self._stack.enter_async_context(context)
                except (BotoCoreError, ValueError) as error:
                    raise s3_errors.explain_set_up(error) from error
        return self._client


def _load_models(session: AioSession) -> None:
    loader = session.get_component("data_loader")
    for service, kind in _MODELS:
        loader.load_service_model(service, kind)
    for name in _DATA:
        loader.load_data(name)
