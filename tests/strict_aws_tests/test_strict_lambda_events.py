"""Asynchronous invocations: the queue, its re-runs, its hidden throttles."""

import json
from collections import Counter
from typing import Any

import pytest

from tests.strict_aws import StrictAws


class Counting:
    """An inline function that counts its runs and fails the first so many of each event."""

    def __init__(self, failures: int = 0) -> None:
        self.runs: Counter[bytes] = Counter()
        self._failures = failures

    def __call__(self, event: bytes) -> bytes:
        self.runs[event] += 1
        if self.runs[event] <= self._failures:
            raise ValueError("not yet")
        return b"null"


def send(client: Any, event: Any = None, name: str = "f") -> dict[str, Any]:
    answer: dict[str, Any] = client.invoke(
        FunctionName=name, InvocationType="Event", Payload=json.dumps(event)
    )
    return answer


def test_an_event_is_accepted_and_runs_later(aws: StrictAws, lambda_: Any) -> None:
    function = Counting()
    aws.create_function("f", respond=function)
    answer = send(lambda_, 1)
    assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    aws.wait_quiet()
    assert function.runs == {b"1": 1}
    assert [(event.status, event.runs) for event in aws.events] == [("done", 1)]


def test_an_event_runs_in_a_process(aws: StrictAws, lambda_: Any, code_dir: Any) -> None:
    aws.create_function("f", code_dir)
    send(lambda_, {"do": "print", "bytes": 3})
    aws.wait_quiet()
    assert "yyy" in aws.function_log("f")


@pytest.mark.parametrize(
    ("max_retries", "failures", "status", "runs"),
    [(2, 9, "failed", 3), (0, 9, "failed", 1), (1, 9, "failed", 2), (2, 1, "done", 2)],
)
def test_errors_are_run_again(
    aws: StrictAws, lambda_: Any, max_retries: int, failures: int, status: str, runs: int
) -> None:
    aws.time_scale = 1e-5
    function = Counting(failures)
    aws.create_function("f", respond=function, max_retries=max_retries)
    send(lambda_)
    aws.wait_quiet()
    assert function.runs == {b"null": runs}
    [event] = aws.events
    assert (event.status, event.runs, len(event.errors)) == (status, runs, min(runs, failures))


def test_throttled_events_wait_in_the_queue(aws: StrictAws, lambda_: Any) -> None:
    aws.time_scale = 1e-4
    function = Counting()
    aws.create_function("f", respond=function, reserved_concurrency=0)
    assert send(lambda_)["StatusCode"] == 202
    with pytest.raises(TimeoutError):
        aws.wait_quiet(0.05)
    aws.function("f").reserved = 1
    aws.wait_quiet()
    assert function.runs == {b"null": 1}
    assert aws.events[0].throttles > 0
    assert aws.requests == {"Invoke": 1}  # nothing of it is seen outside


def test_an_event_that_is_too_old_is_dropped(aws: StrictAws, lambda_: Any) -> None:
    aws.time_scale = 1e-4
    aws.create_function("f", respond=Counting(), reserved_concurrency=0)
    lambda_.put_function_event_invoke_config(FunctionName="f", MaximumEventAgeInSeconds=60)
    send(lambda_)
    aws.wait_quiet()
    assert [(event.status, event.runs) for event in aws.events] == [("expired", 0)]


def test_events_of_a_deleted_function_end(aws: StrictAws, lambda_: Any) -> None:
    aws.time_scale = 1e-4
    aws.create_function("f", respond=Counting(), reserved_concurrency=0)
    send(lambda_)
    aws.delete_function("f")
    aws.wait_quiet()
    assert [event.status for event in aws.events] == ["failed"]


def test_lost_and_duplicated_events(aws: StrictAws, lambda_: Any) -> None:
    function = Counting()
    aws.create_function("f", respond=function)
    aws.script.on("Invoke", nth=2).lose_event()
    aws.script.on("Invoke", nth=3).duplicate_event(delay_s=0.02)
    ids = [send(lambda_, n)["ResponseMetadata"]["RequestId"] for n in range(4)]
    aws.wait_quiet()
    assert function.runs == {b"0": 1, b"2": 2, b"3": 1}
    assert [event.status for event in aws.events if event.invocation.request_id == ids[1]] == [
        "lost"
    ]
    twice = [event for event in aws.events if event.invocation.request_id == ids[2]]
    assert [event.is_duplicate for event in twice] == [False, True]


def test_rates_hit_the_same_events_in_every_run(aws: StrictAws, lambda_: Any) -> None:
    hit: list[list[int]] = []
    for _ in range(2):
        function = Counting()
        aws.create_function("f", respond=function)
        rule = aws.script.on("Invoke", rate=0.3, seed=7).lose_event()
        for number in range(30):
            send(lambda_, number)
        aws.wait_quiet()
        rule.remove()
        hit.append([number for number in range(30) if not function.runs[b"%d" % number]])
        assert len(hit[-1]) == rule.fired
    assert hit[0] == hit[1]
    assert 3 <= len(hit[0]) <= 15


def test_a_killed_runtime_is_run_again(aws: StrictAws, lambda_: Any, code_dir: Any) -> None:
    aws.time_scale = 1e-5
    aws.create_function("f", code_dir)
    aws.script.on("Invoke", nth=1).kill_runtime(after_s=0.05)
    send(lambda_, {"do": "sleep", "s": 0.3})
    aws.wait_quiet()
    [event] = aws.events
    assert (event.status, event.runs) == ("done", 2)
    assert b"signal: killed" in event.errors[0]


def test_events_can_stay_in_the_queue(aws: StrictAws, lambda_: Any) -> None:
    aws.time_scale = 0.001
    aws.create_function("f", respond=Counting())
    aws.script.on("Invoke", nth=2).delay_event(1e9)
    aws.event_settings.delivery_delay_s = 20.0
    for number in range(2):
        send(lambda_, number)
    with pytest.raises(TimeoutError):
        aws.wait_quiet(0.2)
    assert [event.status for event in aws.events] == ["done", "queued"]
