"""Fixtures: a fake per test, and boto3 clients that talk to it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config

from tests.strict_aws import Identity, StrictAws

MakeClient = Callable[..., Any]

HANDLER = """
import json, os, subprocess, sys, time
count = 0

def handler(event, context):
    global count
    count += 1
    action = event.get("do")
    print("event", action, flush=True)
    if action == "raise":
        raise ValueError("it broke")
    if action == "exit":
        os._exit(event["code"])
    if action == "sleep":
        time.sleep(event["s"])
    if action == "size":
        return "x" * event["bytes"]
    if action == "print":
        print("y" * event["bytes"])
    if action == "environ":
        return dict(os.environ)
    if action == "path":
        return sys.path
    if action == "import":
        __import__(event["name"])
    if action == "allocate":
        block = bytearray(event["mb"] * 1024 * 1024)
        time.sleep(5)
    if action == "wait":
        # Until the test lets go: it holds the other end of a fifo.
        with open(event["fifo"]) as fifo:
            fifo.read()
    return {"count": count, "pid": os.getpid(), "request_id": context.aws_request_id,
            "remaining_ms": context.get_remaining_time_in_millis(),
            "arn": context.invoked_function_arn}
"""


@pytest.fixture(scope="session")
def session() -> botocore.session.Session:
    """One session for all clients: loading the service models takes most of their time."""
    return botocore.session.get_session()


@pytest.fixture
def aws() -> Iterator[StrictAws]:
    with StrictAws(buckets=["jobs"]) as fake:
        yield fake


@pytest.fixture
def make_client(session: botocore.session.Session) -> Iterator[MakeClient]:
    """Return a factory of clients that try once and are closed at the end."""
    clients: list[Any] = []

    def make(
        aws: StrictAws,
        service: str,
        identity: Identity | None = None,
        region: str | None = None,
        **config: Any,
    ) -> Any:
        who = identity or aws.admin
        client = session.create_client(
            service,
            region_name=region or aws.region,
            endpoint_url=aws.endpoint_url,
            aws_access_key_id=who.access_key,
            aws_secret_access_key=who.secret_key,
            aws_session_token=who.session_token or None,
            config=Config(
                **{
                    "retries": {"total_max_attempts": 1},
                    "s3": {"addressing_style": "path"},
                    "max_pool_connections": 50,
                    # The fake's own checks are meant, not boto3's.
                    "parameter_validation": False,
                    **config,
                }
            ),
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def s3(aws: StrictAws, make_client: MakeClient) -> Any:
    return make_client(aws, "s3")


@pytest.fixture
def lambda_(aws: StrictAws, make_client: MakeClient) -> Any:
    return make_client(aws, "lambda")


@pytest.fixture(scope="session")
def code_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the test's handler."""
    where = tmp_path_factory.mktemp("code")
    (where / "handler.py").write_text(HANDLER)
    return where
