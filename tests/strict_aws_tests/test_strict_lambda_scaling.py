"""Concurrency, reserved concurrency, the ramp, cold starts."""

import asyncio
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.strict_aws import StrictAws
from tests.strict_aws_tests.wire import code_of, invoke, invoke_status, status_of


class Gate:
    """Holds the inline function until the test opens it."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self._open = threading.Event()

    async def __call__(self, event: bytes) -> bytes:
        self.entered.release()
        await asyncio.get_running_loop().run_in_executor(None, self._open.wait, 20)
        return event

    def open(self) -> None:
        self._open.set()


def throttle_of(client: Any, name: str = "f") -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        client.invoke(FunctionName=name)
    assert (status_of(caught.value), code_of(caught.value)) == (429, "TooManyRequestsException")
    return dict(caught.value.response)


def test_account_concurrency_throttles_with_reason_and_retry_after(
    aws: StrictAws, lambda_: Any
) -> None:
    gate = Gate()
    aws.scaling.account_concurrency = 2
    aws.scaling.retry_after_s = 3
    aws.create_function("f", respond=gate)
    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(invoke_status, lambda_, "f") for _ in range(2)]
        for _ in running:
            assert gate.entered.acquire(timeout=10)
        response = throttle_of(lambda_)
        gate.open()
        assert [future.result() for future in running] == [200, 200]
    assert response["Reason"] == "ConcurrentInvocationLimitExceeded"
    assert response["retryAfterSeconds"] == "3"
    assert response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "3"
    assert aws.throttles == {"ConcurrentInvocationLimitExceeded": 1}
    assert aws.peak_concurrency("f") == 2
    assert invoke_status(lambda_, "f") == 200


def test_reserved_concurrency_is_the_functions_own_limit(aws: StrictAws, lambda_: Any) -> None:
    gate = Gate()
    aws.scaling.account_concurrency = 3
    aws.create_function("f", respond=gate, reserved_concurrency=1)
    aws.create_function("g", respond=lambda event: event, reserved_concurrency=0)
    aws.create_function("rest", respond=gate)
    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(invoke_status, lambda_, name) for name in ("f", "rest")]
        running.append(threads.submit(invoke_status, lambda_, "rest"))
        for _ in running:
            assert gate.entered.acquire(timeout=10)
        reserved = "ReservedFunctionConcurrentInvocationLimitExceeded"
        assert throttle_of(lambda_, "f")["Reason"] == reserved
        assert throttle_of(lambda_, "g")["Reason"] == reserved
        # Of three, one is reserved: the others have two.
        assert throttle_of(lambda_, "rest")["Reason"] == "ConcurrentInvocationLimitExceeded"
        gate.open()
        assert {future.result() for future in running} == {200}


def test_the_ramp_grants_so_many_environments_per_window(aws: StrictAws, lambda_: Any) -> None:
    gate = Gate()
    aws.scaling.ramp_environments = 2
    aws.create_function("f", respond=gate)
    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(invoke_status, lambda_, "f") for _ in range(2)]
        for _ in running:
            assert gate.entered.acquire(timeout=10)
        assert throttle_of(lambda_)["Reason"] == "FunctionInvocationRateLimitExceeded"
        gate.open()
        assert {future.result() for future in running} == {200}
    # Warm environments need no ramp, and a window scaled to nothing grants at once.
    assert invoke_status(lambda_, "f") == 200
    aws.recycle("f")
    throttle_of(lambda_)
    aws.time_scale = 1e-9
    assert invoke_status(lambda_, "f") == 200


def test_the_request_rate_can_be_limited(aws: StrictAws, lambda_: Any) -> None:
    aws.scaling.rate_per_concurrency = 2
    aws.create_function("f", respond=lambda event: event, reserved_concurrency=1)
    for _ in range(2):
        invoke_status(lambda_, "f")
    assert throttle_of(lambda_)["Reason"] == "ReservedFunctionInvocationRateLimitExceeded"


def test_one_environment_per_concurrent_invocation(
    aws: StrictAws, lambda_: Any, code_dir: Path, tmp_path: Path
) -> None:
    fifos = [str(tmp_path / name) for name in "ab"]
    for fifo in fifos:
        os.mkfifo(fifo)
    aws.create_function("f", code_dir)
    with ThreadPoolExecutor(2) as threads:
        running = [
            threads.submit(invoke, lambda_, "f", {"do": "wait", "fifo": fifo}) for fifo in fifos
        ]
        # Opening a fifo for writing waits until the handler has it open: both run at once.
        with open(fifos[0], "w"), open(fifos[1], "w"):
            pass
        answers = [future.result()[0] for future in running]
    assert answers[0]["pid"] != answers[1]["pid"]
    assert aws.cold_starts("f") == 2
    assert invoke(lambda_, "f")[0]["count"] == 2
    assert aws.cold_starts("f") == 2


def test_warm_environments_start_ahead(aws: StrictAws, lambda_: Any, code_dir: Path) -> None:
    aws.create_function("f", code_dir, warm=2)
    answer, _ = invoke(lambda_, "f")
    assert (answer["count"], aws.cold_starts("f")) == (1, 0)


def test_cold_starts_take_their_scaled_time(aws: StrictAws, lambda_: Any) -> None:
    aws.scaling.cold_start_s = 30.0
    aws.time_scale = 0.001
    aws.create_function("f", respond=lambda event: event)
    invoke_status(lambda_, "f")
    invoke_status(lambda_, "f")
    cold, warm = [record.finished_at - record.received_at for record in aws.log]
    assert cold >= 0.03 > warm


def test_an_inline_function_keeps_lambdas_front(aws: StrictAws, lambda_: Any) -> None:
    def respond(event: bytes) -> bytes:
        value = json.loads(event)
        if value == "raise":
            raise ValueError("it broke")
        return b"x" * int(value)

    aws.create_function("f", respond=respond)
    body, error = invoke(lambda_, "f", "raise")
    assert (error, body["errorType"], body["errorMessage"]) == (
        "Unhandled",
        "ValueError",
        "it broke",
    )
    body, error = invoke(lambda_, "f", 7_000_000)
    assert (error, body["errorType"]) == ("Unhandled", "Function.ResponseSizeTooLarge")
    gate = Gate()
    aws.create_function("g", respond=gate, timeout_s=0.05)
    body, error = invoke(lambda_, "g")
    gate.open()
    assert body["errorMessage"].endswith("Task timed out after 0.05 seconds")
