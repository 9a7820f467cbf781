"""Stragglers, larger functions and passing errors on AWS, over HTTP."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from lambdafutures import BackupPolicy, Limits, RetryPolicy
from lambdafutures.deploy import bundle
from lambdafutures.exceptions import LambdaFuturesError, OutOfMemory
from tests import calls
from tests.aws.conftest import FUNCTION, MODES, Aws

modes = pytest.mark.parametrize("mode", MODES)
ONCE = RetryPolicy(attempts=1)
LARGE = "lf-large"

# -------------------------------------------------------------------- stragglers


@modes
def test_a_stragglers_result_is_delivered_once(aws: Aws, mode, tmp_path):
    go, done = tmp_path / "go", []
    with aws.executor(3, mode, backup=BackupPolicy(least_s=0.3), retry=ONCE) as ex:
        futures = [
            ex.submit(calls.wait_the_first_time, str(tmp_path), x, 8, str(go)) for x in range(60)
        ]
        for future in futures:
            future.add_done_callback(done.append)
        assert [future.result(60) for future in futures] == list(range(60))
        assert futures[8].attempts == 2
        # What was slower ends, too, and is of no interest any more.
        go.touch()
        aws.fake.wait_quiet()
        assert ex.submit(calls.identity, 1).result(20) == 1
        figures = ex.statistics()
    assert (figures.backups, figures.attempts, figures.calls_done) == (1, 62, 61)
    assert len(done) == 60
    assert calls.runs(tmp_path, 8) == 2
    assert aws.keys() == []


@modes
def test_calls_of_two_attempts_are_merged(aws: Aws, mode, tmp_path):
    policy = BackupPolicy(least_s=0.3, done_share=0.5)
    with aws.executor(4, mode, backup=policy) as ex:
        # The straggler's chunk has ended calls before and after the one that waits.
        results = ex.map(
            calls.wait_the_first_time,
            itertools.repeat(str(tmp_path)),
            range(40),
            itertools.repeat(33),
            itertools.repeat(str(tmp_path / "go")),
            chunksize=5,
        )
        assert list(results) == list(range(40))
        assert ex.statistics().backups == 1
    (tmp_path / "go").touch()
    assert calls.runs(tmp_path, 33) == 2


# -------------------------------------------------------------------- more memory


@pytest.fixture
def two_sizes(aws: Aws) -> Callable[[], Aws]:
    aws.deploy(memory_mb=256, enforce_memory=True)
    aws.fake.create_function(
        LARGE,
        aws._zip,
        bundle.HANDLER,
        role=aws.role,
        layers=[str(aws._layer)],
        timeout_s=30,
        memory_mb=1024,
        max_retries=0,
        enforce_memory=True,
    )
    aws.remember(functions={256: FUNCTION, 1024: LARGE})
    return aws


@modes
def test_what_is_too_large_goes_to_the_next_larger_function(two_sizes: Any, mode):
    with two_sizes.executor(2, mode) as ex:
        future = ex.submit(calls.hold, 400)
        assert future.result(20) == 400
        assert future.attempts == 2
        # Those that fit stay in the small one.
        assert ex.submit(calls.environment, "AWS_LAMBDA_FUNCTION_NAME").result(20) == FUNCTION
        error = ex.submit(calls.hold, 1200).exception(20)
    assert type(error) is OutOfMemory
    # In the small one; in the large one, beside what is left of the call before; in a new one.
    assert "its function has 1024 MiB in all (tried 3 times)" in str(error)


def test_a_limit_is_the_same_in_larger_functions(two_sizes: Any):
    with two_sizes.executor(1, limits=Limits(memory_mb=150)) as ex:
        error = ex.submit(calls.hold, 180, 5).exception(20)
    assert "more than the limit of 150 (tried once)" in str(error)
    assert two_sizes.fake.cold_starts(LARGE) == 0


def test_in_one_size_a_new_worker_is_not_filled_twice(aws: Aws):
    aws.deploy(memory_mb=256, enforce_memory=True)
    with aws.executor(1) as ex:
        assert "(tried once)" in str(ex.submit(calls.hold, 400, 5).exception(20))
        assert ex.submit(calls.identity, 1).result(20) == 1
        # In a runner that holds something of other calls, a new one might do.
        future = ex.submit(calls.hold, 400, 5)
        assert "(tried 2 times)" in str(future.exception(20))


# -------------------------------------------------------------------- passing errors


@modes
def test_what_lambda_refuses_with_an_error_of_its_own_is_no_try(aws: Aws, mode):
    aws.fake.script.on("Invoke", every=2, times=12).status(503)
    with aws.executor(3, mode, retry=RetryPolicy(attempts=1, backoff_s=0.01)) as ex:
        futures = [ex.submit(calls.identity, x) for x in range(16)]
        assert [future.result(20) for future in futures] == list(range(16))
        assert {future.attempts for future in futures} == {1}
    assert aws.fake.requests["Invoke"] == 28


def test_errors_of_lambda_that_do_not_pass_are_told(aws: Aws):
    aws.fake.script.on("Invoke").status(500)
    with aws.executor(1, retry=RetryPolicy(backoff_s=0.001)) as ex:
        error = ex.submit(calls.identity, 1).exception(20)
    assert type(error) is LambdaFuturesError
    assert "could not be started: was not run: ServiceException" in str(error)


def test_an_endpoint_that_cannot_be_reached_is_no_try(aws: Aws, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:9")
    with aws.executor(1, retry=RetryPolicy(attempts=1, backoff_s=0.001)) as ex:
        error = ex.submit(calls.identity, 1).exception(20)
    assert "could not be sent" in str(error)
    assert "(sent 9 times)" in str(error)


def test_after_its_total_time_no_further_attempt_is_sent(aws: Aws):
    aws.fake.script.on("Invoke").kill_runtime()
    with aws.executor(1, retry=RetryPolicy(attempts=1000, total_s=1.0)) as ex:
        error = ex.submit(calls.rest, 0.2).exception(20)
    assert "it is too late for more, total_s=1" in str(error)
    assert aws.fake.requests["Invoke"] < 1000
