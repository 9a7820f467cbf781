"""The stores that the contract holds for, each on the servers that stand in for S3."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import pytest

from lambdafutures._backends.base import Store
from lambdafutures._backends.file_store import FileStore
from lambdafutures._backends.hot_requests import SWITCH_VARIABLE
from lambdafutures._backends.memory_store import MemoryStore
from lambdafutures._backends.s3_store import S3Store
from lambdafutures._worker.s3 import S3Client
from tests.aws_servers import SERVERS, AwsServer, missing

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]

# Parts and threshold as small as S3 allows, so that multipart is met with little data.
PART_BYTES = 5 * 1024 * 1024

PLAIN = ("memory", "file")
# The short way of small requests, and botocore's, which takes them where anything is unusual.
ROUTES = ("strict", "strict-botocore")
STORES = (*PLAIN, *SERVERS, *ROUTES[1:])
FAST = ("memory", "file", "ministack", "strict")
"""Those on which thousands of objects take seconds, not minutes."""
WORKERS = tuple(f"worker-{name}" for name in SERVERS)


DEVIATIONS = {
    ("seaweedfs", "test_listings_come_in_the_order_of_the_keys_bytes"): (
        "lists a folder's files before its folders, whatever their names"
    ),
    ("seaweedfs", "test_start_after_leaves_out_what_is_not_greater"): (
        "leaves out too much where StartAfter lies inside a folder"
    ),
}
"""Where a server is known to differ from S3; a test that passes all the same is an error."""


class Objects(Protocol):
    """What store and worker have in common."""

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> bool: ...

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes: ...

    async def close(self) -> None: ...


class WorkerObjects:
    """The worker's client, with the store's face."""

    def __init__(self, client: S3Client) -> None:
        self.client = client

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> bool:
        return await asyncio.to_thread(self.client.put, key, body, only_if_absent=only_if_absent)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        return bytes(await asyncio.to_thread(self.client.get, key, start, length))

    async def close(self) -> None:
        self.client.close()


@pytest.fixture(scope="session")
def server_named() -> Iterator[Callable[[str], AwsServer]]:
    """Return a running server by name; each is started once, when it is first asked for."""
    with ExitStack() as stack:
        running: dict[str, AwsServer] = {}

        def get(name: str) -> AwsServer:
            if name not in running:
                if command := missing(name):
                    pytest.skip(f"{name} is not installed: {command}")
                running[name] = stack.enter_context(SERVERS[name]())
            return running[name]

        yield get


@pytest.fixture
def run() -> Iterator[Run[Any]]:
    """Run coroutines on the test's one event loop."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def make_store(
    server_named: Callable[[str], AwsServer],
    tmp_path: Any,
    run: Run[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Any]]:
    """Return a factory of stores and workers' clients by name; closed at the end."""
    made: list[Objects] = []

    def make(name: str, endpoint_url: str | None = None, **options: Any) -> Objects:
        if name == "memory":
            made.append(MemoryStore())
        elif name == "file":
            made.append(FileStore(tmp_path / "store"))
        else:
            server = server_named(name.removeprefix("worker-").removesuffix("-botocore"))
            options = {"multipart_bytes": PART_BYTES, "part_bytes": PART_BYTES, **options}
            environ = server.environ()
            if ca_bundle := os.environ.get("AWS_CA_BUNDLE"):
                environ["AWS_CA_BUNDLE"] = ca_bundle
            if endpoint_url:
                environ["AWS_ENDPOINT_URL"] = endpoint_url
            if name in WORKERS:
                made.append(WorkerObjects(S3Client(server.bucket, environ, **options)))
            else:
                environ[SWITCH_VARIABLE] = "off" if name.endswith("-botocore") else ""
                for variable, value in environ.items():
                    monkeypatch.setenv(variable, value)
                made.append(S3Store(server.bucket, **options))
        return made[-1]

    yield make
    for each in made:
        run(each.close())


@pytest.fixture(params=[*STORES, *WORKERS])
def objects(request: pytest.FixtureRequest, make_store: Callable[..., Objects]) -> Objects:
    """Whatever puts and gets."""
    return make_store(request.param)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, make_store: Callable[..., Store]) -> Store:
    """Every store."""
    reason = DEVIATIONS.get((request.param, request.node.originalname))
    if reason is not None:
        request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    return make_store(request.param)


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test uses: the servers live on from test to test."""
    return f"test-{uuid4().hex}/"
