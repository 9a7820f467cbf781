"""What docs/compatibility.md says, seen by running both executors on the same calls."""

from __future__ import annotations

import contextlib
import gc
import itertools
import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver

import pytest

from lambdafutures import LambdaPoolExecutor
from tests import calls
from tests.conftest import wait_until

# Neither a fork of this process with its threads, nor as slow as a spawned interpreter.
CONTEXT = multiprocessing.get_context("forkserver")
PATIENCE_S = 20


@pytest.fixture(scope="module", autouse=True)
def _no_fork_server_is_left():
    yield
    gc.collect()  # executors of the standard library are circles
    forkserver._forkserver._stop()


def theirs(workers=1, **options):
    return ProcessPoolExecutor(workers, CONTEXT, **options)


def ours(workers=1, **options):
    return LambdaPoolExecutor(workers, backend="local", **options)


def told(function, *arguments):
    """Return what a function returns, or its exception as text that both executors can agree on."""
    try:
        return function(*arguments)
    except BrokenProcessPool:
        return "BrokenProcessPool"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


def outcome(make, fn, *arguments, **options):
    with make(**options) as ex:
        return told(ex.submit(fn, *arguments).result, PATIENCE_S)


# ---------------------------------------------------------------- alike


CALLS = {
    "value": lambda: (calls.add, 1, 2),
    "exception": lambda: (calls.fail, 1),
    "sys.exit": lambda: (calls.leave, 3),
    "KeyboardInterrupt": lambda: (calls.interrupt,),
    "chained exception": lambda: (calls.chain,),
    "what cannot be called": lambda: (5,),
    "too few arguments": lambda: (calls.fail,),
    "argument that cannot be pickled": lambda: (calls.identity, calls.lock()),
    "argument that cannot be unpickled": lambda: (calls.identity, calls.BadUnpickle()),
    "result that cannot be pickled": lambda: (calls.lock,),
    "result that cannot be unpickled": lambda: (calls.for_workers_only, os.getpid()),
    "sys.exit in pickling": lambda: (calls.exits_when_pickled,),
    "killed worker": lambda: (calls.die,),
    "os._exit": lambda: (calls.leave_at_once,),
    "lock of multiprocessing": lambda: (calls.identity, CONTEXT.Lock()),
    "standard input": lambda: (calls.read_stdin,),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_end_alike(name):
    assert outcome(ours, *CALLS[name]()) == outcome(theirs, *CALLS[name]())


def initializer_fails(make):
    with make(initializer=calls.fail_to_initialize) as ex:
        first = told(ex.submit(abs, 1).result, PATIENCE_S)
        return first, told(ex.submit, abs, 1)


def exception_in_detail(make):
    with make() as ex:
        error = ex.submit(calls.fail_with_notes).exception()
    lines = error.__cause__.tb.count("raise error")
    return error.__notes__, error.extra, error.__context__, type(error.__cause__), lines


def pickling_error_in_detail(make):
    with make() as ex:
        error = ex.submit(calls.identity, calls.lock()).exception()
    return type(error), type(error.__cause__)


def map_times_out(make, tmp_path):
    go = tmp_path / make.__name__
    with make() as ex:
        results = ex.map(calls.wait_for_file, [str(go)] * 3, timeout=0.05)
        seen = told(next, results), told(next, results)
        go.touch()
    return seen


def map_raises(make):
    with make() as ex:
        results = ex.map(calls.fail_on, range(4), itertools.repeat(1))
        return [told(next, results) for _ in range(4)]


def map_of_nothing(make):
    with make() as ex:
        return list(ex.map(abs)), list(ex.map(abs, [])), told(ex.map(abs, [1]).close)


def after_shutdown(make):
    ex = make()
    ex.shutdown()
    ex.shutdown(wait=False, cancel_futures=True)
    return told(ex.submit, abs, 1), told(ex.map, abs, [1])


def cancelling(make, tmp_path):
    go = tmp_path / make.__name__
    with make() as ex:
        blocker, *waiting = [ex.submit(calls.wait_for_file, str(go)) for _ in range(6)]
        wait_until(blocker.running)
        last = waiting[-1]
        answers = blocker.cancel(), last.running(), last.cancel(), last.cancel(), last.cancelled()
        # Those who wait in `wait` and `as_completed` are told when its turn comes.
        told_at_last = told(last.result), told(last.exception)
        go.touch()
    return answers, told_at_last, blocker.result()


def callbacks(make):
    here = threading.current_thread()
    called_here = []

    def note(_):
        called_here.append(threading.current_thread() is here)

    with make() as ex:
        done = ex.submit(abs, 1)
        done.result()
        done.add_done_callback(note)
        later = ex.submit(calls.spin, 0.05)
        later.add_done_callback(note)
    return called_here


def arguments_of_the_executor(make):
    return [
        told(lambda options=options: make(**options))
        for options in (
            {"workers": 0},
            {"workers": "2"},
            {"initializer": 5},
            {"max_tasks_per_child": 0},
            {"max_tasks_per_child": 1.5},
        )
    ]


def the_executor_does_not_travel(make):
    with make() as ex:
        return type(ex.submit(calls.identity, ex).exception())


def workers_are_replaced(make):
    with make(max_tasks_per_child=2) as ex:
        pids = [ex.submit(calls.pid).result() for _ in range(6)]
    return [len(set(pids)), pids[0] == pids[1], pids[1] == pids[2]]


ROWS = (
    initializer_fails,
    exception_in_detail,
    pickling_error_in_detail,
    map_times_out,
    map_raises,
    map_of_nothing,
    after_shutdown,
    cancelling,
    callbacks,
    arguments_of_the_executor,
    the_executor_does_not_travel,
    workers_are_replaced,
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_executors_behave_alike(row, tmp_path):
    more = (tmp_path,) if "tmp_path" in row.__code__.co_varnames else ()
    assert row(ours, *more) == row(theirs, *more)


# ---------------------------------------------------------------- different on purpose


def test_functions_of_any_kind_travel():
    assert outcome(ours, lambda: 7) == 7
    assert "local object" in outcome(theirs, lambda: 7)


def test_a_killed_worker_fails_its_own_call_only():
    for make, after in ((theirs, "BrokenProcessPool"), (ours, 1)):
        with make() as ex:
            assert told(ex.submit(calls.die).result, PATIENCE_S) == "BrokenProcessPool"
            # The standard library's is broken a moment after its future says so.
            wait_until(
                lambda ex=ex, after=after: told(lambda: ex.submit(abs, -1).result()) == after
            )


def test_exceptions_that_the_standard_library_loses():
    assert outcome(theirs, calls.fail_with_two, 404, "gone") == "BrokenProcessPool"
    assert outcome(ours, calls.fail_with_two, 404, "gone") == "NeedsTwo: 404: gone"
    assert (
        outcome(theirs, calls.fail_untravelling) == "TypeError: cannot pickle '_thread.lock' object"
    )
    text = "RemoteError: tests.calls.CannotTravel: from afar"
    assert outcome(ours, calls.fail_untravelling) == text


def test_what_came_before_a_failing_call_of_its_chunk_is_yielded():
    found = {}
    for make in (theirs, ours):
        with make() as ex, contextlib.suppress(ValueError):
            found[make] = []
            for x in ex.map(calls.fail_on, range(6), itertools.repeat(3), chunksize=6):
                found[make].append(x)
    assert found == {theirs: [], ours: [0, 1, 2]}


def test_what_cannot_be_pickled_fails_alone_in_its_chunk():
    found = {}
    for make in (theirs, ours):
        with make() as ex, contextlib.suppress(TypeError):
            found[make] = []
            for x in ex.map(calls.identity, [1, 2, calls.lock(), 4], chunksize=4):
                found[make].append(x)
    assert found == {theirs: [], ours: [1, 2]}


def test_results_are_unpickled_by_whoever_asks():
    here = threading.get_ident()
    assert outcome(ours, calls.KnowsItsThread, 1).thread == here
    assert outcome(theirs, calls.KnowsItsThread, 1).thread != here


def test_cancelling_futures_wakes_those_who_wait(tmp_path):
    found = {}
    for make in (theirs, ours):
        go = tmp_path / make.__name__
        ex = make()
        blocker, *waiting = [ex.submit(calls.wait_for_file, str(go)) for _ in range(6)]
        wait_until(blocker.running)
        ex.shutdown(wait=False, cancel_futures=True)
        go.touch()
        wait_until(waiting[-1].cancelled)
        found[make] = len(wait(waiting[-1:], timeout=0.2).done)
        ex.shutdown()
    assert found == {theirs: 0, ours: 1}  # cpython#87893


def test_more_calls_than_run_are_out_of_reach(tmp_path):
    """The standard library hands out one call more than it has workers."""
    found = {}
    for make in (theirs, ours):
        go = tmp_path / make.__name__
        with make() as ex:
            futures = [ex.submit(calls.wait_for_file, str(go)) for _ in range(6)]
            wait_until(futures[make is theirs].running)
            found[make] = [future.cancel() for future in reversed(futures)].count(False)
            go.touch()
    assert found == {theirs: 2, ours: 1}


def test_a_map_of_nothing_after_shutdown_is_refused_too():
    for make, expected in (
        (theirs, []),
        (ours, "RuntimeError: cannot schedule new futures after shutdown"),
    ):
        ex = make()
        ex.shutdown()
        assert told(lambda ex=ex: list(ex.map(abs, []))) == expected


def test_initializers_get_no_locks_of_multiprocessing():
    options = {"initializer": calls.identity, "initargs": (CONTEXT.Lock(),)}
    assert outcome(theirs, abs, -1, **options) == 1
    assert "through inheritance" in told(lambda: outcome(ours, abs, -1, **options))


def test_what_a_manager_shares_needs_its_key():
    key = bytes(multiprocessing.current_process().authkey)
    with CONTEXT.Manager() as manager:
        event = manager.Event()
        assert outcome(theirs, calls.set_and_ask, event) is True
        assert outcome(ours, calls.set_and_ask, event) == "BrokenProcessPool"
        recipe = {"initializer": calls.set_authkey, "initargs": (key,)}
        assert outcome(ours, calls.set_and_ask, event, **recipe) is True


def test_the_script_is_not_run_again():
    assert outcome(ours, calls.main_file) is None


@pytest.mark.skipif(not hasattr(ProcessPoolExecutor, "kill_workers"), reason="new in Python 3.14")
@pytest.mark.parametrize("method", ["kill_workers", "terminate_workers"])
def test_workers_are_ended(method, tmp_path):
    for make in (theirs, ours):
        ex = make()
        started = tmp_path / make.__name__
        running, *waiting = [ex.submit(calls.touch_then_sleep, str(started), 60) for _ in range(5)]
        wait_until(started.exists)
        getattr(ex, method)()
        assert told(running.result, PATIENCE_S) == "BrokenProcessPool"
        wait_until(lambda waiting=waiting: waiting[-1].cancelled())
        with pytest.raises(RuntimeError):
            ex.submit(abs, 1)
