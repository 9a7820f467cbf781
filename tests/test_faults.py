"""What goes wrong stays with the call that it happened to. Each fault is caused for real."""

from __future__ import annotations

import functools
import gc
import itertools
import operator
import os
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from lambdafutures import LambdaPoolExecutor, Limits, RetryPolicy
from lambdafutures.exceptions import (
    CallTimeout,
    InitializerFailed,
    NotLoadable,
    OutOfMemory,
    RemoteError,
    WorkerDied,
)
from tests import calls
from tests.conftest import is_alive, wait_until

pytestmark = pytest.mark.usefixtures("nothing_left")

ONCE = RetryPolicy(attempts=1)


# -------------------------------------------------------------------- exceptions of the call's own


def test_an_exception_comes_home_with_its_remote_traceback(ex):
    from concurrent.futures.process import _RemoteTraceback

    error = ex.submit(calls.fail, 7).exception()
    assert type(error) is ValueError
    assert error.args == ("bad 7",)
    assert type(error.__cause__) is _RemoteTraceback
    assert 'raise ValueError(f"bad {x}")' in error.__cause__.tb
    assert "execute.py" not in error.__cause__.tb


def test_exceptions_that_want_several_arguments_travel(ex):
    error = ex.submit(calls.fail_with_two, 404, "gone").exception()
    assert type(error) is calls.NeedsTwo
    assert (error.code, error.text, str(error)) == (404, "gone", "404: gone")


def test_an_exception_that_cannot_travel_is_described(ex):
    error = ex.submit(calls.fail_untravelling).exception()
    assert type(error) is RemoteError
    assert str(error) == "tests.calls.CannotTravel: from afar"
    assert "fail_untravelling" in error.__cause__.tb


def test_a_chain_of_exceptions_is_told(ex):
    error = ex.submit(calls.chain).exception()
    assert "KeyError: 'missing'" in error.__cause__.tb
    assert "direct cause" in error.__cause__.tb


def test_base_exceptions_are_the_calls_own(ex):
    assert isinstance(ex.submit(calls.leave).exception(), SystemExit)
    assert isinstance(ex.submit(calls.interrupt).exception(), KeyboardInterrupt)
    assert ex.submit(calls.identity, 1).result() == 1


def test_other_calls_of_the_chunk_keep_their_results(ex):
    futures = ex.map(calls.fail_on, range(10), itertools.repeat(9), chunksize=10)
    assert list(itertools.islice(futures, 9)) == list(range(9))


def test_a_named_exception_is_retried(tmp_path):
    def flaky(folder):
        from tests import calls

        calls.note_run(folder, "flaky")
        if calls.runs(folder, "flaky") < 3:
            raise ConnectionError("again")
        return "well"

    retry = RetryPolicy(attempts=3, on_exceptions=(OSError,), backoff_s=0.001)
    with LambdaPoolExecutor(2, backend="local", retry=retry) as ex:
        future = ex.submit(flaky, str(tmp_path))
        assert future.result() == "well"
        assert future.attempts == 3
        assert ex.submit(calls.fail, 1).exception().args == ("bad 1",)
        assert ex.statistics().retries == 2


# -------------------------------------------------------------------- what cannot be pickled


def test_a_call_that_cannot_be_pickled_fails_alone(ex):
    futures = [ex.submit(calls.identity, x) for x in (1, calls.lock(), 3)]
    assert futures[0].result() == 1
    assert futures[2].result() == 3
    error = futures[1].exception()
    assert type(error) is TypeError
    assert "cannot pickle '_thread.lock' object" in str(error)
    assert "arguments of this call" in "".join(error.__notes__)


def test_a_function_that_cannot_be_pickled_fails_on_its_future(ex):
    held = calls.lock()
    error = ex.submit(lambda: held).exception()
    assert type(error) is TypeError
    assert "cannot be pickled" in "".join(error.__notes__)
    with pytest.raises(TypeError, match="cannot pickle"):
        next(ex.map(lambda x: held, [1, 2]))


@pytest.mark.parametrize("chunksize", [1, 4, 10])
def test_in_a_map_the_neighbours_of_what_cannot_be_pickled_run(ex, chunksize):
    items = [calls.lock() if x == 6 else x for x in range(10)]
    results = ex.map(calls.identity, items, chunksize=chunksize)
    assert list(itertools.islice(results, 6)) == list(range(6))
    with pytest.raises(TypeError, match="cannot pickle"):
        next(results)


@pytest.mark.parametrize("chunksize", [1, 4, 10])
def test_a_result_that_cannot_be_pickled_fails_alone(ex, chunksize):
    results = ex.map(calls.lock_on, range(10), itertools.repeat(6), chunksize=chunksize)
    assert list(itertools.islice(results, 6)) == list(range(6))
    with pytest.raises(TypeError, match="cannot pickle") as caught:
        next(results)
    assert "its result, of type _thread.lock" in "".join(caught.value.__notes__)


def test_what_cannot_be_unpickled_names_the_side(ex):
    error = ex.submit(calls.identity, calls.BadUnpickle()).exception()
    assert type(error) is NotLoadable
    assert isinstance(error, BrokenProcessPool)
    assert "arguments could not be unpickled in the worker: builtins.ImportError" in str(error)
    assert isinstance(error.__cause__, ImportError)
    error = ex.submit(calls.for_workers_only, os.getpid()).exception()
    assert type(error) is NotLoadable
    assert "result could not be unpickled in the client: ImportError" in str(error)
    assert ex.submit(calls.identity, 1).result() == 1


def test_a_generator_that_raises_in_a_map_raises_at_once_and_the_rest_goes_on(ex):
    def items():
        yield 1
        yield 2
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        ex.map(calls.identity, items())
    assert ex.submit(calls.identity, 1).result() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chunksize": 0}, "chunksize must be >= 1"),
        ({"chunksize": -1}, "chunksize must be >= 1"),
        ({"buffersize": 0}, "buffersize must be None or > 0"),
    ],
)
def test_bad_arguments_of_map(ex, arguments, message):
    with pytest.raises(ValueError, match=message):
        ex.map(calls.identity, [1], **arguments)
    with pytest.raises(TypeError, match="buffersize must be an integer"):
        ex.map(calls.identity, [1], buffersize="2")


# -------------------------------------------------------------------- workers that die


def test_a_worker_killed_in_the_middle_of_a_map(ex):
    def pid_then_wait(x):
        import os
        import time

        time.sleep(0.002)
        return x, os.getpid()

    results = ex.map(pid_then_wait, range(300))
    first, victim = next(results)
    assert first == 0
    os.kill(victim, signal.SIGKILL)
    assert [x for x, _ in results] == list(range(1, 300))
    assert ex.statistics().workers_started == 3


@pytest.mark.parametrize("chunksize", [1, 8])
def test_the_killed_call_is_tried_again(tmp_path, chunksize):
    folder = itertools.repeat(str(tmp_path))
    with LambdaPoolExecutor(2, backend="local") as ex:
        results = ex.map(
            calls.die_the_first_time, folder, range(16), itertools.repeat(5), chunksize=chunksize
        )
        assert list(results) == list(range(16))
        assert ex.statistics().retries >= 1
    assert calls.runs(str(tmp_path), 5) == 2


def test_the_call_that_kills_its_workers_is_blamed_and_its_neighbours_succeed(tmp_path):
    folder = itertools.repeat(str(tmp_path))
    with LambdaPoolExecutor(2, backend="local") as ex:
        results = ex.map(calls.die_always, folder, range(12), itertools.repeat(5), chunksize=12)
        assert list(itertools.islice(results, 5)) == list(range(5))
        with pytest.raises(WorkerDied, match=r"call 5 of chunk 0 .*SIGKILL.*tried 3 times"):
            next(results)
        assert ex.submit(calls.identity, 1).result() == 1
    assert calls.runs(str(tmp_path), 5) == 3
    assert all(calls.runs(str(tmp_path), x) in (1, 2) for x in range(12) if x != 5)


def test_calls_that_had_ended_keep_their_results_when_the_next_one_kills_the_worker(tmp_path):
    def slow_then_die(folder, x):
        import time

        from tests import calls

        calls.note_run(folder, x)
        time.sleep(0.01)
        if x == 3:
            calls.die()
        return x

    with LambdaPoolExecutor(1, backend="local", retry=ONCE) as ex:
        results = ex.map(slow_then_die, itertools.repeat(str(tmp_path)), range(6), chunksize=6)
        assert list(itertools.islice(results, 3)) == [0, 1, 2]
        with pytest.raises(WorkerDied):
            next(results)
    assert [calls.runs(str(tmp_path), x) for x in range(6)] == [1] * 6


def test_a_dead_worker_is_a_broken_process_pool_but_the_pool_goes_on():
    with LambdaPoolExecutor(1, backend="local", retry=ONCE) as ex:
        future = ex.submit(calls.die)
        with pytest.raises(BrokenProcessPool, match=r"call 0 .*was killed by SIGKILL.*tried once"):
            future.result()
        assert future.attempts == 1
        assert ex.submit(calls.identity, 2).result() == 2
        status = ex.submit(os._exit, 7)
        with pytest.raises(WorkerDied, match="exited with status 7"):
            status.result()


def test_a_crash_tells_where_it_was():
    with LambdaPoolExecutor(1, backend="local", retry=ONCE) as ex:
        with pytest.raises(WorkerDied, match=r"SIGSEGV(.|\n)*in crash") as caught:
            ex.submit(calls.crash).result()
        assert "Segmentation fault" in str(caught.value)


def test_a_call_over_its_time_limit_is_ended_and_its_neighbours_run():
    limits = Limits(time_s=0.3)
    with LambdaPoolExecutor(1, backend="local", limits=limits) as ex:
        slow = ex.submit(calls.touch_then_sleep, os.devnull, 60)
        quick = ex.submit(calls.identity, 1)
        with pytest.raises(CallTimeout, match=r"had not returned after its time limit of 0.3 s"):
            slow.result()
        assert isinstance(slow.exception(), TimeoutError)
        assert quick.result() == 1

        def sleep_on(x):
            import time

            time.sleep(60 if x == 2 else 0.002)
            return x

        results = ex.map(sleep_on, range(5), chunksize=5)
        assert list(itertools.islice(results, 2)) == [0, 1]
        with pytest.raises(CallTimeout):
            next(results)


def test_a_worker_that_dies_within_its_time_limit_is_not_judged_later(ex):
    assert ex.submit(abs, -1).result() == 1
    hurried = ex.with_options(time_s=0.1, retry=ONCE)
    assert isinstance(hurried.submit(calls.die).exception(), WorkerDied)
    assert ex.submit(calls.spin, 0.3).result() == 0.3  # its time is over meanwhile
    assert ex.submit(abs, -1).result() == 1


def test_a_call_over_its_memory_limit_is_ended_with_the_figures():
    limits = Limits(memory_mb=120)
    with LambdaPoolExecutor(1, backend="local", limits=limits, retry=ONCE) as ex:
        with pytest.raises(OutOfMemory, match=r"used \d+ MiB of memory, .*limit of 120 MiB"):
            ex.submit(calls.allocate, 300).result()
        assert ex.submit(calls.identity, 1).result() == 1


def test_an_initializer_that_fails_breaks_the_executor():
    ex = LambdaPoolExecutor(2, initializer=calls.fail_to_initialize, backend="local")
    futures = [ex.submit(calls.identity, x) for x in range(5)]
    for future in futures:
        with pytest.raises(InitializerFailed, match="no initializer today"):
            future.result()
    with pytest.raises(BrokenProcessPool):
        ex.submit(calls.identity, 1)
    ex.shutdown()


def test_kill_workers_ends_what_runs():
    ex = LambdaPoolExecutor(1, backend="local")
    running = ex.submit(calls.touch_then_sleep, os.devnull, 60)
    waiting = ex.submit(calls.identity, 1)
    wait_until(running.running)
    ex.kill_workers()
    assert isinstance(running.exception(), BrokenProcessPool)
    assert waiting.cancelled()


def test_ctrl_c_in_the_with_block_ends_the_workers():
    ex = LambdaPoolExecutor(1, backend="local")
    running = ex.submit(calls.touch_then_sleep, os.devnull, 60)
    wait_until(running.running)

    def interrupted():
        with ex:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert running.done()


def test_what_a_call_started_ends_with_its_worker(tmp_path):
    note = tmp_path / "pids"
    ex = LambdaPoolExecutor(1, backend="local")
    ex.submit(calls.spawn_child, str(note))
    wait_until(lambda: note.exists() and len(note.read_text().split()) == 2)
    worker, child = map(int, note.read_text().split())
    ex.kill_workers()
    wait_until(lambda: not is_alive(child) and not is_alive(worker))


def test_workers_do_not_outlive_a_killed_client(tmp_path):
    script = tmp_path / "client.py"
    script.write_text(
        "import sys, time\n"
        "from lambdafutures import LambdaPoolExecutor\n"
        "def work(path):\n"
        "    import os, time\n"
        "    open(path, 'w').write(str(os.getpid()))\n"
        "    time.sleep(60)\n"
        "ex = LambdaPoolExecutor(2, backend='local')\n"
        "futures = [ex.submit(work, path) for path in sys.argv[1:]]\n"
        "time.sleep(60)\n"
    )
    notes = [tmp_path / "a", tmp_path / "b"]
    client = subprocess.Popen([sys.executable, str(script), *map(str, notes)])
    wait_until(lambda: all(note.exists() and note.read_text() for note in notes))
    workers = [int(note.read_text()) for note in notes]
    assert all(map(is_alive, workers))
    client.kill()
    client.wait()
    wait_until(lambda: not any(map(is_alive, workers)))


def test_the_client_that_forks_is_told_to_make_an_executor_of_its_own(ex):
    assert ex.submit(calls.identity, 1).result() == 1
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ex.submit(calls.identity, 1)
        except RuntimeError as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.close(writing)
    said = os.read(reading, 1000).decode()
    os.close(reading)
    os.waitpid(child, 0)
    assert "made in another process" in said
    assert ex.submit(calls.identity, 2).result() == 2


# -------------------------------------------------------------------- workers that cannot begin


@pytest.mark.parametrize("how", [calls.leave_at_once, calls.die])
def test_workers_that_end_before_they_are_ready_break_the_executor(how):
    with LambdaPoolExecutor(2, backend="local", initializer=how) as ex:
        futures = [ex.submit(calls.identity, x) for x in range(5)]
        for future in futures:
            with pytest.raises(BrokenProcessPool, match="workers end before the initializer ran"):
                future.result(20)
        assert ex.statistics().workers_started <= 8


def test_an_initializer_over_the_memory_limit_breaks_the_executor():
    limits = Limits(memory_mb=120)
    with (
        LambdaPoolExecutor(
            1, backend="local", initializer=calls.allocate, initargs=(300,), limits=limits
        ) as ex,
        pytest.raises(BrokenProcessPool, match="more than its limit of 120 MiB"),
    ):
        ex.submit(calls.identity, 1).result(20)


def test_a_slow_initializer_holds_up_only_its_own_worker(tmp_path):
    """The first worker to boot takes over what was handed to the one that is still booting."""
    with LambdaPoolExecutor(
        2, backend="local", initializer=calls.second_one_waits, initargs=(str(tmp_path),)
    ) as ex:
        assert list(ex.map(calls.identity, range(10))) == list(range(10))
        (tmp_path / "go").touch()


def test_a_working_directory_with_misleading_names_is_not_looked_at(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise RuntimeError('shadowed')\n")
    monkeypatch.chdir(tmp_path)
    with LambdaPoolExecutor(1, backend="local") as ex:
        assert ex.submit(calls.identity, 1).result(20) == 1


def test_a_default_timeout_of_the_clients_sockets_is_not_the_workers(monkeypatch):
    import socket

    socket.setdefaulttimeout(0.05)
    try:
        with LambdaPoolExecutor(1, backend="local") as ex:
            pids = set()
            for _ in range(3):
                pids.add(ex.submit(calls.pid).result(20))
                ex.submit(calls.spin, 0.1).result(20)
    finally:
        socket.setdefaulttimeout(None)
    assert len(pids) == 1


def test_a_backend_that_cannot_be_opened_fails_the_calls(monkeypatch):
    from lambdafutures._backends import worker_process

    def refuse(*_):
        raise OSError(24, "Too many open files")

    ex = LambdaPoolExecutor(1, backend="local")
    monkeypatch.setattr(worker_process.os, "pidfd_open", refuse)
    with pytest.raises(BrokenProcessPool, match="could not be opened.*Too many open files"):
        ex.submit(calls.identity, 1).result(20)  # whichever notices it first
    with pytest.raises(BrokenProcessPool):
        ex.submit(calls.identity, 1)
    monkeypatch.undo()
    ex.shutdown()


def test_what_is_submitted_when_the_session_has_ended_by_itself_fails(monkeypatch):
    from lambdafutures._backends import worker_process

    def refuse(*_):
        raise OSError(24, "Too many open files")

    ex = LambdaPoolExecutor(1, backend="local")
    monkeypatch.setattr(worker_process.os, "pidfd_open", refuse)
    with pytest.raises(BrokenProcessPool):
        ex.submit(calls.identity, 1).result(20)
    monkeypatch.undo()
    session = ex._pool.session
    session.join()
    session.broken = None  # as a thread sees it that looked a moment earlier
    with pytest.raises(BrokenProcessPool, match="the executor has ended"):
        ex.submit(calls.identity, 2).result(20)
    ex.shutdown()


def test_shutdown_right_after_submit_loses_nothing():
    for number in range(20):
        ex = LambdaPoolExecutor(1, backend="local")
        future = ex.submit(calls.identity, number)
        ex.shutdown(wait=False)
        assert future.result(20) == number
        ex.shutdown()


def test_a_forked_child_of_the_client_can_end():
    import multiprocessing

    called = threading.Event()
    with LambdaPoolExecutor(1, backend="local") as ex:
        ex.submit(calls.identity, 1).add_done_callback(lambda _: called.set())
        assert called.wait(20)
        child = multiprocessing.get_context("fork").Process(target=calls.identity, args=(1,))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads
            child.start()
        child.join(20)
        assert child.exitcode == 0
        child.close()


# -------------------------------------------------------------------- what a call leaves behind


def test_a_callable_with_a_state_starts_anew_each_time():
    with LambdaPoolExecutor(1, backend="local") as ex:
        counter = calls.Counter()
        assert [ex.submit(counter.count).result() for _ in range(3)] == [1, 1, 1]
        gather = functools.partial(operator.iadd, [])
        assert [ex.submit(gather, [x]).result() for x in range(3)] == [[0], [1], [2]]


def test_small_arrays_are_writable_too(ex):
    numpy = pytest.importorskip("numpy")
    for nbytes in (800, 20_000, 60_000, 70_000):
        back = ex.submit(calls.identity, numpy.zeros(nbytes // 8)).result()
        back[0] = 1


def test_an_idle_worker_keeps_neither_arguments_nor_results():
    with LambdaPoolExecutor(1, backend="local") as ex:
        baseline = ex.submit(calls.resident_mb).result()
        ex.submit(calls.identity, bytes(200_000_000)).result()
        assert ex.submit(calls.resident_mb).result() < baseline + 100


def test_a_time_limit_keeps_no_payload_alive():
    with LambdaPoolExecutor(1, backend="local", limits=Limits(time_s=3600)) as ex:
        for _ in range(5):
            ex.submit(len, bytes(50_000_000)).result()
        (worker,) = ex._pool.invoker._workers
        held = [p for p in gc.get_objects() if type(p).__name__ == "Payload"]
        assert held == []
        assert worker.queue == []


def test_a_result_of_many_parts_arrives(ex):
    made = ex.submit(calls.many_parts, 700).result()
    assert len(made) == 700


def test_odd_entries_of_the_import_path_are_passed_over(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, Path("/nowhere"), None])
    with LambdaPoolExecutor(1, backend="local") as ex:
        assert ex.submit(calls.identity, 1).result(20) == 1


def test_a_record_that_cannot_be_formatted_does_not_fail_the_call(ex):
    assert ex.submit(calls.log_unprintable).result() == "went on"


def test_system_exit_while_a_result_is_pickled_is_the_calls_error(ex):
    error = ex.submit(calls.exits_when_pickled).exception()
    assert isinstance(error, SystemExit)


def test_a_call_that_forks_and_comes_back_twice_is_answered_once(ex):
    assert ex.submit(calls.fork_and_return).result() in ("parent", "child")
    assert list(ex.map(calls.identity, range(20))) == list(range(20))
