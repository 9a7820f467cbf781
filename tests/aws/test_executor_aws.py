"""`LambdaPoolExecutor` on AWS, over HTTP, does what it does on this machine."""

from __future__ import annotations

import operator
import os
import sys

import pytest

from lambdafutures import LambdaPoolExecutor, Limits, RetryPolicy
from lambdafutures._backends import lambda_invoker
from lambdafutures.deploy import bundle
from lambdafutures.deployment import Deployment, remember
from lambdafutures.exceptions import (
    CallTimeout,
    DeploymentNotFound,
    OutOfMemory,
    WorkerDied,
)
from tests import calls
from tests.aws.conftest import BUCKET, FUNCTION, MEMORY_MB, MODES, Aws
from tests.conftest import _belongings, has_grown_since, left_since, wait_until

MB = 1024 * 1024
ONCE = RetryPolicy(attempts=1)

modes = pytest.mark.parametrize("mode", MODES)


# -------------------------------------------------------------------- calls


# -------------------------------------------------------------------- large things


@modes
def test_large_arguments_and_results_go_through_the_store(aws: Aws, mode):
    with aws.executor(2, mode) as ex:
        assert ex.submit(len, os.urandom(7 * MB)).result() == 7 * MB
        assert ex.submit(len, os.urandom(2 * MB)).result() == 2 * MB
        assert ex.submit(operator.mul, b"x", 5 * MB).result() == b"x" * 5 * MB
        assert ex.submit(bytes, 17 * MB).result() == bytes(17 * MB)
        assert ex.submit(calls.identity, 1).result() == 1
        requests = aws.fake.requests
        # In poll mode the 2 MB do not fit the Event either.
        assert requests["PutObject"] >= 2
    assert aws.keys() == []
    assert aws.fake.uploads(BUCKET) == []


@pytest.mark.fresh_aws
@modes
def test_a_closure_of_100_kb_is_uploaded_once(aws: Aws, mode):
    data = os.urandom(100_000)

    def closure(x):
        return x + len(data)

    with aws.executor(2, mode) as ex:
        assert sum(ex.map(closure, range(1000), chunksize=20)) == sum(range(1000)) + 1000 * 100_000
    uploads = [
        record
        for record in aws.fake.log
        if record.operation == "PutObject" and "/blobs/" in record.key
    ]
    downloads = [
        record
        for record in aws.fake.log
        if record.operation == "GetObject" and "/blobs/" in record.key
    ]
    assert len(uploads) == 1
    # Warm workers keep it.
    assert len(downloads) <= aws.fake.cold_starts(FUNCTION)


def test_a_large_initializer_travels_through_the_store(aws: Aws):
    data = os.urandom(7 * MB)

    def remember_length(data):
        calls.state["initialized"] = len(data)

    with aws.executor(1, initializer=remember_length, initargs=(data,)) as ex:
        for _ in range(3):
            assert ex.submit(calls.initialized).result()[1] == len(data)
    assert [r.operation for r in aws.fake.log if r.key.endswith("/initializer")].count(
        "GetObject"
    ) == 1


# -------------------------------------------------------------------- what a worker does


@modes
def test_output_timings_attempts_and_memory_come_home(aws: Aws, mode):
    with aws.executor(1, mode) as ex:
        future = ex.submit(calls.speak, "hello")
        assert future.result() == "hello"
        # What is logged stands there, too: Lambda's own handler prints it.
        assert future.output.stdout.startswith("out hello\n")
        assert future.output.stderr == "err hello\n"
        assert [record.message for record in future.output.logs] == ["log hello"]
        assert future.attempts == 1
        assert future.peak_memory_bytes > 5 * MB
        timings = future.timings
        assert timings.submitted_s <= timings.sent_s <= timings.received_s <= timings.done_s
    assert "out hello" in aws.fake.function_log(FUNCTION)


@pytest.mark.fresh_aws
def test_a_worker_keeps_nothing_of_the_session_before(aws: Aws):
    with aws.executor(1, initializer=calls.initialize) as ex:
        assert ex.submit(calls.initialized).result()[1] == 1
        pid = ex.submit(calls.pid).result()
        ex.submit(os.putenv, "LEAK", "1").result()
    with aws.executor(1) as ex:
        assert ex.submit(calls.initialized).result()[1] == 0
        assert ex.submit(calls.pid).result() != pid
    assert aws.fake.cold_starts(FUNCTION) == 1


def test_a_worker_gets_nothing_of_this_machine(aws: Aws):
    with aws.executor(1) as ex:
        path = ex.submit(eval, "__import__('sys').path").result()
    assert not set(path) & {entry for entry in sys.path if "site-packages" in entry}


# -------------------------------------------------------------------- limits


def test_a_call_beyond_its_time_limit_does_not_cost_its_sandbox(aws: Aws):
    with aws.executor(1, limits=Limits(time_s=1.2)) as ex:
        slow = ex.submit(calls.spin, 20)
        error = slow.exception(15)
        assert isinstance(error, CallTimeout)
        assert "1.2 s" in str(error)
        assert ex.submit(calls.identity, 1).result() == 1
    assert "timed out" not in aws.fake.function_log(FUNCTION)


@pytest.mark.fresh_aws
def test_a_call_is_ended_before_lambda_ends_the_sandbox(aws: Aws):
    aws.deploy(timeout_s=2.2)
    with aws.executor(1, retry=ONCE) as ex:
        error = ex.submit(calls.spin, 20).exception(15)
        assert isinstance(error, CallTimeout)
        assert ex.submit(calls.identity, 1).result() == 1
    assert aws.fake.cold_starts(FUNCTION) == 1


def test_calls_of_a_chunk_that_takes_longer_than_a_sandbox_may_go_on_in_the_next(aws: Aws):
    aws.deploy(timeout_s=2.5)
    with aws.executor(1) as ex:
        assert list(ex.map(calls.spin, [0.4] * 6, chunksize=6)) == [0.4] * 6


def test_a_call_beyond_its_functions_memory_is_ended(aws: Aws):
    aws.deploy(memory_mb=256, enforce_memory=True)
    with aws.executor(1, retry=ONCE) as ex:
        error = ex.submit(calls.allocate, 400).exception(20)
        assert isinstance(error, OutOfMemory)
        assert ex.submit(calls.identity, 1).result() == 1


# -------------------------------------------------------------------- runners that die


@pytest.mark.fresh_aws
def test_a_call_that_exits_is_said_to_have(aws: Aws):
    with aws.executor(1, retry=ONCE) as ex:
        error = ex.submit(os._exit, 7).exception(20)
        assert isinstance(error, WorkerDied)
        assert "status 7" in str(error)
        crashed = ex.submit(calls.crash).exception(20)
        assert "SIGSEGV" in str(crashed)
        assert "ctypes" in str(crashed)
        assert ex.submit(calls.identity, 1).result() == 1
    assert aws.fake.cold_starts(FUNCTION) == 1


def test_a_runner_that_died_between_two_calls_costs_nothing(aws: Aws, tmp_path):
    with aws.executor(1, retry=ONCE) as ex:
        pid = ex.submit(calls.pid).result()
        os.kill(pid, 9)
        assert ex.submit(calls.pid).result() != pid


# -------------------------------------------------------------------- cancel, shut down


@modes
def test_cancel_and_shutdown_leave_nothing(aws: Aws, mode, tmp_path):
    with aws.executor(1, mode) as ex:
        ex.submit(calls.identity, 1).result()  # the fake has a process for its function from now on
    aws.fake.wait_quiet()
    before = _belongings()
    go = tmp_path / "go"
    ex = aws.executor(1, mode)
    first = ex.submit(calls.wait_for_file, str(go), 1)
    wait_until(first.running)
    others = [ex.submit(calls.note_run, str(tmp_path), x) for x in range(3)]
    assert others[0].cancel()
    ex.shutdown(wait=False, cancel_futures=True)
    go.touch()
    ex.shutdown()
    assert first.result() == 1
    assert all(other.cancelled() for other in others)
    assert not any(calls.runs(tmp_path, x) for x in range(3))
    assert aws.keys() == []
    aws.fake.wait_quiet()
    wait_until(lambda: not has_grown_since(before), lambda: str(left_since(before)))
    assert not {each for each in left_since(before) if each.startswith("thread")}


# -------------------------------------------------------------------- requests


def test_small_calls_in_response_mode_need_no_store(aws: Aws):
    with aws.executor(2) as ex:
        assert list(ex.map(calls.identity, range(10))) == list(range(10))
        assert ex.statistics().requests == {"Invoke": 10}
    assert dict(aws.fake.requests) == {"Invoke": 10}


def test_beyond_what_connections_allow_auto_polls(aws: Aws, monkeypatch):
    monkeypatch.setattr(lambda_invoker, "max_in_response", lambda: 2)
    with aws.executor(4, "auto") as ex:
        assert list(ex.map(calls.identity, range(12))) == list(range(12))
    kinds = {record.invocation_type for record in aws.fake.log if record.operation == "Invoke"}
    assert kinds == {"RequestResponse", "Event"}


# -------------------------------------------------------------------- what is asked for


def test_calls_choose_the_function_by_its_memory(aws: Aws):
    aws.fake.create_function(
        "large",
        aws._zip,
        bundle.HANDLER,
        role=aws.role,
        memory_mb=3008,
        timeout_s=30,
        layers=[str(aws._layer)],
    )
    aws.remember(functions={MEMORY_MB: FUNCTION, 3008: "large"})
    with aws.executor(2) as ex:
        large = ex.with_options(memory_mb=3008)
        name = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"
        assert ex.submit(calls.environment, name).result() == str(MEMORY_MB)
        assert list(large.map(calls.environment, [name] * 2)) == ["3008"] * 2
        with pytest.raises(ValueError, match="no function of 512 MB, but of 1769, 3008"):
            ex.with_options(memory_mb=512)


def test_names_of_deployment_and_memory(aws: Aws):
    with pytest.raises(ValueError, match="1769"):
        aws.executor(1, memory_mb=512)
    with pytest.raises(DeploymentNotFound, match="other"):
        LambdaPoolExecutor(deployment="other")
    with pytest.raises(ValueError, match="completion"):
        LambdaPoolExecutor(completion="fax")
    remember(Deployment("other", aws.fake.region, BUCKET, {512: "small", 1769: FUNCTION}))
    with LambdaPoolExecutor(1, deployment="other", memory_mb=1769) as ex:
        assert ex.submit(calls.identity, 1).result() == 1


def test_an_executor_in_a_worker_says_what_it_lacks(aws: Aws):
    def nested():
        from lambdafutures import LambdaPoolExecutor

        with LambdaPoolExecutor(1) as inner:
            return inner.submit(pow, 2, 3).result()

    def nested_local():
        from lambdafutures import LambdaPoolExecutor

        with LambdaPoolExecutor(1, backend="local") as inner:
            return inner.submit(pow, 2, 3).result()

    with aws.executor(1) as ex:
        error = ex.submit(nested).exception(20)
        assert "backend='local'" in str(error)
        assert ex.submit(nested_local).result(20) == 8
