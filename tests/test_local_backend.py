"""What is special of the local backend, whose workers are processes. Faults are caused for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from lambdafutures import LambdaPoolExecutor, Limits, RetryPolicy
from lambdafutures.exceptions import WorkerDied
from tests import calls
from tests.conftest import is_alive, payloads_limited_to, wait_until

pytestmark = pytest.mark.usefixtures("nothing_left")


# -------------------------------------------------------------------- workers


def test_workers_are_fresh_interpreters_with_the_clients_path(ex):
    assert ex.submit(calls.environment, "LAMBDAFUTURES_DEPTH").result() == "1"
    assert (
        ex.submit(lambda: __import__("tests.calls").calls.import_pid).result() != calls.import_pid
    )


def test_workers_are_replaced_after_max_tasks_per_child():
    with LambdaPoolExecutor(1, max_tasks_per_child=3, backend="local") as ex:
        pids = list(ex.map(calls.pid, range(10)))
    assert len(set(pids)) == 4
    assert max(pids.count(pid) for pid in pids) == 3


def test_output_is_shown_where_the_client_writes(capfd):
    with LambdaPoolExecutor(1, backend="local") as ex:
        ex.submit(calls.speak, "aloud").result()
    shown = capfd.readouterr()
    assert "out aloud\n" in shown.out
    assert "err aloud\n" in shown.err


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


def test_calls_that_wait_can_be_met_by_those_behind_them(tmp_path):
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


def test_an_executor_whose_thread_cannot_be_started_leaves_nothing(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    with LambdaPoolExecutor(1, backend="local") as ex:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                ex.submit(calls.identity, 1)
        assert ex.submit(calls.identity, 1).result() == 1


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


# -------------------------------------------------------------------- what a call leaves behind


def test_an_idle_worker_keeps_neither_arguments_nor_results():
    with LambdaPoolExecutor(1, backend="local") as ex:
        baseline = ex.submit(calls.resident_mb).result()
        ex.submit(calls.identity, bytes(200_000_000)).result()
        assert ex.submit(calls.resident_mb).result() < baseline + 100


def test_a_worker_that_dies_within_its_time_limit_is_not_judged_later(ex):
    assert ex.submit(abs, -1).result() == 1
    hurried = ex.with_options(time_s=0.1, retry=RetryPolicy(attempts=1))
    assert isinstance(hurried.submit(calls.die).exception(), WorkerDied)
    assert ex.submit(calls.spin, 0.3).result() == 0.3  # its time is over meanwhile
    assert ex.submit(abs, -1).result() == 1


def test_a_time_limit_keeps_no_payload_alive(tmp_path):
    with LambdaPoolExecutor(1, backend="local", limits=Limits(time_s=3607)) as ex:
        held = ex.submit(calls.wait_for_file, str(tmp_path / "go"))
        wait_until(lambda: payloads_limited_to(3607))
        (tmp_path / "go").touch()
        held.result()
        for _ in range(5):
            ex.submit(len, bytes(50_000_000)).result()
        (worker,) = ex._pool.invoker._workers
        # The engine's thread may be in the middle of handing the last result over.
        wait_until(lambda: not payloads_limited_to(3607))
        assert worker.queue == []


def test_odd_entries_of_the_import_path_are_passed_over(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, Path("/nowhere"), None])
    with LambdaPoolExecutor(1, backend="local") as ex:
        assert ex.submit(calls.identity, 1).result(20) == 1
