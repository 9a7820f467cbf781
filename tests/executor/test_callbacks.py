"""Done-callbacks: their order, their exceptions, and what they may do."""

from __future__ import annotations

import threading

import pytest

from lambdafutures.exceptions import BackendError
from tests import calls
from tests.conftest import wait_until


@pytest.fixture
def blocked(make, tmp_path):
    """A call that has not ended, and what lets it."""
    future = make(1).submit(calls.wait_for_file, str(tmp_path / "go"), 1)
    yield future, (tmp_path / "go").touch
    (tmp_path / "go").touch()


def test_callbacks_are_called_in_their_order_with_the_future(blocked):
    future, release = blocked
    seen = []
    for number in range(3):
        future.add_done_callback(lambda done, number=number: seen.append((number, done)))
    release()
    wait_until(lambda: len(seen) == 3)
    assert seen == [(number, future) for number in range(3)]


def test_a_callback_of_what_has_ended_is_called_at_once_by_this_thread(ex):
    future = ex.submit(calls.identity, 1)
    future.result()
    seen = []
    future.add_done_callback(lambda done: seen.append((done, threading.get_ident())))
    assert seen == [(future, threading.get_ident())]


def test_callbacks_find_the_future_done_whatever_became_of_it(make, tmp_path):
    go = tmp_path / "go"
    ex = make(1)
    seen = {}
    futures = {
        "runs": ex.submit(calls.wait_for_file, str(go)),
        "fails": ex.submit(calls.fail, 1),
        "cancelled": ex.submit(calls.identity, 1),
    }
    wait_until(futures["runs"].running)
    for name, future in futures.items():
        future.add_done_callback(lambda done, name=name: seen.update({name: done.done()}))
    futures["cancelled"].cancel()
    assert seen == {"cancelled": True}
    go.touch()
    wait_until(lambda: len(seen) == 3)
    assert seen == dict.fromkeys(futures, True)


def test_a_callback_that_raises_is_logged_and_the_next_one_called(blocked, caplog):
    future, release = blocked
    called = threading.Event()
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(lambda _: called.set())
    release()
    assert called.wait(20)
    assert "exception calling callback" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_callback_that_waits_for_another_call_stops_nothing(make):
    ex = make(1)
    seen = []

    def callback(future):
        seen.append(ex.submit(calls.identity, future.result() + 100).result())

    futures = [ex.submit(calls.identity, x) for x in range(10)]
    for future in futures:
        future.add_done_callback(callback)
    assert [future.result(20) for future in futures] == list(range(10))
    wait_until(lambda: len(seen) == 10)
    assert sorted(seen) == list(range(100, 110))


def test_callbacks_that_block_hold_up_no_result(make):
    release = threading.Event()
    ex = make(1)
    try:
        blocked = [ex.submit(calls.identity, x) for x in range(3)]
        for future in blocked:
            future.add_done_callback(lambda _: release.wait())
        assert list(ex.map(calls.identity, range(20))) == list(range(20))
        later = ex.submit(calls.identity, 5)
        called = threading.Event()
        later.add_done_callback(lambda _: called.set())
        assert called.wait(20)
    finally:
        release.set()


def test_a_callback_may_shut_the_executor_down(make):
    ex = make(1)
    done = threading.Event()

    def callback(_):
        ex.shutdown(wait=True)
        done.set()

    ex.submit(calls.identity, 1).add_done_callback(callback)
    assert done.wait(20)
    with pytest.raises(RuntimeError):
        ex.submit(calls.identity, 1)
    ex.shutdown()


def test_what_was_cancelled_stays_so_when_the_executor_breaks_in_that_moment(make, tmp_path):
    told = []
    cancelled = threading.Event()
    ex = make(1)
    running = ex.submit(calls.wait_for_file, str(tmp_path / "go"))
    wait_until(running.running)
    waiting = ex.submit(calls.identity, 1)
    waiting.add_done_callback(told.append)
    session = ex._pool.session

    def breaks():
        assert cancelled.wait(20)
        session.on_broken(BackendError("broken"))

    session._portal.call(breaks)
    assert waiting.cancel()
    cancelled.set()
    assert isinstance(running.exception(20), BackendError)
    (tmp_path / "go").touch()
    ex.shutdown()
    assert waiting.cancelled()
    assert told == [waiting]
    assert ex.statistics().calls_cancelled == 1
