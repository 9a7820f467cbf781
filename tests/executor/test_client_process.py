"""The client's own process: Ctrl-C, forks, and the end of the interpreter."""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import pytest

from lambdafutures import as_completed, wait
from tests import calls
from tests.conftest import wait_until

# A thread that was at the same place so many times in a row waits there.
LOOKS = 5


@pytest.fixture
def go(tmp_path):
    """A file that blocked calls wait for; they go on at the end of the test, whatever it does."""
    path = tmp_path / "go"
    yield path
    path.touch()


@contextmanager
def interrupting(condition):
    """Send SIGINT to the main thread, as Ctrl-C does, when it waits and something has come true."""
    seen = []

    def is_waiting():
        frame = sys._current_frames()[main]
        seen.append((id(frame), frame.f_lasti))
        return len(seen) > LOOKS and len(set(seen[-LOOKS:])) == 1

    def watch():
        wait_until(condition)
        wait_until(is_waiting)
        signal.pthread_kill(main, signal.SIGINT)

    main = threading.main_thread().ident
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        watcher.join()


def test_ctrl_c_in_result_leaves_the_call_alone(ex, go):
    future = ex.submit(calls.wait_for_file, str(go), 1)
    for ask in (future.result, future.exception):
        with (
            pytest.raises(KeyboardInterrupt),
            interrupting(lambda: future.running() and future._condition._waiters),
        ):
            ask()
    assert not future._condition._waiters
    go.touch()
    assert future.result(20) == 1


@pytest.mark.parametrize("function", [wait, lambda futures: next(as_completed(futures))])
def test_ctrl_c_while_waiting_leaves_the_calls_alone(ex, go, function):
    future = ex.submit(calls.wait_for_file, str(go), 1)
    with (
        pytest.raises(KeyboardInterrupt),
        interrupting(lambda: future.running() and future._waiters),
    ):
        function([future])
    go.touch()
    assert future.result(20) == 1


@pytest.mark.parametrize("ordered", [True, False])
def test_ctrl_c_in_a_map_ends_the_map_and_cancels_what_has_not_been_sent(make, go, ordered):
    ex = make(1)
    results = ex.map(calls.wait_for_file, [str(go)] * 20, ordered=ordered)
    pending = results._course.pending
    with pytest.raises(KeyboardInterrupt), interrupting(lambda: len(pending) < 20):
        next(results)
    assert list(results) == []
    go.touch()
    assert ex.submit(calls.identity, 1).result(20) == 1
    figures = ex.statistics()
    assert figures.calls_cancelled >= 10
    assert figures.calls_done + figures.calls_cancelled == 21


def test_ctrl_c_in_the_with_block_ends_the_workers(make, go):
    futures = []

    def block():
        with make(1) as ex:
            futures.extend(ex.submit(calls.wait_for_file, str(go)) for _ in range(5))
            with interrupting(futures[0].running):
                futures[0].result()

    with pytest.raises(KeyboardInterrupt):
        block()
    assert isinstance(futures[0].exception(0), BrokenProcessPool)
    assert all(future.cancelled() for future in futures[1:])


def test_ctrl_c_while_shutting_down_can_be_followed_by_killing(make, go):
    ex = make(1)
    future = ex.submit(calls.wait_for_file, str(go))
    with (
        pytest.raises(KeyboardInterrupt),
        interrupting(lambda: future.running() and "shut down" in repr(ex)),
    ):
        ex.shutdown()
    assert not future.done()
    ex.kill_workers()
    assert isinstance(future.exception(0), BrokenProcessPool)


def test_ctrl_c_at_a_terminal_ends_a_script(backend, go, tmp_path):
    """It goes to the whole group of processes; what workers are is the client's to decide."""
    script = backend.start_script(
        tmp_path / "script.py",
        """
import sys, threading, time
from lambdafutures import LambdaPoolExecutor

def work(path):
    import os, time
    while not os.path.exists(path):
        time.sleep(0.01)

def tell_when_it_waits():
    looks = []
    while len(looks) < 10 or len(set(looks[-5:])) > 1:
        frame = sys._current_frames()[threading.main_thread().ident]
        looks.append((frame.f_code.co_name, frame.f_lasti))
        time.sleep(0.01)
    print("waiting", looks[-1][0], flush=True)

with LambdaPoolExecutor(2, **OPTIONS) as ex:
    futures = [ex.submit(work, sys.argv[1]) for _ in range(4)]
    while not futures[1].running():
        time.sleep(0.01)
    threading.Thread(target=tell_when_it_waits).start()
    try:
        futures[0].result()
    except KeyboardInterrupt:
        print("interrupted", [future.done() for future in futures], flush=True)
        raise
""",
        str(go),
    )
    with script:
        assert script.stdout.readline() == "waiting wait\n"
        os.killpg(script.pid, signal.SIGINT)
        said, complained = script.communicate(timeout=60)
    assert said == "interrupted [False, False, False, False]\n"
    assert complained.rstrip().endswith("KeyboardInterrupt")
    assert complained.count("Traceback") == 1
    assert script.returncode == -signal.SIGINT


def test_a_script_that_ends_without_shutdown_finishes_its_calls(backend, tmp_path):
    out = tmp_path / "out"
    said = backend.run_script(
        tmp_path / "script.py",
        """
import atexit, sys
from lambdafutures import LambdaPoolExecutor

def work(path, x):
    import time
    time.sleep(0.01)
    with open(path, "a") as out:
        out.write(f"{x}\\n")
    return x

def at_the_end():
    print("unfinished", sum(not future.done() for future in futures))
    for executor in (ex, unused):
        try:
            executor.submit(print, 1)
        except RuntimeError as error:
            print(error)

unused = LambdaPoolExecutor(1, **OPTIONS)
ex = LambdaPoolExecutor(2, **OPTIONS)
atexit.register(at_the_end)
futures = [ex.submit(work, sys.argv[1], x) for x in range(12)]
futures[-1].add_done_callback(lambda future: print("called back with", future.result()))
""",
        str(out),
    )
    assert sorted(map(int, out.read_text().split())) == list(range(12))
    refused = "cannot schedule new futures after interpreter shutdown\n"
    assert said == f"called back with 11\nunfinished 0\n{refused}{refused}"


def test_a_script_that_raises_ends_with_its_error_and_not_in_a_hang(backend, tmp_path):
    backend.run_script(
        tmp_path / "script.py",
        """
from lambdafutures import LambdaPoolExecutor
ex = LambdaPoolExecutor(2, **OPTIONS)
futures = [ex.submit(pow, 2, x) for x in range(20)]
results = ex.map(abs, range(20), buffersize=2)
raise SystemExit(5)
""",
        status=5,
    )


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_is_told_to_make_an_executor_of_its_own(ex):
    assert ex.submit(calls.identity, 1).result() == 1
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ex.submit(calls.identity, 1)
        except RuntimeError as error:
            os.write(writing, str(error).encode())
        ex.shutdown()  # does nothing there, and does not hang
        os._exit(0)
    os.close(writing)
    said = os.read(reading, 1000).decode()
    os.close(reading)
    os.waitpid(child, 0)
    assert "made before a fork of its process" in said
    assert ex.submit(calls.identity, 2).result() == 2


def test_a_forked_child_can_make_one_and_end(backend, tmp_path):
    said = backend.run_script(
        tmp_path / "script.py",
        """
import multiprocessing, warnings
from lambdafutures import LambdaPoolExecutor

warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads

def child(inherited):
    with LambdaPoolExecutor(1, **OPTIONS) as ex:
        print("child", ex.submit(pow, 2, 3).result(), flush=True)

with LambdaPoolExecutor(2, **OPTIONS) as ex:
    assert ex.submit(pow, 2, 2).result() == 4
    pending = ex.submit(pow, 2, 4)
    process = multiprocessing.get_context("fork").Process(target=child, args=(ex,))
    process.start()
    process.join(50)
    print("status", process.exitcode)
    print("parent", pending.result(), ex.submit(pow, 2, 5).result())
""",
    )
    assert said == "child 8\nstatus 0\nparent 16 32\n"
