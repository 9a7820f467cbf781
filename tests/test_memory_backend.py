"""What is special of the memory backend: its workers are threads of this process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from lambdafutures import LambdaPoolExecutor, Limits, RetryPolicy
from lambdafutures.exceptions import BackendError, CallTimeout, WorkerDied
from tests import calls
from tests.conftest import payloads_limited_to, wait_until

pytestmark = pytest.mark.usefixtures("nothing_left")


def memory(max_workers=2, **options):
    return LambdaPoolExecutor(max_workers, backend="memory", **options)


def workers():
    return [thread for thread in threading.enumerate() if "-worker-" in thread.name]


def test_calls_run_in_threads_of_this_process_which_end_with_the_executor():
    with memory(3) as ex:
        assert workers() == []
        assert ex.submit(calls.pid).result() == os.getpid()
        assert len(workers()) == 1
        list(ex.map(calls.spin, [0.001] * 50))
        assert len(workers()) == ex.statistics().workers_alive <= 3
        assert all(thread.daemon for thread in workers())
    assert workers() == []
    assert ex.statistics().workers_alive == 0


def test_what_a_module_holds_is_shared_so_calls_see_what_a_test_has_patched(monkeypatch):
    monkeypatch.setitem(calls.state, "initialized", 41)
    with memory() as ex:
        assert ex.submit(calls.initialized).result() == (os.getpid(), 41)


def test_debuggers_and_coverage_see_the_calls():
    seen = []

    def trace(frame, event, _):
        if frame.f_code is calls.add.__code__:
            seen.append(event)
        return trace if frame.f_code is calls.add.__code__ else None

    threading.settrace(trace)
    try:
        with memory() as ex:
            assert ex.submit(calls.add, 1, 2).result() == 3
    finally:
        threading.settrace(None)
    assert seen == ["call", "line", "return"]


@pytest.mark.parametrize("size", [10, 100_000])
def test_arguments_and_results_are_copies_whatever_their_size(size):
    numpy = pytest.importorskip("numpy")
    kept = []

    def double(array):
        array *= 2
        kept.append(array)
        return array

    sent = numpy.ones(size)
    with memory() as ex:
        back = ex.submit(double, sent).result()
        back[0] = 7
        assert list(sent[:2]) == [1, 1]
        assert list(back[:2]) == [7, 2]
        assert kept == []  # the closure is a copy too
        assert ex.submit(calls.identity, back).result() is not back
        back_again = ex.submit(calls.identity, back).result()
        assert not numpy.shares_memory(back, back_again)


def test_an_initializer_and_its_arguments_are_copies_too():
    numpy = pytest.importorskip("numpy")
    table = numpy.zeros(10_000)
    found = threading.local()
    calls.state["table"] = found

    def initialize(array):
        array += 1
        calls.state["table"].sum = float(array.sum())

    def read():
        return calls.state["table"].sum

    try:
        with memory(1, initializer=initialize, initargs=(table,), max_tasks_per_child=1) as ex:
            assert [ex.submit(read).result() for _ in range(3)] == [10_000.0] * 3
    finally:
        del calls.state["table"]
    assert not table.any()


def test_threads_are_replaced_after_max_tasks_per_child():
    with memory(1, max_tasks_per_child=3) as ex:
        names = list(ex.map(calls.thread_name, range(10)))
        assert len(set(names)) == 4
        assert max(map(names.count, names)) == 3
        assert ex.statistics().workers_alive <= 1
        assert ex.statistics().workers_started == 4


def test_the_thread_of_a_call_over_its_time_limit_is_left_behind(tmp_path):
    go = tmp_path / "go"
    with memory(1, limits=Limits(time_s=0.1)) as ex:
        slow = ex.submit(calls.wait_for_file, str(go))
        quick = ex.submit(calls.thread_name)
        with pytest.raises(CallTimeout, match=r"call 0 had not returned .* 0.1 s .tried once"):
            slow.result()
        assert quick.result().endswith("-worker-1")
        assert ex.statistics().workers_alive == 2
    assert len(workers()) == 1
    go.touch()
    wait_until(lambda: not workers())


def test_a_thread_that_was_left_behind_begins_no_further_call(tmp_path):
    """Neither the rest of its chunk, which another thread has run, nor what it had not begun."""
    go = tmp_path / "go"

    def note_or_wait(x):
        calls.note_run(str(tmp_path), x)
        calls.spin(0.005)  # what ended a moment ago may run again, on every backend
        if x == 1:
            calls.wait_for_file(str(go))
        return x

    with memory(1, limits=Limits(time_s=0.1)) as ex:
        results = ex.map(note_or_wait, range(4), chunksize=4)
        assert next(results) == 0
        with pytest.raises(CallTimeout):
            next(results)
        wait_until(lambda: calls.runs(str(tmp_path), 3) == 1)
    go.touch()
    wait_until(lambda: not workers())
    assert [calls.runs(str(tmp_path), x) for x in range(4)] == [1, 1, 1, 1]


def test_killing_returns_at_once_and_what_runs_ends_by_itself(tmp_path):
    begun, go = tmp_path / "begun", tmp_path / "go"
    ex = memory(1)
    running = ex.submit(calls.touch_and_wait, str(begun), str(go))
    wait_until(begun.exists)
    ex.kill_workers()
    assert isinstance(running.exception(), WorkerDied)
    assert len(workers()) == 1
    go.touch()
    wait_until(lambda: not workers())


def test_a_time_limit_keeps_no_arguments_alive(tmp_path):
    with memory(1, limits=Limits(time_s=3613)) as ex:
        held = ex.submit(calls.wait_for_file, str(tmp_path / "go"))
        wait_until(lambda: payloads_limited_to(3613))
        (tmp_path / "go").touch()
        held.result()
        for _ in range(3):
            ex.submit(len, bytes(1_000_000)).result()
        wait_until(lambda: not payloads_limited_to(3613))


def test_memory_has_no_limit_and_output_is_shown_but_not_kept(capsys):
    with memory(1, limits=Limits(memory_mb=1)) as ex:
        future = ex.submit(calls.speak, "aloud")
        assert future.result() == "aloud"
        assert (future.output.stdout, future.output.stderr, future.output.logs) == ("", "", ())
        assert future.peak_memory_bytes > 1_000_000
    assert "out aloud\n" in capsys.readouterr().out


def test_sys_exit_ends_neither_the_client_nor_the_thread():
    with memory(1) as ex:
        assert isinstance(ex.submit(calls.leave).exception(), SystemExit)
        assert ex.submit(calls.thread_name).result().endswith("-worker-0")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_call_that_forks_and_comes_back_twice_is_answered_once():
    with memory(1) as ex:
        assert ex.submit(calls.fork_and_return).result() == "parent"
        assert list(ex.map(calls.identity, range(20))) == list(range(20))
    os.wait()


def test_a_thread_that_cannot_be_started_breaks_the_executor(monkeypatch):
    from lambdafutures._backends import memory_invoker

    def refuse(*_):
        raise RuntimeError("can't start new thread")

    with memory(1) as ex:
        monkeypatch.setattr(memory_invoker, "WorkerThread", refuse)
        with pytest.raises(BackendError, match="a thread could not be started.*smaller max_work"):
            ex.submit(calls.identity, 1).result()


def test_a_want_of_memory_is_the_attempts_fault(monkeypatch):
    from lambdafutures._backends import worker_thread

    def refuse(answer):
        raise MemoryError("no room")

    with memory(1, retry=RetryPolicy(attempts=2)) as ex:
        monkeypatch.setattr(worker_thread, "_by_wire", refuse)
        with pytest.raises(WorkerDied, match=r"could not be run: MemoryError.*tried 2 times"):
            ex.submit(calls.identity, 1).result()


def test_the_environment_chooses_it(monkeypatch):
    monkeypatch.setenv("LAMBDAFUTURES_BACKEND", "memory")
    with LambdaPoolExecutor() as ex:
        assert "backend=memory (LAMBDAFUTURES_BACKEND=memory)" in repr(ex)
        assert ex.submit(calls.pid).result() == os.getpid()


def test_a_call_that_never_returns_does_not_keep_the_interpreter(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from lambdafutures import LambdaPoolExecutor, Limits\n"
        "ex = LambdaPoolExecutor(1, backend='memory', limits=Limits(time_s=0.1))\n"
        "future = ex.submit(lambda: __import__('threading').Event().wait())\n"
        "print(type(future.exception()).__name__)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("CallTimeout\n", "", 0)
