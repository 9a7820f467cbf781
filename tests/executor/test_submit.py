"""`submit`: the call's value, its states, and what is known of it."""

from __future__ import annotations

import functools
import operator
import threading
import weakref
from concurrent.futures import CancelledError, Future

import pytest

from lambdafutures import LambdaFuture, wait
from tests import calls
from tests.conftest import wait_until


def test_submit_returns_a_future_of_the_calls_result(ex):
    future = ex.submit(calls.add, 1, y=2)
    assert isinstance(future, Future)
    assert isinstance(future, LambdaFuture)
    assert future.result() == 3
    assert future.result() == 3
    assert future.exception() is None


def test_every_name_may_be_a_keyword_of_the_call(ex):
    words = {"self": 1, "fn": 2, "args": 3, "timeout": 4}
    assert ex.submit(calls.kwargs_only, **words).result() == words


def test_lambdas_closures_and_partials_travel(ex):
    factor = 3
    assert ex.submit(lambda x: x * factor, 5).result() == 15
    assert ex.submit(functools.partial(calls.add, 1), y=5).result() == 6
    assert ex.submit(str.upper, "a").result() == "A"
    assert ex.submit("-".join, ["a", "b"]).result() == "a-b"


def test_a_closure_that_changes_between_submits_is_sent_as_it_is_then(ex):
    box = [1]

    def read():
        return box[0]

    first = ex.submit(read)
    box[0] = 2
    assert (first.result(), ex.submit(read).result()) == (1, 2)


def test_arguments_are_sent_as_they_are_when_they_are_submitted(make, tmp_path):
    go = tmp_path / "go"
    ex = make(1)
    ex.submit(calls.wait_for_file, str(go))
    box = [1]
    waiting = ex.submit(calls.identity, box)
    box.append(2)
    go.touch()
    assert waiting.result() == [1]


def test_a_callable_with_a_state_starts_anew_each_time(make):
    ex = make(1)
    counter = calls.Counter()
    assert [ex.submit(counter.count).result() for _ in range(3)] == [1, 1, 1]
    assert counter.number == 0
    gather = functools.partial(operator.iadd, [])
    assert [ex.submit(gather, [x]).result() for x in range(3)] == [[0], [1], [2]]


def test_the_states_of_a_call(make, tmp_path):
    go = tmp_path / "go"
    ex = make(1)
    running = ex.submit(calls.wait_for_file, str(go), 1)
    waiting = ex.submit(calls.identity, 2)
    wait_until(running.running)
    for future, runs in ((running, True), (waiting, False)):
        assert (future.running(), future.done(), future.cancelled()) == (runs, False, False)
        with pytest.raises(TimeoutError):
            future.result(timeout=0.001)
        with pytest.raises(TimeoutError):
            future.exception(timeout=0)
        assert not future._condition._waiters
    go.touch()
    assert (running.result(20), waiting.result(20)) == (1, 2)
    for future in (running, waiting):
        assert (future.running(), future.done(), future.cancelled()) == (False, True, False)


def test_no_more_calls_run_than_there_are_workers(make, tmp_path):
    go = tmp_path / "go"
    ex = make(2)
    futures = [ex.submit(calls.wait_for_file, str(go)) for _ in range(6)]
    wait_until(lambda: futures[1].running() and ex.statistics().calls_submitted == 6)
    assert [future.running() for future in futures] == [True, True, *[False] * 4]
    go.touch()
    done, _ = wait(futures, 20)
    assert done == set(futures)


def test_what_waits_can_be_cancelled_and_never_runs(make, tmp_path):
    go = tmp_path / "go"
    ex = make(1)
    blocker = ex.submit(calls.wait_for_file, str(go), "done")
    waiting = ex.submit(calls.note_run, str(tmp_path), "cancelled")
    later = ex.submit(calls.identity, 1)
    wait_until(blocker.running)
    assert waiting.cancel()
    assert waiting.cancel()
    assert (waiting.cancelled(), waiting.done(), waiting.running()) == (True, True, False)
    done, _ = wait([waiting], timeout=10)  # those who wait are told at once
    assert done == {waiting}
    for ask in (waiting.result, waiting.exception):
        with pytest.raises(CancelledError):
            ask()
    go.touch()
    assert (blocker.result(20), later.result(20)) == ("done", 1)
    assert calls.runs(str(tmp_path), "cancelled") == 0
    assert ex.statistics().calls_cancelled == 1


def test_what_runs_or_has_ended_cannot_be_cancelled(make, tmp_path):
    go = tmp_path / "go"
    ex = make(1)
    future = ex.submit(calls.wait_for_file, str(go), 1)
    wait_until(future.running)
    assert not future.cancel()
    go.touch()
    assert future.result(20) == 1
    assert not future.cancel()
    assert not future.cancelled()


def test_a_call_that_waits_can_be_met_by_the_next_one(make, tmp_path):
    """Short calls may be handed ahead to busy workers; none may wait behind one that blocks."""
    ex = make(2)
    list(ex.map(calls.identity, range(40)))
    for number in range(3):
        a, b = str(tmp_path / f"a{number}"), str(tmp_path / f"b{number}")
        futures = [
            *[ex.submit(calls.identity, x) for x in range(7)],
            ex.submit(calls.touch_and_wait, a, b),
            ex.submit(calls.touch_and_wait, b, a),
        ]
        assert [future.result(20) for future in futures[-2:]] == [a, b]


def test_nothing_keeps_arguments_or_results_alive(ex):
    class Thing:
        pass

    thing = Thing()
    seen = weakref.ref(thing)
    future = ex.submit(calls.identity, thing)
    result = future.result()
    returned = weakref.ref(result)
    del thing, result, future
    # The engine's thread may be in the middle of handing the result over.
    wait_until(lambda: seen() is None and returned() is None)
    results = ex.map(calls.identity, [Thing() for _ in range(3)], chunksize=3)
    first = weakref.ref(next(results))
    assert first() is None
    list(results)


def test_an_exception_that_was_raised_keeps_neither_future_nor_frames_alive(ex):
    future = ex.submit(calls.fail, 1)
    with pytest.raises(ValueError, match="bad 1"):
        future.result()
    gone = weakref.ref(future)
    del future
    wait_until(lambda: gone() is None)


def test_many_threads_may_submit(ex):
    results: dict[int, list[tuple[int, int]]] = {}

    def work(number):
        futures = [ex.submit(calls.identity, (number, x)) for x in range(20)]
        results[number] = [future.result() for future in futures]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: [(n, x) for x in range(20)] for n in range(8)}


def test_results_asked_for_by_many_threads_are_one_object(ex):
    future = ex.submit(calls.identity, list(range(100_000)))
    found = []
    threads = [threading.Thread(target=lambda: found.append(future.result())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(each is found[0] for each in found)


def test_numbers_of_a_call_are_on_its_future(ex):
    future = ex.submit(calls.spin, 0.02)
    assert future.timings is None
    assert future.output is None
    future.result()
    timings = future.timings
    assert timings is not None
    assert timings.submitted_s <= timings.sent_s <= timings.received_s <= timings.done_s
    assert timings.run_s >= 0.02
    assert timings.done_s - timings.sent_s >= timings.setup_s + timings.run_s + timings.packing_s
    assert future.attempts == 1
    assert (future.peak_memory_bytes or 0) > 1_000_000
    assert repr(future) == f"<LambdaFuture {future.call_id} finished attempts=1>"


def test_statistics_add_up(make):
    ex = make(2)
    list(ex.map(calls.identity, range(40), chunksize=10))
    assert ex.submit(calls.fail, 1).exception() is not None
    figures = ex.statistics()
    assert (figures.calls_submitted, figures.calls_done, figures.calls_failed) == (41, 41, 1)
    assert (figures.attempts, figures.retries, figures.chunks_open) == (5, 0, 0)
    assert 0 <= figures.setup_share <= 1
    assert figures.run_s <= figures.away_s


def test_a_call_that_opens_an_executor(ex, backend):
    assert ex.submit(calls.nested, 5, backend.nested).result() == 5
