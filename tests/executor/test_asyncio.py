"""Futures in asyncio: awaited, wrapped, waited for with a time-out, and in task groups."""

from __future__ import annotations

import asyncio
import threading

import pytest

from lambdafutures import LambdaFuture
from tests import calls
from tests.conftest import wait_until


def test_futures_can_be_awaited(ex):
    async def main():
        return await asyncio.gather(*[ex.submit(pow, x, 2) for x in range(20)])

    assert asyncio.run(main()) == [x * x for x in range(20)]


def test_one_future_can_be_awaited_in_several_loops_and_threads(ex, tmp_path):
    future = ex.submit(calls.wait_for_file, str(tmp_path / "go"), 5)
    found = []

    async def main():
        found.append(await future)

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(3)]
    for thread in threads:
        thread.start()
    (tmp_path / "go").touch()
    for thread in threads:
        thread.join()
    asyncio.run(main())
    assert found == [5] * 4


def test_an_awaited_exception_is_raised(ex):
    async def main():
        with pytest.raises(ValueError, match="bad 1"):
            await ex.submit(calls.fail, 1)
        return await asyncio.get_running_loop().run_in_executor(ex, calls.identity, 3)

    assert asyncio.run(main()) == 3


def test_a_time_out_cancels_what_has_not_started(make, tmp_path):
    async def main(ex):
        blocker = ex.submit(calls.wait_for_file, str(tmp_path / "go"), 1)
        waiting = ex.submit(calls.identity, 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiting, 0.05)
        assert waiting.cancelled()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(blocker, 0.05)
        assert not blocker.cancelled()
        (tmp_path / "go").touch()
        assert await blocker == 1

    asyncio.run(main(make(1)))


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


def test_a_cancelled_task_cancels_a_call_that_has_not_started(make, tmp_path):
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

    assert asyncio.run(main(make(1))) == [1, 2]


def test_run_in_executor(make, tmp_path):
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

    asyncio.run(main(make(1)))
    assert calls.runs(tmp_path, 1) == 0


def test_as_completed_in_asyncio_yields_what_ends_first_and_times_out(make, tmp_path):
    async def main(ex):
        slow = ex.submit(calls.wait_for_file, str(tmp_path / "go"), "slow")
        coming = asyncio.as_completed([slow, ex.submit(calls.identity, "fast")])
        assert await next(coming) == "fast"
        with pytest.raises(TimeoutError):
            await next(asyncio.as_completed([slow], timeout=0.02))
        (tmp_path / "go").touch()
        return await next(coming)

    assert asyncio.run(main(make(2))) == "slow"


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
