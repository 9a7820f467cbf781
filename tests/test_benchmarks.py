"""The benchmarks measure what they say: their AWS, their clock, and the law they compare with."""

from __future__ import annotations

import sys
import time

import pytest

from lambdafutures import LambdaPoolExecutor
from tests.benchmarks import lithops_answers, profiles, simulate
from tests.benchmarks.instant_aws import InstantAws
from tests.benchmarks.lambda_law import Environments, Law, ideal_s
from tests.benchmarks.paired import Pair
from tests.benchmarks.table import at_most, of_pair
from tests.benchmarks.virtual_time import VirtualTime
from tests.benchmarks.work import no_op

CALLS = 60


@pytest.mark.parametrize("mode", ["response", "poll"])
def test_the_instant_aws_answers_and_counts(mode):
    with InstantAws() as aws:
        with LambdaPoolExecutor(8, backend="aws", completion=mode) as ex:
            assert list(ex.map(no_op, range(CALLS), chunksize=2)) == [None] * CALLS
            counts = aws.counts()
        assert counts["Invoke"] == CALLS / 2
        assert counts.get("worker PutObject", 0) == (CALLS / 2 if mode == "poll" else 0)
        # What the session left is deleted: the server's listing and deleting work.
        assert ("DeleteObjects" in aws.counts()) == (mode == "poll")


def test_the_instant_aws_takes_its_time():
    with (
        InstantAws(lambda_s=0.02, run_s=0.03) as aws,
        LambdaPoolExecutor(1, backend="aws", completion="response") as ex,
    ):
        ex.submit(no_op, 1).result()
        began = time.perf_counter()
        ex.submit(no_op, 1).result()
        assert time.perf_counter() - began >= 0.05
        aws.set(run_s=0.0)
        assert ex.submit(no_op, 1).result() is None
        assert aws.counts() == {"Invoke": 1}


def test_lithops_is_answered_as_by_its_worker():
    body = (
        b'{"lithops_version": "3.8.0", "job_key": "a-b", "job_id": "b", "executor_id": "a", '
        b'"chunksize": 1, "host_submit_tstamp": 0, "call_ids": ["00000", "00001"]}'
    )
    assert lithops_answers.is_lithops(body)
    keys = [key for key, _ in lithops_answers.objects(body, 0.0)]
    assert keys == [
        f"lithops.jobs/a-b/{call}/{name}"
        for call in ("00000", "00001")
        for name in ("0.init", "status.json")
    ]


# -------------------------------------------------------------------- the simulation


def test_environments_are_given_out_by_the_law():
    now_s = 0.0
    environments = Environments(Law(warm=10, limit=1500, cold_s=0.5), lambda: now_s)
    starts = [environments.take() for _ in range(1200)]
    assert starts[:10] == [0.0] * 10
    assert starts[10:1010] == [0.5] * 1000
    assert starts[1010:] == [None] * 190
    now_s = 1.0
    assert [environments.take() for _ in range(101)] == [0.5] * 100 + [None]
    environments.give_back()
    assert environments.take() == 0.0
    now_s = 100.0
    for _ in range(1500):
        environments.take()
    assert environments.running == environments.peak == 1500


@pytest.mark.parametrize(
    ("law", "chunks", "seconds"),
    [
        (Law(100, 100), [2.0] * 100, 2.0),
        (Law(100, 100), [2.0] * 101, 4.0),
        (Law(0, 10_000, 0.5), [2.0] * 1000, 2.5),
        (Law(0, 10_000, 0.5), [2.0] * 1001, 2.51),
        (Law(0, 10_000, 0.5), [100.0] * 2000, 110.5),
        (Law(1000, 10_000, 0.0), [100.0] * 2000, 100.0),
    ],
)
def test_the_ideal_follows_from_the_law(law, chunks, seconds):
    assert ideal_s(law, chunks) == pytest.approx(seconds)


def test_no_simulation_is_quicker_than_the_ideal():
    law = Law(warm=50, limit=100, cold_s=0.2)
    for completion in ("response", "poll"):
        case = simulate.Case(calls=300, run_s=1.0, completion=completion, law=law)
        found = simulate.simulate(case)
        assert found.ideal_s <= found.makespan_s < 3 * found.ideal_s
        assert found.peak <= 100
        assert found.requests["Invoke"] >= 300
        assert found.requests["PutObject"] >= (300 if completion == "poll" else 0)


def test_a_simulation_is_the_same_each_time_but_for_threads():
    case = simulate.Case(calls=100, run_s=1.0, completion="response", law=Law(20, 20))
    first, second = simulate.simulate(case), simulate.simulate(case)
    assert first.makespan_s == pytest.approx(second.makespan_s, rel=0.05)
    assert first.ideal_s == second.ideal_s == 5.0


def test_virtual_time_passes_only_when_it_is_released():
    import asyncio

    with VirtualTime() as clock:
        loop = asyncio.new_event_loop()
        began = time.perf_counter()
        clock.release()
        loop.run_until_complete(asyncio.sleep(3600))
        loop.close()
        assert clock.now_s == time.monotonic() == pytest.approx(3600)
    assert time.perf_counter() - began < 60
    assert time.monotonic() != clock.now_s


# -------------------------------------------------------------------- the table


def test_a_goal_that_is_missed_is_called_so():
    assert at_most("x", 2.0, "us", 1.0).is_reached is False
    assert at_most("x", 1.0, "us", 1.0).is_reached is True
    assert at_most("x", 1.0, "us", 1.0, other=4.0, ratio_goal=5).is_reached is False
    assert at_most("x", 1.0, "us", other=4.0).is_reached is None
    pair = Pair([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    row = of_pair("x", pair, "ms", "theirs", goal=2.0, scale=1e3)
    assert (row.ours, row.other, row.ratio, row.is_reached) == (2000.0, 4000.0, 2.0, True)
    assert of_pair("x", pair, "calls/s", "theirs", goal=2.5, scale=-6.0).is_reached is False


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="cProfile follows one thread")
def test_a_profile_covers_all_threads(monkeypatch):
    monkeypatch.setitem(profiles.CALLS, "local", 200)
    shares = profiles.profiled("local")
    assert sum(shares.values()) == pytest.approx(1.0)
    layers = {profiles.layer(name) for name, share in shares.items() if share > 0}
    # The engine has a thread of its own, and this one submits.
    assert {"lambdafutures/_engine", "lambdafutures/_pool.py", "sockets"} <= layers
