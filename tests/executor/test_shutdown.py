"""How an executor ends: asked to, killed, left by an exception, or forgotten."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures.process import BrokenProcessPool

import pytest

from lambdafutures import wait
from tests import calls
from tests.conftest import wait_until

REFUSAL = "cannot schedule new futures after shutdown"


def test_shutdown_waits_for_pending_calls_and_takes_no_more(make):
    ex = make(2)
    futures = [ex.submit(calls.identity, x) for x in range(20)]
    ex.shutdown()
    assert all(future.done() for future in futures)
    for again in ({}, {"wait": True}, {"wait": False}, {"cancel_futures": True}):
        ex.shutdown(**again)
    ex.shutdown(True)  # by position, as some libraries have it
    with pytest.raises(RuntimeError, match=REFUSAL):
        ex.submit(calls.identity, 1)
    with pytest.raises(RuntimeError, match=REFUSAL):
        ex.map(calls.identity, [1])
    assert [future.result() for future in futures] == list(range(20))


def test_shutdown_without_waiting_finishes_the_calls(make, tmp_path):
    go = tmp_path / "go"
    ex = make(1)
    futures = [ex.submit(calls.wait_for_file, str(go), x) for x in range(3)]
    ex.shutdown(wait=False)
    assert not any(future.done() for future in futures)
    go.touch()
    assert [future.result(20) for future in futures] == [0, 1, 2]


def test_shutdown_right_after_submit_loses_nothing(make):
    for number in range(5):
        ex = make(1)
        future = ex.submit(calls.identity, number)
        ex.shutdown(wait=False)
        assert future.result(20) == number
        ex.shutdown()


@pytest.mark.parametrize("wait_", [True, False])
def test_shutdown_cancels_what_has_not_been_sent_and_wakes_those_who_wait(make, tmp_path, wait_):
    go = tmp_path / "go"
    ex = make(1)
    blocker = ex.submit(calls.wait_for_file, str(go))
    waiting = [ex.submit(calls.note_run, str(tmp_path), x) for x in range(5)]
    called = []
    for future in waiting:
        future.add_done_callback(called.append)
    wait_until(blocker.running)
    end = threading.Thread(target=ex.shutdown, kwargs={"wait": wait_, "cancel_futures": True})
    end.start()
    done, not_done = wait(waiting, timeout=20)
    assert not not_done
    assert all(future.cancelled() for future in done)
    go.touch()
    end.join()
    assert blocker.result(20) is None
    ex.shutdown()
    assert set(called) == set(waiting)
    assert not any(calls.runs(tmp_path, x) for x in range(5))


def test_several_threads_may_shut_down_at_once(make):
    ex = make(2)
    futures = [ex.submit(calls.identity, x) for x in range(10)]
    ends = [threading.Thread(target=ex.shutdown) for _ in range(4)]
    for end in ends:
        end.start()
    for end in ends:
        end.join()
    assert [future.result(0) for future in futures] == list(range(10))


def test_the_with_block_waits_also_when_it_is_left_by_an_exception(make):
    futures = []

    def block():
        with make(1) as ex:
            futures.extend(ex.submit(calls.identity, x) for x in range(5))
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        block()
    assert [future.result(0) for future in futures] == list(range(5))


def test_an_executor_that_is_collected_finishes_its_calls(make):
    ex = make(1)
    futures = [ex.submit(calls.identity, x) for x in range(3)]
    gone = weakref.ref(ex)
    del ex
    assert gone() is None
    assert [future.result(20) for future in futures] == [0, 1, 2]


def test_an_executor_and_its_futures_that_are_collected_leave_nothing(make, tmp_path):
    ex = make(1)
    future = ex.submit(calls.note_run, str(tmp_path), 1)
    future.cycle = future
    del ex, future
    gc.collect()
    wait_until(lambda: calls.runs(tmp_path, 1) == 1)


def test_an_executor_that_was_never_used_costs_nothing(make):
    before = threading.active_count()
    with make(2) as ex:
        assert threading.active_count() == before
        assert ex.statistics().workers_started == 0
    make(1).kill_workers()


@pytest.mark.parametrize("method", ["kill_workers", "terminate_workers"])
def test_killing_the_workers_ends_every_call_at_once(make, tmp_path, method):
    go = tmp_path / "go"
    ex = make(1)
    done = ex.submit(calls.identity, 1)
    assert done.result() == 1
    running = ex.submit(calls.wait_for_file, str(go))
    wait_until(running.running)
    waiting = [ex.submit(calls.note_run, str(tmp_path), x) for x in range(8)]
    getattr(ex, method)()
    go.touch()
    assert isinstance(running.exception(0), BrokenProcessPool)
    for future in waiting:  # a few may have been handed to the worker ahead
        assert future.cancelled() or isinstance(future.exception(0), BrokenProcessPool)
    assert waiting[-1].cancelled()
    assert done.result() == 1
    with pytest.raises(RuntimeError, match=REFUSAL):
        ex.submit(calls.identity, 1)


def test_a_backend_that_fails_to_close_holds_nobody_up(make, monkeypatch, caplog):
    ex = make(1)
    close = ex._pool.invoker.close

    async def fail():
        await close()
        raise RuntimeError("it is stuck")

    monkeypatch.setattr(ex._pool.invoker, "close", fail)
    assert ex.submit(calls.identity, 1).result() == 1
    ex.shutdown()
    assert "the backend could not be closed" in caplog.text
    assert "it is stuck" in caplog.text


def test_results_outlive_their_executor(make):
    with make(1) as ex:
        future = ex.submit(calls.identity, [1, 2])
        failed = ex.submit(calls.fail, 1)
    del ex
    assert future.result() == [1, 2]
    assert failed.exception().args == ("bad 1",)
