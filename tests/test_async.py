"""Futures in asyncio, done-callbacks, and observers."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest

from lambdafutures import LambdaFuture, LambdaPoolExecutor, events
from tests import calls
from tests.conftest import wait_until

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_futures_can_be_awaited(ex):
    async def main():
        futures = [ex.submit(pow, x, 2) for x in range(100)]
        return await asyncio.gather(*futures)

    assert asyncio.run(main()) == [x * x for x in range(100)]


def test_an_awaited_exception_is_raised(ex):
    async def main():
        with pytest.raises(ValueError, match="bad 1"):
            await ex.submit(calls.fail, 1)
        return await asyncio.get_running_loop().run_in_executor(ex, calls.identity, 3)

    assert asyncio.run(main()) == 3


def test_a_timeout_cancels_what_has_not_started(tmp_path):
    async def main(ex):
        blocker = ex.submit(calls.wait_for_file, str(tmp_path / "go"))
        waiting = ex.submit(calls.identity, 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiting, 0.05)
        assert waiting.cancelled()
        assert not blocker.cancelled()

    with LambdaPoolExecutor(1, backend="local") as ex:
        asyncio.run(main(ex))
        (tmp_path / "go").touch()


def test_the_coroutine_form_goes_into_task_groups(ex):
    async def main():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ex.submit(calls.identity, x).coroutine()) for x in range(5)]
        done, _ = await asyncio.wait([asyncio.create_task(ex.submit(abs, -9).coroutine())])
        return [task.result() for task in tasks], done.pop().result()

    assert asyncio.run(main()) == ([0, 1, 2, 3, 4], 9)


def test_wrap_future_and_as_completed(ex):
    async def main():
        wrapped = await asyncio.wrap_future(ex.submit(calls.identity, 1))
        found = [await each for each in asyncio.as_completed([ex.submit(abs, -x) for x in (1, 2)])]
        return wrapped, sorted(found)

    assert asyncio.run(main()) == (1, [1, 2])


def test_a_future_is_awaited_in_several_loops_and_threads_at_once(ex, tmp_path):
    go = tmp_path / "go"
    future = ex.submit(calls.wait_for_file, str(go), "there")
    ready = threading.Barrier(3)
    seen = []

    async def main():
        async def wait_for_it():
            return await future

        waiting = [asyncio.ensure_future(future), asyncio.create_task(wait_for_it())]
        await asyncio.sleep(0)
        await asyncio.to_thread(ready.wait)
        seen.append([*await asyncio.gather(*waiting), await future])

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    ready.wait()
    go.touch()
    for thread in threads:
        thread.join()
    assert seen == [["there"] * 3] * 2
    assert asyncio.run(future.coroutine()) == "there"


@pytest.mark.parametrize("wrap", [lambda f: f, asyncio.wrap_future, LambdaFuture.coroutine])
def test_a_timeout_never_cancels_what_runs(ex, tmp_path, wrap):
    go = tmp_path / "go"

    async def main():
        future = ex.submit(calls.wait_for_file, str(go), "there")
        wait_until(future.running)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wrap(future), 0.05)
        assert future.running()
        go.touch()
        return await future

    assert asyncio.run(main()) == "there"


def test_a_cancelled_task_cancels_a_call_that_has_not_started(tmp_path):
    async def main(ex):
        blocker = ex.submit(calls.wait_for_file, str(tmp_path / "go"))
        wait_until(blocker.running)
        waiting = [ex.submit(calls.identity, x) for x in range(3)]
        tasks = [asyncio.create_task(future.coroutine()) for future in waiting]
        await asyncio.sleep(0)
        tasks[0].cancel()
        shield = asyncio.shield(waiting[1])
        shield.cancel()
        done, not_done = await asyncio.wait(tasks, timeout=0.05)
        assert (done, not_done) == ({tasks[0]}, set(tasks[1:]))
        assert [future.cancelled() for future in waiting] == [True, False, False]
        (tmp_path / "go").touch()
        return await asyncio.gather(*tasks[1:])

    with LambdaPoolExecutor(1, backend="local") as ex:
        assert asyncio.run(main(ex)) == [1, 2]


def test_run_in_executor(tmp_path):
    async def main(ex):
        loop = asyncio.get_running_loop()
        blocker = loop.run_in_executor(ex, calls.wait_for_file, str(tmp_path / "go"), "there")
        waiting = loop.run_in_executor(ex, calls.note_run, str(tmp_path), 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiting, 0.05)
        (tmp_path / "go").touch()
        assert await blocker == "there"
        with pytest.raises(ValueError, match="bad 1") as caught:
            await loop.run_in_executor(ex, calls.fail, 1)
        assert 'raise ValueError(f"bad {x}")' in caught.value.__cause__.tb

    with LambdaPoolExecutor(1, backend="local") as ex:
        asyncio.run(main(ex))
    assert calls.runs(tmp_path, 1) == 0


def test_as_completed_in_asyncio_yields_what_ends_first_and_times_out(tmp_path):
    async def main(ex):
        slow = ex.submit(calls.wait_for_file, str(tmp_path / "go"), "slow")
        coming = asyncio.as_completed([slow, ex.submit(calls.identity, "fast")])
        assert await next(coming) == "fast"
        with pytest.raises(TimeoutError):
            await next(asyncio.as_completed([slow], timeout=0.02))
        (tmp_path / "go").touch()
        return await next(coming)

    with LambdaPoolExecutor(2, backend="local") as ex:
        assert asyncio.run(main(ex)) == "slow"


def test_a_task_group_takes_the_coroutine_form_only(ex):
    async def main():
        async with asyncio.TaskGroup() as group:
            with pytest.raises(TypeError, match="a coroutine was expected"):
                group.create_task(ex.submit(abs, -1))
            return await group.create_task(ex.submit(abs, -1).coroutine())

    assert asyncio.run(main()) == 1


def test_a_loop_that_has_been_closed_harms_nobody(ex, tmp_path, caplog):
    go = tmp_path / "go"
    future = ex.submit(calls.wait_for_file, str(go), 5)

    async def main():
        awaiting = asyncio.ensure_future(future)
        await asyncio.sleep(0)
        assert not awaiting.done()

    wait_until(future.running)
    asyncio.run(main())
    go.touch()
    assert future.result(20) == 5
    assert ex.submit(abs, -1).result() == 1
    assert not caplog.records


def test_a_callback_that_waits_for_another_call_stops_nothing():
    with LambdaPoolExecutor(1, backend="local") as ex:
        seen = []

        def callback(future):
            seen.append(ex.submit(calls.identity, future.result() + 100).result())

        futures = [ex.submit(calls.identity, x) for x in range(30)]
        for future in futures:
            future.add_done_callback(callback)
        assert [future.result(20) for future in futures] == list(range(30))
        wait_until(lambda: len(seen) == 30)
    assert sorted(seen) == list(range(100, 130))


def test_callbacks_that_block_hold_up_no_result():
    release = threading.Event()
    with LambdaPoolExecutor(1, backend="local") as ex:
        blocked = [ex.submit(calls.identity, x) for x in range(3)]
        for future in blocked:
            future.add_done_callback(lambda _: release.wait())
        assert list(ex.map(calls.identity, range(50))) == list(range(50))
        later = ex.submit(calls.identity, 5)
        called = threading.Event()
        later.add_done_callback(lambda _: called.set())
        assert called.wait(20)
        release.set()


def test_a_callback_that_raises_is_logged_and_the_next_one_called(ex, caplog, tmp_path):
    called = threading.Event()
    future = ex.submit(calls.wait_for_file, str(tmp_path / "go"))
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(lambda _: called.set())
    (tmp_path / "go").touch()
    assert called.wait(20)
    assert "exception calling callback" in caplog.text


def test_a_callback_may_shut_the_executor_down():
    ex = LambdaPoolExecutor(1, backend="local")
    done = threading.Event()

    def callback(_):
        ex.shutdown(wait=True)
        done.set()

    ex.submit(calls.identity, 1).add_done_callback(callback)
    assert done.wait(20)
    with pytest.raises(RuntimeError):
        ex.submit(calls.identity, 1)
    ex.shutdown()


class Recorder:
    def __init__(self):
        self.events = []

    def on_event(self, event):
        self.events.append(event)


def test_observers_see_everything_in_order():
    recorder = Recorder()
    with LambdaPoolExecutor(1, backend="local", observers=[recorder]) as ex:
        list(ex.map(calls.identity, range(10), chunksize=5))
        assert ex.submit(calls.fail, 1).exception() is not None
    kinds = [type(event).__name__ for event in recorder.events]
    assert kinds[-1] == "ExecutorClosed"
    for chunk, count in ((0, 5), (1, 5), (2, 1)):
        story = [event for event in recorder.events if getattr(event, "chunk", None) == chunk]
        assert [type(event) for event in story] == [
            events.CallsSubmitted,
            events.AttemptSent,
            events.AttemptEnded,
            events.CallsEnded,
        ]
        assert story[-1].calls == count
        assert [event.time_s for event in story] == sorted(event.time_s for event in story)
    assert sum(event.failed for event in recorder.events if hasattr(event, "failed")) == 1


def test_an_observer_that_raises_is_logged_and_the_next_one_told(caplog):
    class Broken:
        def on_event(self, event):
            raise RuntimeError("blind")

    recorder = Recorder()
    with LambdaPoolExecutor(1, backend="local", observers=[Broken(), recorder]) as ex:
        assert ex.submit(calls.identity, 1).result() == 1
    assert len(recorder.events) == 5
    assert "an observer raised on CallsSubmitted" in caplog.text


def test_the_progress_bar_counts_calls(capsys):
    pytest.importorskip("tqdm")
    with LambdaPoolExecutor(1, backend="local", progress=True) as ex:
        list(ex.map(calls.identity, range(40), chunksize=10))
    assert "40/40" in capsys.readouterr().err


def test_a_future_of_no_executor_is_a_plain_future():
    future: LambdaFuture[int] = LambdaFuture()
    assert "pending" in repr(future)
    future.set_running_or_notify_cancel()
    future.set_result(3)
    assert (future.result(), future.exception(), future.attempts) == (3, None, 0)
    assert asyncio.run(future.coroutine()) == 3


def test_our_futures_have_the_fields_of_the_standard_librarys():
    from concurrent.futures import Future

    assert vars(Future()).keys() <= vars(LambdaFuture()).keys()


def test_waiting_with_a_timeout_leaves_no_trace(ex, tmp_path):
    future = ex.submit(calls.wait_for_file, str(tmp_path / "go"), 1)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            future.result(timeout=0.001)
        with pytest.raises(TimeoutError):
            future.exception(timeout=0)
    assert not future._condition._waiters
    (tmp_path / "go").touch()
    assert future.result(20) == 1


def test_results_asked_for_by_many_threads_are_one_object(ex):
    future = ex.submit(calls.identity, list(range(100_000)))
    future.exception()
    found = []
    threads = [threading.Thread(target=lambda: found.append(future.result())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(one is other for one, other in itertools.pairwise(found))
