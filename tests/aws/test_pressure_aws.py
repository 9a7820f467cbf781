"""Little room, slow starts, odd clocks: what AWS does to many calls at once, over HTTP."""

from __future__ import annotations

import threading
import time
import types
from collections.abc import Callable
from typing import Any

import pytest

from lambdafutures import RetryPolicy
from lambdafutures._backends import lambda_invoker
from lambdafutures._engine import crowding
from lambdafutures.events import AttemptEnded, AttemptSent, Event
from tests import calls
from tests.aws.conftest import BUCKET, FUNCTION, MODES, Aws
from tests.benchmarks.requests import stand_in
from tests.strict_aws import ScalingSettings
from tests.strict_aws.latency import heavy_tail

modes = pytest.mark.parametrize("mode", MODES)
ONCE = RetryPolicy(attempts=1)


class InFlight:
    """Observe how many attempts are under way, each time that one is sent."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self._now = 0
        self._lock = threading.Lock()

    def on_event(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, AttemptSent):
                self._now += 1
                self.seen.append(self._now)
            elif isinstance(event, AttemptEnded):
                self._now -= 1


@pytest.fixture
def make_crowd(make_aws: Callable[..., Aws]) -> Callable[..., Aws]:
    """A fake whose function answers without a process: hundreds of environments at once."""

    def make(call_s: float, **settings: Any) -> Aws:
        aws = make_aws(**settings)
        aws.fake.delete_function(FUNCTION)
        aws.fake.create_function(
            FUNCTION, respond=stand_in(lambda: aws.fake, call_s), max_retries=0, timeout_s=30
        )
        return aws

    return make


# -------------------------------------------------------------------- hidden throttles


def test_events_that_wait_out_of_sight_lower_what_is_in_flight(make_aws, monkeypatch):
    # A fifth of Lambda's times: an Event without room is put off for 0.2 s, 0.4 s, 0.8 s.
    monkeypatch.setattr(crowding, "LATE_S", 0.1)
    aws = make_aws(scaling=ScalingSettings(account_concurrency=4), time_scale=0.2)
    aws.deploy(warm=4)
    watch = InFlight()
    with aws.executor(32, "poll", retry=ONCE, observers=[watch]) as ex:
        assert list(ex.map(calls.rest, [0.05] * 240)) == [0.05] * 240
    assert aws.fake.peak_concurrency(FUNCTION) <= 4
    assert max(watch.seen) == 32
    late = watch.seen[160:]
    assert sum(late) / len(late) < 10
    events = aws.fake.events
    assert {event.status for event in events} == {"done"}
    assert sum(event.throttles for event in events[160:]) < 3 * 80


def test_throttles_that_speak_are_all_that_counts_for_responses(aws: Aws, monkeypatch):
    monkeypatch.setattr(crowding, "LATE_S", -1e9)  # whatever waited would be late
    watch = InFlight()
    with aws.executor(4, "response", observers=[watch]) as ex:
        assert list(ex.map(calls.rest, [0.02] * 40)) == [0.02] * 40
    assert min(watch.seen[4:]) == 4


# -------------------------------------------------------------------- clocks


@pytest.mark.parametrize("behind_s", [300.0, -300.0])
def test_a_client_whose_clock_is_wrong_loses_no_event(aws: Aws, monkeypatch, behind_s, tmp_path):
    monkeypatch.setattr(lambda_invoker, "QUEUE_S", 5.0)
    aws.deploy(timeout_s=4)
    clock = types.SimpleNamespace(
        time=lambda: time.time() - behind_s, monotonic=time.monotonic, __name__="time"
    )
    monkeypatch.setattr(lambda_invoker, "time", clock)
    with aws.executor(2, "poll", retry=ONCE) as ex:
        for x in range(6):
            assert ex.submit(calls.note_run, str(tmp_path), x).result(20) == x
    assert all(calls.runs(tmp_path, x) == 1 for x in range(6))


def test_with_a_wrong_clock_too_an_event_after_its_deadline_runs_nothing(
    aws: Aws, monkeypatch, tmp_path
):
    monkeypatch.setattr(lambda_invoker, "QUEUE_S", 0.5)
    aws.deploy(timeout_s=2)
    clock = types.SimpleNamespace(time=lambda: time.time() + 300, monotonic=time.monotonic)
    monkeypatch.setattr(lambda_invoker, "time", clock)
    # The first is answered, the second teaches the client AWS's clock, the third is late.
    aws.fake.script.on("Invoke", invocation_type="Event", nth=2).delay_event(5.0)
    with aws.executor(2, "poll") as ex:
        assert [ex.submit(calls.identity, x).result() for x in range(2)] == [0, 1]
        future = ex.submit(calls.note_run, str(tmp_path), 2)
        assert future.result(15) == 2
        assert future.attempts == 2
        aws.fake.wait_quiet()
    assert calls.runs(tmp_path, 2) == 1


# -------------------------------------------------------------------- ramp and tails


@modes
def test_the_ramp_of_environments_is_climbed(make_crowd, mode):
    # A hundredth of Lambda's: 10 environments at once, and 10 more every tenth of a second.
    scaling = ScalingSettings(ramp_environments=10, retry_after_s=0, cold_start_s=2.0)
    aws = make_crowd(0.2, scaling=scaling, time_scale=0.02)
    with aws.executor(60, mode, retry=ONCE) as ex:
        assert list(ex.map(abs, range(-300, 0))) == [None] * 300
    assert sum(aws.fake.throttles.values()) > 0
    assert 10 < aws.fake.peak_concurrency(FUNCTION) <= 60
    assert aws.keys() == []


@modes
def test_latencies_with_a_heavy_tail_change_no_result(make_crowd, mode):
    aws = make_crowd(0.01)
    aws.fake.latency["*"] = heavy_tail(0.005, 1.2, longest_s=1.5)
    aws.fake.event_settings.delivery_delay_s = heavy_tail(0.01, 1.2, longest_s=1.5)
    with aws.executor(40, mode, retry=ONCE) as ex:
        assert list(ex.map(abs, range(300))) == [None] * 300
        # Delays are no faults: nothing was sent twice.
        assert ex.statistics().attempts == 300
    assert aws.fake.requests["Invoke"] == 300
    assert aws.fake.objects(BUCKET) == {}
