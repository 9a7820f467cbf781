"""`LambdaPoolExecutor` on the local backend does what `ProcessPoolExecutor` does."""

from __future__ import annotations

import itertools
import logging
import operator
import threading
import weakref

import pytest

from lambdafutures import (
    FIRST_EXCEPTION,
    LambdaPoolExecutor,
    Limits,
    as_completed,
    wait,
)
from lambdafutures.exceptions import DeploymentNotFound
from tests import calls
from tests.conftest import wait_until

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_submit_returns_the_calls_result(ex):
    assert ex.submit(calls.add, 1, y=2).result() == 3


def test_every_name_may_be_a_keyword_of_the_call(ex):
    words = {"self": 1, "fn": 2, "args": 3, "timeout": 4}
    assert ex.submit(calls.kwargs_only, **words).result() == words


def test_map_keeps_the_order(ex):
    assert list(ex.map(pow, range(1000), itertools.repeat(2))) == [x * x for x in range(1000)]


@pytest.mark.parametrize("chunksize", [1, 3, 7, 100, 5000, "auto"])
def test_map_in_chunks_gives_the_same(ex, chunksize):
    assert list(ex.map(operator.neg, range(500), chunksize=chunksize)) == [-x for x in range(500)]


def test_an_automatic_map_over_an_endless_second_iterable_ends(ex):
    results = ex.map(pow, range(300), itertools.repeat(2), chunksize="auto")
    assert list(results) == [x * x for x in range(300)]


def test_map_ends_with_the_shortest_iterable(ex):
    assert list(ex.map(calls.add, [1, 2, 3], iter([10, 20]))) == [11, 22]
    assert list(ex.map(calls.identity, [])) == []


def test_map_reads_an_endless_iterable_as_results_are_read(ex):
    read = []

    def endless():
        for number in itertools.count():
            read.append(number)
            yield number

    results = ex.map(calls.identity, endless(), chunksize=2, buffersize=3)
    assert len(read) == 6
    assert list(itertools.islice(results, 10)) == list(range(10))
    assert len(read) <= 10 + 8
    results.close()


def test_map_raises_the_calls_exception_in_its_place(ex):
    results = ex.map(calls.fail_on, range(10), itertools.repeat(4), chunksize=3)
    assert list(itertools.islice(results, 4)) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="bad 4"):
        next(results)


def test_map_times_out(ex, tmp_path):
    go = tmp_path / "go"
    results = ex.map(calls.wait_for_file, [str(go)], timeout=0.05)
    with pytest.raises(TimeoutError):
        next(results)
    go.touch()


def test_a_dropped_map_cancels_what_has_not_been_sent(tmp_path):
    go = tmp_path / "go"
    with LambdaPoolExecutor(1, backend="local") as ex:
        results = ex.map(calls.wait_for_file, [str(go)] * 50, range(50))
        go.touch()
        assert next(results) == 0
        go.unlink()
        results.close()
        go.touch()
    figures = ex.statistics()
    assert figures.calls_cancelled > 0
    assert figures.calls_done + figures.calls_cancelled == 50


def test_lambdas_closures_and_main_functions_travel(ex):
    factor = 3
    assert ex.submit(lambda x: x * factor, 5).result() == 15

    def outer(x):
        def inner(y):
            return x + y + factor

        return inner

    assert list(ex.map(outer(1), [1, 2])) == [5, 6]


def test_a_closure_that_changes_between_submits_is_sent_as_it_is_then(ex):
    box = [1]

    def read():
        return box[0]

    first = ex.submit(read)
    box[0] = 2
    assert (first.result(), ex.submit(read).result()) == (1, 2)


def test_wait_and_as_completed_know_the_futures(ex):
    futures = [ex.submit(calls.identity, x) for x in range(20)]
    assert {future.result() for future in as_completed(futures)} == set(range(20))
    failing = ex.submit(calls.fail, 1)
    done, _ = wait([*futures, failing], return_when=FIRST_EXCEPTION)
    assert failing in done


def test_a_call_that_waits_can_be_met_by_the_next_one(tmp_path):
    """Short calls are handed ahead to busy workers; none may wait behind one that blocks."""
    with LambdaPoolExecutor(2, backend="local") as ex:
        list(ex.map(calls.identity, range(200)))
        for number in range(20):
            a, b = str(tmp_path / f"a{number}"), str(tmp_path / f"b{number}")
            futures = [
                *[ex.submit(calls.identity, x) for x in range(7)],
                ex.submit(calls.touch_and_wait, a, b),
                ex.submit(calls.touch_and_wait, b, a),
            ]
            assert [future.result(20) for future in futures[-2:]] == [a, b]


def test_no_more_calls_run_than_there_are_workers(tmp_path):
    go = str(tmp_path / "go")
    with LambdaPoolExecutor(2, backend="local") as ex:
        futures = [ex.submit(calls.wait_for_file, go) for _ in range(6)]
        wait_until(lambda: ex.statistics().workers_started == 2)
        wait_until(lambda: ex.statistics().calls_submitted == 6)
        assert [future.running() for future in futures] == [True, True, *[False] * 4]
        (tmp_path / "go").touch()
    assert all(future.done() for future in futures)


def test_cancel_before_start(tmp_path):
    with LambdaPoolExecutor(1, backend="local") as ex:
        blocker = ex.submit(calls.wait_for_file, str(tmp_path / "go"))
        waiting = ex.submit(calls.identity, 1)
        wait_until(blocker.running)
        assert waiting.cancel()
        assert waiting.cancelled()
        done, _ = wait([waiting], timeout=10)  # those who wait are told at once
        assert done == {waiting}
        assert not blocker.cancel()
        (tmp_path / "go").touch()
    assert blocker.result() is None


def test_shutdown_waits_for_pending_calls():
    ex = LambdaPoolExecutor(2, backend="local")
    futures = [ex.submit(calls.identity, x) for x in range(100)]
    ex.shutdown()
    assert all(future.done() for future in futures)
    ex.shutdown()
    ex.shutdown(True)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        ex.submit(calls.identity, 1)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        ex.map(calls.identity, [1])


def test_shutdown_without_waiting_finishes_the_calls(tmp_path):
    ex = LambdaPoolExecutor(1, backend="local")
    future = ex.submit(calls.wait_for_file, str(tmp_path / "go"), "done")
    ex.shutdown(wait=False)
    assert not future.done()
    (tmp_path / "go").touch()
    assert future.result(20) == "done"


def test_shutdown_cancels_what_has_not_been_sent_and_wakes_those_who_wait(tmp_path):
    ex = LambdaPoolExecutor(1, backend="local")
    blocker = ex.submit(calls.wait_for_file, str(tmp_path / "go"))
    waiting = [ex.submit(calls.identity, x) for x in range(10)]
    called = []
    for future in waiting:
        future.add_done_callback(called.append)
    wait_until(blocker.running)
    ex.shutdown(wait=False, cancel_futures=True)
    done, not_done = wait(waiting, timeout=20)
    assert not not_done
    assert all(future.cancelled() for future in done)
    (tmp_path / "go").touch()
    assert blocker.result(20) is None
    ex.shutdown()
    assert set(called) == set(waiting)


def test_an_executor_that_is_collected_finishes_its_calls():
    ex = LambdaPoolExecutor(1, backend="local")
    future = ex.submit(calls.identity, 7)
    gone = weakref.ref(ex)
    del ex
    assert gone() is None
    assert future.result(20) == 7


def test_an_executor_that_was_never_used_costs_nothing():
    before = threading.active_count()
    with LambdaPoolExecutor(2, backend="local") as ex:
        assert threading.active_count() == before
        assert ex.statistics().workers_started == 0


def test_initializer_runs_once_in_each_worker():
    with LambdaPoolExecutor(2, initializer=calls.initialize, initargs=(5,), backend="local") as ex:
        seen = set(ex.map(calls.initialized, range(200)))
    assert {count for _, count in seen} == {5}
    assert len({pid for pid, _ in seen}) <= 2


def test_workers_are_replaced_after_max_tasks_per_child():
    with LambdaPoolExecutor(1, max_tasks_per_child=3, backend="local") as ex:
        pids = list(ex.map(calls.pid, range(10)))
    assert len(set(pids)) == 4
    assert max(pids.count(pid) for pid in pids) == 3


def test_workers_are_fresh_interpreters_with_the_clients_path(ex):
    assert ex.submit(calls.environment, "LAMBDAFUTURES_DEPTH").result() == "1"
    assert (
        ex.submit(lambda: __import__("tests.calls").calls.import_pid).result() != calls.import_pid
    )


def test_an_executor_in_a_call(ex):
    assert ex.submit(calls.nested, 5).result() == 5


def test_dill_can_be_chosen():
    with LambdaPoolExecutor(1, backend="local", serializer="dill") as ex:
        assert ex.submit(lambda x: (lambda y: x + y)(2), 1).result() == 3


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
    assert future.call_id.endswith("-0")
    assert repr(future) == f"<LambdaFuture {future.call_id} finished attempts=1>"


def test_output_and_logs_are_kept_per_call(ex, caplog):
    futures = [ex.submit(calls.speak, text) for text in ("one", "two")]
    for future, text in zip(futures, ("one", "two"), strict=True):
        future.result()
        assert future.output.stdout == f"out {text}\n"
        assert f"err {text}\n" in future.output.stderr
        (line,) = future.output.logs
        assert (line.level, line.logger, line.message) == ("WARNING", "speaker", f"log {text}")
    assert ex.submit(calls.identity, 1).result() == 1


def test_output_is_shown_where_the_client_writes(capfd):
    with LambdaPoolExecutor(1, backend="local") as ex:
        ex.submit(calls.speak, "aloud").result()
    shown = capfd.readouterr()
    assert "out aloud\n" in shown.out
    assert "err aloud\n" in shown.err


def test_statistics_add_up(ex):
    list(ex.map(calls.identity, range(100), chunksize=10))
    assert ex.submit(calls.fail, 1).exception() is not None
    figures = ex.statistics()
    assert (figures.calls_submitted, figures.calls_done, figures.calls_failed) == (101, 101, 1)
    assert (figures.attempts, figures.retries, figures.chunks_open) == (11, 0, 0)
    assert 0 <= figures.setup_share <= 1
    assert figures.run_s <= figures.away_s


def test_nothing_keeps_arguments_or_results_alive(ex):
    class Thing:
        pass

    thing = Thing()
    seen = weakref.ref(thing)
    future = ex.submit(calls.identity, thing)
    result = future.result()
    returned = weakref.ref(result)
    del thing, result, future
    assert seen() is None
    assert returned() is None
    results = ex.map(calls.identity, [Thing() for _ in range(3)], chunksize=3)
    first = weakref.ref(next(results))
    assert first() is None
    list(results)


def test_repr_and_log_say_which_backend_and_why(caplog):
    with caplog.at_level(logging.INFO, "lambdafutures"):
        ex = LambdaPoolExecutor(3, backend="local")
    assert "local backend, because backend='local' was given" in caplog.text
    assert repr(ex).endswith("open backend=local (backend='local' was given) max_workers=3>")
    assert ex._max_workers == 3
    ex.shutdown()
    assert " shut down " in repr(ex)


def test_the_backend_is_the_argument_then_the_environment_then_local(monkeypatch):
    assert "nothing is deployed" in repr(LambdaPoolExecutor(1))
    monkeypatch.setenv("LAMBDAFUTURES_BACKEND", "local")
    assert "LAMBDAFUTURES_BACKEND=local" in repr(LambdaPoolExecutor(1))
    monkeypatch.setenv("LAMBDAFUTURES_BACKEND", "cloud")
    with pytest.raises(ValueError, match="LAMBDAFUTURES_BACKEND=cloud.*'local' or 'aws'"):
        LambdaPoolExecutor(1)
    assert "was given" in repr(LambdaPoolExecutor(1, backend="local"))


def test_aws_with_nothing_deployed_names_the_command_that_deploys():
    with pytest.raises(DeploymentNotFound, match="run `lambdafutures deploy` first"):
        LambdaPoolExecutor(backend="aws")


def test_mp_context_is_warned_about_and_options_are_checked():
    import multiprocessing

    with pytest.warns(UserWarning, match="mp_context is ignored"):
        LambdaPoolExecutor(1, multiprocessing.get_context("spawn"), backend="local")
    with pytest.raises(TypeError, match="worker_count"):
        LambdaPoolExecutor(worker_count=3)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            LambdaPoolExecutor(wrong)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        LambdaPoolExecutor(1, initializer=5)
    with pytest.raises(TypeError, match="max_tasks_per_child must be an integer"):
        LambdaPoolExecutor(1, max_tasks_per_child=1.5)
    with pytest.raises(ValueError, match="max_tasks_per_child must be >= 1"):
        LambdaPoolExecutor(1, max_tasks_per_child=0)
    with pytest.raises(ValueError, match="serializer must be one of"):
        LambdaPoolExecutor(1, serializer="json")
    with pytest.raises(ValueError, match="time_s must be greater than 0"):
        Limits(time_s=0)


def test_default_max_workers_is_the_processors_number():
    import os

    ex = LambdaPoolExecutor(backend="local")
    assert ex._max_workers == len(os.sched_getaffinity(0))


def test_large_arrays_travel_both_ways_and_are_writable(ex):
    numpy = pytest.importorskip("numpy")
    sent = numpy.arange(2_000_000, dtype=float)
    back = ex.submit(calls.identity, sent).result()
    assert (back == sent).all()
    back[0] = 5
    assert sent[0] == 0
    strided = sent[::2]
    assert (ex.submit(calls.identity, strided).result() == strided).all()
    many = list(ex.map(calls.identity, [sent[:20_000], sent[:10], sent], chunksize=3))
    assert [len(array) for array in many] == [20_000, 10, 2_000_000]


def test_more_large_results_than_open_files_can_be_held():
    """Large results are mapped; however many the client holds, it does not run out of files."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    try:
        with LambdaPoolExecutor(2, backend="local") as ex:
            held = list(ex.map(calls.make_bytearray, [70_000] * 600))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all(len(each) == 70_000 for each in held)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 70_000, 5_000_000])
def test_bytes_of_every_size_travel(ex, size):
    value = bytes(size)
    assert ex.submit(calls.identity, value).result() == value


def test_many_threads_may_submit(ex):
    results: dict[int, list[int]] = {}

    def work(number):
        futures = [ex.submit(calls.identity, (number, x)) for x in range(200)]
        results[number] = [future.result() for future in futures]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: [(n, x) for x in range(200)] for n in range(8)}
