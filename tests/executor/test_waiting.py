"""`wait` and `as_completed` know the futures of every backend, mixed with any others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from lambdafutures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, as_completed, wait
from tests import calls
from tests.conftest import wait_until


@pytest.fixture
def go(tmp_path):
    """A file that blocked calls wait for; they go on at the end of the test, whatever it does."""
    path = tmp_path / "go"
    yield path
    path.touch()


def test_wait_for_all(ex):
    futures = [ex.submit(calls.identity, x) for x in range(10)]
    for kind in (ALL_COMPLETED, FIRST_EXCEPTION):
        assert wait(futures, return_when=kind) == (set(futures), set())
    assert wait([]) == (set(), set())


def test_wait_for_the_first_to_end(ex, go):
    blocked = ex.submit(calls.wait_for_file, str(go))
    quick = ex.submit(calls.identity, 1)
    assert wait([blocked, quick], return_when=FIRST_COMPLETED) == ({quick}, {blocked})
    # One that has ended already is enough, too.
    assert wait([blocked, quick], return_when=FIRST_COMPLETED) == ({quick}, {blocked})


def test_wait_for_the_first_exception(ex, go):
    quick = ex.submit(calls.identity, 1)
    quick.result()
    blocked = ex.submit(calls.wait_for_file, str(go))
    failing = ex.submit(calls.fail, 1)
    done, not_done = wait([blocked, quick, failing], return_when=FIRST_EXCEPTION)
    assert (done, not_done) == ({quick, failing}, {blocked})
    # One that has failed already is enough, too.
    assert wait([blocked, failing], return_when=FIRST_EXCEPTION) == ({failing}, {blocked})


def test_wait_with_a_time_out(ex, go):
    quick = ex.submit(calls.identity, 1)
    quick.result()
    blocked = ex.submit(calls.wait_for_file, str(go))
    assert wait([quick, blocked], timeout=0.05) == ({quick}, {blocked})
    assert wait([quick, blocked], timeout=0) == ({quick}, {blocked})
    go.touch()
    assert wait([quick, blocked], timeout=20) == ({quick, blocked}, set())


def test_wait_counts_what_was_cancelled_as_done(make, go):
    ex = make(1)
    blocked = ex.submit(calls.wait_for_file, str(go))
    waiting = [ex.submit(calls.identity, x) for x in range(3)]
    wait_until(blocked.running)
    assert waiting[1].cancel()
    done, _ = wait([blocked, waiting[1]], 10, FIRST_COMPLETED)
    assert done == {waiting[1]}
    go.touch()
    assert wait([blocked, *waiting], 20) == ({blocked, *waiting}, set())


def test_duplicates_count_once(ex):
    future = ex.submit(calls.identity, 1)
    assert wait([future, future]) == ({future}, set())
    assert list(as_completed([future, future])) == [future]


def test_as_completed_gives_futures_in_the_order_of_their_end(ex, go):
    blocked = ex.submit(calls.wait_for_file, str(go))
    quick = [ex.submit(calls.identity, x) for x in range(5)]
    found = as_completed([blocked, *quick], timeout=20)
    assert {next(found) for _ in quick} == set(quick)
    go.touch()
    assert list(found) == [blocked]
    assert list(as_completed([])) == []


def test_as_completed_gives_failures_and_cancelled_ones_too(make, go):
    ex = make(1)
    blocked = ex.submit(calls.wait_for_file, str(go))
    waiting = ex.submit(calls.identity, 1)
    failing = ex.submit(calls.fail, 1)
    wait_until(blocked.running)
    waiting.cancel()
    found = as_completed([blocked, waiting, failing], timeout=20)
    assert next(found) is waiting
    go.touch()
    assert list(found) == [blocked, failing]


def test_as_completed_times_out_after_giving_what_is_there(ex, go):
    quick = ex.submit(calls.identity, 1)
    quick.result()
    found = as_completed([ex.submit(calls.wait_for_file, str(go)), quick], timeout=0.05)
    assert next(found) is quick
    with pytest.raises(TimeoutError, match="1 .of 2. futures unfinished"):
        next(found)


def test_futures_of_several_executors_are_waited_for_together(make, go):
    release = Event()
    with ThreadPoolExecutor(1) as threads:
        theirs = threads.submit(release.wait)
        ours = [make(1).submit(calls.identity, x) for x in range(2)]
        blocked = make(1).submit(calls.wait_for_file, str(go), 9)
        every = [theirs, blocked, *ours]
        found = as_completed(every, timeout=20)
        assert {next(found), next(found)} == set(ours)
        assert wait(every, timeout=0.01) == (set(ours), {theirs, blocked})
        release.set()
        assert next(found) is theirs
        go.touch()
        assert next(found).result() == 9
        assert wait(every) == (set(every), set())
