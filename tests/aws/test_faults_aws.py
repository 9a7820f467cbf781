"""Faults of AWS, caused over HTTP: every future ends, with the right value, delivered once."""

from __future__ import annotations

from functools import partial

import pytest

from lambdafutures import RetryPolicy
from lambdafutures._backends import lambda_invoker
from lambdafutures._engine import session
from lambdafutures._engine.scheduler import Scheduler
from lambdafutures.exceptions import BackendError, WorkerDied
from tests import calls
from tests.aws.conftest import FUNCTION, MODES, Aws
from tests.strict_aws import ScalingSettings

modes = pytest.mark.parametrize("mode", MODES)
ONCE = RetryPolicy(attempts=1)
FEW = 16


def squares(ex, count=FEW):
    return list(ex.map(pow, range(count), [2] * count)) == [x * x for x in range(count)]


# -------------------------------------------------------------------- throttles


@modes
def test_throttles_halve_what_is_in_flight_and_cost_no_try(aws: Aws, mode):
    aws.fake.script.on("Invoke", rate=0.3, seed=1).throttle(retry_after=0.1)
    with aws.executor(4, mode, retry=ONCE) as ex:
        assert squares(ex)
    assert aws.fake.requests["Invoke"] < 3 * FEW


def test_retry_after_is_honoured(aws: Aws):
    aws.fake.script.on("Invoke", nth=2).throttle(retry_after=1)
    with aws.executor(1, retry=ONCE) as ex:
        assert [ex.submit(calls.identity, x).result() for x in range(2)] == [0, 1]
    records = [record for record in aws.fake.log if record.operation == "Invoke"]
    throttled = next(index for index, record in enumerate(records) if record.status == 429)
    assert records[throttled + 1].received_at - records[throttled].finished_at >= 0.95


def test_the_accounts_concurrency_is_found_without_a_storm(make_aws):
    aws = make_aws(scaling=ScalingSettings(account_concurrency=5, retry_after_s=0))
    aws.deploy(warm=2)
    with aws.executor(50, retry=ONCE) as ex:
        assert list(ex.map(calls.spin, [0.01] * 60)) == [0.01] * 60
    assert aws.fake.peak_concurrency(FUNCTION) <= 5
    assert sum(aws.fake.throttles.values()) < 60 + 50  # the first salvo, and few later


def test_a_reserved_concurrency_of_0_is_one_error(aws: Aws, monkeypatch):
    monkeypatch.setattr(session, "Scheduler", partial(Scheduler, patience_s=1.5))
    aws.deploy(reserved_concurrency=0)
    with aws.executor(2) as ex:
        futures = [ex.submit(calls.identity, x) for x in range(5)]
        texts = {str(future.exception(15)) for future in futures}
    (text,) = texts
    assert "reserved concurrency" in text
    assert isinstance(futures[0].exception(), BackendError)


# -------------------------------------------------------------------- errors and connections


@modes
def test_errors_of_lambda_and_s3_pass(aws: Aws, mode):
    aws.fake.script.on("Invoke", rate=0.15, seed=2).status(500)
    aws.fake.script.on(service="s3", rate=0.2, seed=3).status(503)
    with aws.executor(3, mode, retry=RetryPolicy(attempts=8, backoff_s=0.01)) as ex:
        assert squares(ex)


@modes
@pytest.mark.parametrize("fault", ["reset", "lose_response", "cut_response"])
def test_broken_connections_pass(aws: Aws, mode, fault):
    getattr(aws.fake.script.on("Invoke", every=4), fault)()
    with aws.executor(3, mode, retry=RetryPolicy(attempts=8, backoff_s=0.01)) as ex:
        assert squares(ex, 16)


def test_a_cut_response_of_a_long_call_is_found_in_the_store(aws: Aws, monkeypatch, tmp_path):
    monkeypatch.setattr(lambda_invoker, "STORE_AFTER_S", 0.2)
    aws.fake.script.on("Invoke", nth=1).cut_response(after_bytes=10)

    def slow(folder):
        calls.note_run(folder, "slow")
        return calls.spin(0.4)

    with aws.executor(1, retry=ONCE) as ex:
        future = ex.submit(slow, str(tmp_path))
        assert future.result() == 0.4
    assert calls.runs(tmp_path, "slow") == 1
    assert aws.keys() == []


# -------------------------------------------------------------------- Events


@pytest.fixture
def soon(aws: Aws, monkeypatch):
    """Deadlines of attempts are short."""
    monkeypatch.setattr(lambda_invoker, "QUEUE_S", 0.5)
    aws.deploy(timeout_s=2)
    return aws


def test_a_lost_event_is_sent_again(soon: Aws):
    soon.fake.script.on("Invoke", invocation_type="Event", nth=1).lose_event()
    with soon.executor(2, "poll") as ex:
        assert ex.submit(calls.identity, 0).result() == 0
        future = ex.submit(calls.identity, 1)
        assert future.result(15) == 1
        assert future.attempts == 2


def test_a_duplicated_event_is_delivered_once(aws: Aws, tmp_path):
    aws.fake.script.on("Invoke", invocation_type="Event").duplicate_event()
    done = []
    with aws.executor(2, "poll") as ex:
        ex.submit(calls.identity, 0).result()
        futures = [ex.submit(calls.note_run, str(tmp_path), x) for x in range(6)]
        for future in futures:
            future.add_done_callback(done.append)
        assert [future.result() for future in futures] == list(range(6))
        aws.fake.wait_quiet()
    assert len(done) == 6
    assert sum(calls.runs(tmp_path, x) for x in range(6)) > 6
    assert ex.statistics().calls_done == 7


def test_an_event_after_its_deadline_runs_nothing(soon: Aws, tmp_path):
    # A second more than the deadline, and more: until AWS's clock is known, the worker allows that.
    soon.fake.script.on("Invoke", invocation_type="Event", nth=1).delay_event(5)
    with soon.executor(2, "poll") as ex:
        ex.submit(calls.identity, 0).result()
        future = ex.submit(calls.note_run, str(tmp_path), 1)
        assert future.result(15) == 1
        soon.fake.wait_quiet()
    assert calls.runs(tmp_path, 1) == 1
    assert soon.keys() == []


# -------------------------------------------------------------------- sandboxes


def test_a_killed_sandbox_costs_a_retry(aws: Aws):
    aws.fake.script.on("Invoke", nth=2).kill_runtime(after_s=0.05)
    with aws.executor(1) as ex:
        assert ex.submit(calls.identity, 0).result() == 0
        future = ex.submit(calls.spin, 0.3)
        assert future.result(15) == 0.3
        assert future.attempts == 2


@pytest.mark.fresh_aws
@modes
def test_a_killed_runner_costs_a_retry(aws: Aws, mode):
    aws.fake.script.on("Invoke", nth=2).kill_children(after_s=0.1)
    with aws.executor(1, mode) as ex:
        assert ex.submit(calls.identity, 0).result() == 0
        future = ex.submit(calls.spin, 0.3)
        assert future.result(15) == 0.3
        assert future.attempts == 2
    # The supervisor survived: no sandbox was started in place of another, only beside it. (With
    # outcomes collected, the next Event may come before the sandbox before it is free again.)
    assert aws.fake.cold_starts(FUNCTION) == aws.fake.peak_concurrency(FUNCTION)
    if mode == "response":
        assert aws.fake.cold_starts(FUNCTION) == 1


def test_a_sandbox_that_is_always_killed_is_an_error(aws: Aws):
    aws.fake.script.on("Invoke").kill_runtime()
    with aws.executor(1, retry=RetryPolicy(attempts=2)) as ex:
        error = ex.submit(calls.spin, 1).exception(15)
    assert isinstance(error, WorkerDied)
    assert "sandbox" in str(error)
