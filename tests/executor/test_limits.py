"""Calls that take too long, too much, or their worker with them: only they fail."""

from __future__ import annotations

import itertools
import os
from concurrent.futures.process import BrokenProcessPool

import pytest

from lambdafutures import Limits, RetryPolicy
from lambdafutures.exceptions import CallTimeout, OutOfMemory, WorkerDied
from tests import calls

ONCE = RetryPolicy(attempts=1)
# Set-up counts too, and on a busy machine a worker's imports may take several hundred milliseconds.
TIME_S = 1.2

own_process = pytest.mark.not_on(
    "memory", reason="a call that crashes takes the client with it, and memory is the client's own"
)


@pytest.fixture
def go(tmp_path):
    """A file that slow calls wait for; threads cannot be ended and go on when the test is over."""
    path = tmp_path / "go"
    yield path
    path.touch()


def test_a_call_over_its_time_limit_fails_and_its_neighbours_keep_their_results(make, go, tmp_path):
    def note_and_wait(folder, x, path):
        calls.note_run(folder, x)
        calls.spin(0.005)  # what ended a moment ago may run again
        if x == 2:
            calls.wait_for_file(path)
        return x

    ex = make(1, limits=Limits(time_s=TIME_S))
    folder, path = itertools.repeat(str(tmp_path)), itertools.repeat(str(go))
    results = ex.map(note_and_wait, folder, range(5), path, chunksize=5, return_exceptions=True)
    quick = ex.submit(calls.identity, 1)
    found = list(results)
    error = found.pop(2)
    assert isinstance(error, CallTimeout)
    assert isinstance(error, TimeoutError)
    assert f"had not returned after its time limit of {TIME_S:g} s (tried once)" in str(error)
    assert found == [0, 1, 3, 4]
    assert quick.result(20) == 1
    assert [calls.runs(tmp_path, x) for x in range(5)] == [1] * 5


def test_a_time_limit_can_be_retried_after(make, go, tmp_path):
    def slow_the_first_time(folder, path):
        calls.note_run(folder, "slow")
        if calls.runs(folder, "slow") == 1:
            calls.wait_for_file(path)
        return "quick"

    retry = RetryPolicy(attempts=2, on_exceptions=(CallTimeout,), backoff_s=0.001)
    ex = make(1, limits=Limits(time_s=TIME_S), retry=retry)
    future = ex.submit(slow_the_first_time, str(tmp_path), str(go))
    assert future.result(20) == "quick"
    assert future.attempts == 2


@own_process
def test_a_call_over_its_memory_limit_is_ended_with_the_figures(make):
    ex = make(1, limits=Limits(memory_mb=120), retry=ONCE)
    with pytest.raises(OutOfMemory, match=r"used \d+ MiB of memory, .*limit of 120"):
        ex.submit(calls.allocate, 300).result(20)
    assert ex.submit(calls.identity, 1).result(20) == 1


@own_process
@pytest.mark.parametrize("chunksize", [1, 8])
def test_a_call_whose_worker_dies_is_tried_again(make, tmp_path, chunksize):
    ex = make(2)
    folder = itertools.repeat(str(tmp_path))
    results = ex.map(
        calls.die_the_first_time, folder, range(16), itertools.repeat(5), chunksize=chunksize
    )
    assert list(results) == list(range(16))
    assert ex.statistics().retries >= 1
    assert calls.runs(tmp_path, 5) == 2


@own_process
def test_the_call_that_kills_its_workers_is_blamed_and_its_neighbours_succeed(make, tmp_path):
    ex = make(2)
    folder = itertools.repeat(str(tmp_path))
    results = ex.map(calls.die_always, folder, range(12), itertools.repeat(5), chunksize=12)
    assert list(itertools.islice(results, 5)) == list(range(5))
    with pytest.raises(WorkerDied, match=r"call 5 of chunk 0 .*SIGKILL.*tried 3 times"):
        next(results)
    assert ex.submit(calls.identity, 1).result(20) == 1
    assert calls.runs(tmp_path, 5) == 3
    assert all(calls.runs(tmp_path, x) in (1, 2) for x in range(12) if x != 5)


@own_process
def test_calls_that_had_ended_keep_their_results_when_the_next_one_kills_the_worker(make, tmp_path):
    def slow_then_die(folder, x):
        calls.note_run(folder, x)
        calls.spin(0.01)
        if x == 3:
            calls.die()
        return x

    ex = make(1, retry=ONCE)
    results = ex.map(slow_then_die, itertools.repeat(str(tmp_path)), range(6), chunksize=6)
    assert list(itertools.islice(results, 3)) == [0, 1, 2]
    with pytest.raises(WorkerDied):
        next(results)
    ex.shutdown()
    assert [calls.runs(tmp_path, x) for x in range(6)] == [1] * 6


@own_process
def test_a_dead_worker_is_a_broken_process_pool_but_the_pool_goes_on(make):
    ex = make(1, retry=ONCE)
    future = ex.submit(calls.die)
    with pytest.raises(BrokenProcessPool, match=r"call 0 .*was killed by SIGKILL.*tried once"):
        future.result(20)
    assert future.attempts == 1
    assert ex.submit(calls.identity, 2).result(20) == 2
    with pytest.raises(WorkerDied, match="exited with status 7"):
        ex.submit(os._exit, 7).result(20)
    assert ex.submit(calls.identity, 3).result(20) == 3


@own_process
def test_a_crash_tells_where_it_was(make):
    ex = make(1, retry=ONCE)
    with pytest.raises(WorkerDied, match=r"SIGSEGV(.|\n)*in crash") as caught:
        ex.submit(calls.crash).result(20)
    assert "Segmentation fault" in str(caught.value)


@own_process
def test_a_call_that_forks_and_comes_back_twice_is_answered_once(ex):
    assert ex.submit(calls.fork_and_return).result() in ("parent", "child")
    assert list(ex.map(calls.identity, range(20))) == list(range(20))
