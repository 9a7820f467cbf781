"""What `map` and the executor offer beyond the standard library."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest

from lambdafutures import RetryPolicy, wait
from lambdafutures.exceptions import CallTimeout, WorkerDied
from tests import calls
from tests.conftest import wait_until

# -------------------------------------------------------------------- starmap


def test_starmap_spreads_the_arguments(ex):
    pairs = [(x, y) for x in range(5) for y in range(3)]
    assert list(ex.starmap(calls.add, pairs)) == [x + y for x, y in pairs]
    assert list(ex.starmap(calls.add, iter([[1, 2], [3, 4]]), chunksize="auto")) == [3, 7]
    results = ex.starmap(calls.add, zip(itertools.count(), itertools.count()), buffersize=2)
    assert list(itertools.islice(results, 4)) == [0, 2, 4, 6]
    results.close()


@pytest.mark.parametrize("method", ["map", "starmap"])
def test_options_of_a_map_are_checked(ex, method):
    start = getattr(ex, method)
    with pytest.raises(ValueError, match="chunksize must be >= 1"):
        start(calls.add, [(1, 2)], chunksize=0)
    with pytest.raises(ValueError, match="buffersize must be None or > 0"):
        start(calls.add, [(1, 2)], buffersize=0)
    with pytest.raises(TypeError, match="buffersize must be an integer or None"):
        start(calls.add, [(1, 2)], buffersize="2")


# -------------------------------------------------------------------- ordered, return_exceptions


def test_unordered_results_come_as_their_chunks_complete(ex, tmp_path):
    go = str(tmp_path / "go")
    results = ex.map(calls.wait_for_file_if, [go, "", "", ""], range(4), ordered=False)
    first = list(itertools.islice(results, 3))
    assert sorted(first) == [1, 2, 3]
    (tmp_path / "go").touch()
    assert list(results) == [0]


@pytest.mark.parametrize("buffersize", [None, 1, 3])
@pytest.mark.parametrize("chunksize", [1, 7])
def test_unordered_results_are_all_there(ex, chunksize, buffersize):
    results = ex.map(
        calls.identity, range(30), chunksize=chunksize, buffersize=buffersize, ordered=False
    )
    assert sorted(results) == list(range(30))


def test_an_unordered_map_times_out_and_cancels_the_rest(make, tmp_path):
    go = tmp_path / "go"
    with make(1) as ex:
        results = ex.map(calls.wait_for_file, [str(go)] * 5, range(5), timeout=0.05, ordered=False)
        with pytest.raises(TimeoutError):
            next(results)
        go.touch()
    assert ex.statistics().calls_cancelled >= 3


@pytest.mark.parametrize("ordered", [True, False])
def test_exceptions_may_be_results(ex, ordered):
    results = ex.map(
        calls.fail_on,
        range(10),
        itertools.repeat(4),
        chunksize=3,
        ordered=ordered,
        return_exceptions=True,
    )
    found = sorted(results, key=lambda each: 4 if isinstance(each, ValueError) else each)
    assert isinstance(found[4], ValueError)
    assert found[:4] + found[5:] == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_a_call_that_cannot_be_pickled_is_a_result_of_its_own(ex):
    items = [1, threading.Lock(), 3]
    one, lock, three = ex.map(calls.identity, items, chunksize=3, return_exceptions=True)
    assert (one, three) == (1, 3)
    assert isinstance(lock, TypeError)


def test_cancelled_calls_are_results_of_their_own(make, tmp_path):
    go = tmp_path / "go"
    with make(1) as ex:
        results = ex.map(
            calls.wait_for_file, [str(go)] * 40, range(40), chunksize=10, return_exceptions=True
        )
        wait_until(lambda: ex.statistics().attempts > 0)
        ex.shutdown(wait=False, cancel_futures=True)
        go.touch()
        found = list(results)
    assert len(found) == 40
    assert found[:10] == list(range(10))
    assert {type(each).__name__ for each in found[10:]} == {"CancelledError"}


def test_a_time_out_is_raised_even_where_exceptions_are_results(ex, tmp_path):
    go = tmp_path / "go"
    results = ex.map(calls.wait_for_file, [str(go)], timeout=0.05, return_exceptions=True)
    with pytest.raises(TimeoutError):
        next(results)
    go.touch()


def test_a_map_is_an_iterator(ex):
    results = ex.map(calls.identity, range(3))
    assert iter(results) is results
    assert next(results) == 0
    results.close()
    assert list(results) == []


# -------------------------------------------------------------------- options per call


def test_calls_have_time_limits_of_their_own(make, tmp_path):
    go = tmp_path / "go"
    ex = make(1)
    hurried = ex.with_options(time_s=1.2)
    assert isinstance(hurried.submit(calls.wait_for_file, str(go)).exception(20), CallTimeout)
    # It changes nothing of what the executor itself does.
    patient = ex.submit(calls.wait_for_file, str(go), "waited")
    go.touch()
    assert patient.result(20) == "waited"
    assert ex.statistics() == hurried.statistics()


@pytest.mark.not_on("memory", reason="a call that kills its worker kills the client")
def test_calls_have_tries_of_their_own(make):
    ex = make(1)
    for attempts, tried in ((1, "once"), (2, "2 times")):
        other = ex.with_options(retry=RetryPolicy(attempts=attempts))
        error = other.submit(calls.die, 1).exception(20)
        assert isinstance(error, WorkerDied)
        assert f"tried {tried}" in str(error)
    assert "tried 3 times" in str(ex.submit(calls.die, 1).exception(20))


def test_it_is_one_pool(make):
    ex = make(1)
    other = ex.with_options(time_s=5)
    name = ex.submit(calls.worker_name).result()
    assert other.submit(calls.worker_name).result() == name
    other.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        ex.submit(calls.pid)


def test_a_map_with_options_outlives_the_executor_it_was_made_through(ex):
    results = ex.with_options(time_s=5).map(calls.identity, range(30), buffersize=2)
    assert list(results) == list(range(30))


# -------------------------------------------------------------------- asyncio


def test_async_with_and_async_for(make):
    async def main():
        async with make(2) as ex:
            assert [y async for y in ex.map(calls.identity, range(50), chunksize=3)] == [*range(50)]
            endless = ex.map(calls.identity, itertools.count(), buffersize=3)
            found = []
            async for y in endless:
                found.append(y)
                if y == 10:
                    break
            assert found == list(range(11))
            unordered = ex.map(calls.identity, range(20), ordered=False, buffersize=4)
            assert sorted([y async for y in unordered]) == list(range(20))
            failing = aiter(ex.map(calls.fail_on, range(10), itertools.repeat(4), chunksize=5))
            assert [await anext(failing) for _ in range(4)] == [0, 1, 2, 3]
            with pytest.raises(ValueError, match="bad 4"):
                await anext(failing)
            failed = ex.map(calls.fail, range(3), return_exceptions=True)
            assert [type(y) async for y in failed] == [ValueError] * 3
            large = [y async for y in ex.map(bytes, [100_000] * 3)]
            assert large == [bytes(100_000)] * 3
            return ex

    ex = asyncio.run(main())
    with pytest.raises(RuntimeError, match="after shutdown"):
        ex.submit(calls.pid)


def test_an_async_map_times_out(make, tmp_path):
    go = tmp_path / "go"

    async def main():
        async with make(1) as ex:
            with pytest.raises(TimeoutError):
                await anext(aiter(ex.map(calls.wait_for_file, [str(go)], timeout=0.05)))
            go.touch()

    asyncio.run(main())


def test_a_block_that_is_cancelled_does_not_wait_for_what_has_not_begun(make, tmp_path):
    go = tmp_path / "go"

    futures = []

    async def work():
        async with make(1) as ex:
            futures.extend(ex.submit(calls.wait_for_file, str(go)) for _ in range(5))
            try:
                await asyncio.gather(*futures)
            finally:
                go.touch()

    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work(), 0.3)

    asyncio.run(main())
    assert all(future.done() for future in futures)
    assert any(future.cancelled() for future in futures)


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_what_is_awaited_is_unpickled_on_another_thread(make, tmp_path, size):
    """Unpickling may take long, and run code of the user's that blocks."""
    go = tmp_path / "go"

    async def main():
        loop_thread = threading.get_ident()
        async with make(1) as ex:
            blocker = ex.submit(calls.wait_for_file, str(go))
            waiting = asyncio.ensure_future(ex.submit(calls.KnowsItsThread, size))
            await asyncio.sleep(0)
            go.touch()
            assert (await waiting).thread != loop_thread
            await blocker
            if size > 65536:  # what has come home already is handed over, too, if it is large
                done = ex.submit(calls.KnowsItsThread, size)
                await asyncio.to_thread(wait, [done])
                assert (await done).thread != loop_thread
                threads = [y.thread async for y in ex.map(calls.KnowsItsThread, [size] * 3)]
                assert loop_thread not in threads

    asyncio.run(main())
