"""The invokers that the contract holds for: threads, processes, and Lambda over HTTP."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from lambdafutures._backends.lambda_invoker import LambdaInvoker
from lambdafutures._backends.memory_invoker import MemoryInvoker
from lambdafutures._backends.process_invoker import ProcessInvoker
from lambdafutures.deploy import bundle
from lambdafutures.deployment import Deployment, find_deployment
from lambdafutures.options import Limits
from tests.aws_cloud import MEMORY_MB, zip_with_calls
from tests.aws_servers import AwsServer, ministack_server, missing

HERE = ("memory", "process")
"""Those whose workers are on this machine and import what it can."""
INVOKERS = (*HERE, "strict-response", "strict-poll", "ministack-response", "ministack-poll")

_ONE_PROCESS = "has one process for a function: of two invocations one waits"
_TAKES_ALL = "a call that kills its worker kills the client, as it does in any thread"
_NOTHING_BETWEEN = "nobody who could write lies between this process and its workers"

DEVIATIONS = {
    ("ministack-response", "test_several_attempts_are_under_way_at_once"): _ONE_PROCESS,
    ("ministack-poll", "test_several_attempts_are_under_way_at_once"): _ONE_PROCESS,
}
"""Where a server is known to differ from Lambda; a test that passes all the same is an error."""

LEFT_OUT = {
    ("memory", "test_a_worker_that_dies_is_a_fault_that_names_the_call"): _TAKES_ALL,
    ("memory", "test_a_function_that_is_not_what_its_hash_says_is_refused"): _NOTHING_BETWEEN,
    ("process", "test_a_function_that_is_not_what_its_hash_says_is_refused"): _NOTHING_BETWEEN,
}
"""What cannot be tried, or would say nothing."""


@pytest.fixture(scope="session")
def ministack(tmp_path_factory):
    """A ministack with our worker as a function, and the deployment that names it."""
    if command := missing("ministack"):
        pytest.skip(f"ministack is not installed: {command}")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with ministack_server() as server:
        with server.client("s3") as s3:
            s3.put_object(Bucket=server.bucket, Key="worker.zip", Body=zip_with_calls())
        with server.client("lambda") as client:
            client.create_function(
                FunctionName="worker",
                Runtime=f"python{version}",
                Role="arn:aws:iam::000000000000:role/worker",
                Handler=bundle.HANDLER,
                Code={"S3Bucket": server.bucket, "S3Key": "worker.zip"},
                Timeout=30,
                MemorySize=MEMORY_MB,
            )
        functions = {MEMORY_MB: "worker"}
        yield (
            server,
            Deployment("ministack", server.region, server.bucket, functions, version, timeout_s=30),
        )


def _use(server: AwsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(params=INVOKERS)
def kind(request) -> str:
    """Which invoker: its name."""
    name, test = request.param, request.node.originalname
    if reason := LEFT_OUT.get((name, test)):
        pytest.skip(reason)
    if reason := DEVIATIONS.get((name, test)):
        request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    return name


@pytest.fixture
def make_invoker(kind, request, monkeypatch) -> Callable[..., Any]:
    """Return a factory of invokers of one kind; it takes the number of workers."""
    if kind == "memory":
        return lambda workers=2: MemoryInvoker(workers)
    if kind == "process":
        return lambda workers=2: ProcessInvoker(workers, Limits())
    server, _, mode = kind.partition("-")
    if server == "strict":
        request.getfixturevalue("aws")
        deployment = find_deployment()
    else:
        ministack, deployment = request.getfixturevalue("ministack")
        _use(ministack, monkeypatch)
    assert deployment is not None
    return lambda workers=2: LambdaInvoker(deployment, workers, mode)
