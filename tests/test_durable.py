"""Durable jobs on the local backend: what one client leaves, another takes up."""

from __future__ import annotations

import random
import re
import shutil
import stat
import threading
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from lambdafutures import JobHandle, LambdaPoolExecutor, RetryPolicy, cli
from lambdafutures._backends.file_store import FileStore
from lambdafutures._engine.durable import intake, records
from lambdafutures._engine.portal import Portal
from lambdafutures._wire import codec, frames, invocation, outcome, seal
from lambdafutures._wire.outcome import Entry, Outcome
from lambdafutures.cli import clean
from lambdafutures.exceptions import (
    BackendError,
    JobNotFound,
    LambdaFuturesError,
    WireError,
    WorkerDied,
)
from tests import calls
from tests.conftest import wait_until
from tests.durable_client import kill_and_attach


def durable(workers=1, **options):
    return LambdaPoolExecutor(workers, backend="local", durable=True, **options)


def attach(ex, **options):
    return LambdaPoolExecutor.attach(ex.handle, 1, **options)


def objects(handle, part=""):
    """Files of a job's store whose keys have a part; the file of a key ends with its last part."""
    return sorted(
        path
        for path in Path(handle.root).rglob("=*")
        if f"/{part}" in str(path.relative_to(handle.root)).replace("=", "")
    )


# -------------------------------------------------------------------- what is left is taken up


def test_after_a_kill_every_result_comes_and_no_run_is_unrecorded(tmp_path):
    for seed in range(3):
        folder = tmp_path / str(seed)
        folder.mkdir()
        found = kill_and_attach(
            "local",
            folder,
            200,
            chunksize=3,
            workers=2,
            within_s=0.3,
            source=random.Random(seed),
        )
        assert found.wrong == []
        assert found.too_many == []


def test_all_calls_come_back_in_order_done_or_not(tmp_path, nothing_left):
    go = tmp_path / "go"
    ex = durable()
    first = ex.submit(calls.add, 1, y=2)
    list(ex.map(calls.note_run, [str(tmp_path)] * 5, range(5), chunksize=2))
    failed = ex.submit(calls.fail, 3)
    spoke = ex.map(calls.speak, ["a", "b"], chunksize=2)
    assert first.result() == 3
    assert list(spoke) == ["a", "b"]
    waits = ex.submit(calls.note_and_wait, str(tmp_path), "waits", str(go))
    more = ex.map(calls.note_run, [str(tmp_path)] * 3, range(5, 8), chunksize=3)
    ex.wait_durable()
    # It is running for its owner before the log says so, and it is sent: that counts as a try.
    wait_until(lambda: calls.runs(tmp_path, "waits"))
    ex.kill_workers()
    with pytest.raises(WorkerDied):
        waits.result()
    # Short calls are handed to a busy worker in advance: then it was sent, and is not cancelled.
    with pytest.raises((CancelledError, WorkerDied)):
        list(more)
    with attach(ex) as again:
        futures = again.futures
        assert len(futures) == 1 + 5 + 1 + 2 + 1 + 3
        assert [future.call_id for future in futures[:4]] == [
            f"{ex.handle.session}-{name}" for name in ("0", "1.0", "1.1", "2.0")
        ]
        assert futures[0].result() == 3
        assert [future.result() for future in futures[1:6]] == list(range(5))
        with pytest.raises(ValueError, match="bad 3") as caught:
            futures[6].result()
        assert "fail" in str(caught.value.__cause__)
        assert str(failed.exception()) == str(futures[6].exception())
        assert [future.result() for future in futures[7:9]] == ["a", "b"]
        assert [future.output.stdout for future in futures[7:9]] == ["out a\n", "out b\n"]
        assert not futures[9].done()
        assert not futures[11].cancel()
        go.touch()
        assert futures[9].result() == "waits"
        assert futures[9].attempts == 2
        assert [future.result() for future in futures[10:]] == [5, 6, 7]
    assert [calls.runs(tmp_path, x) for x in range(8)] == [1] * 8
    assert all(future.timings.done_s > 0 for future in futures)


def test_who_attaches_may_submit_more_and_be_followed(nothing_left):
    with durable() as ex:
        assert ex.submit(calls.identity, 0).result() == 0
        assert ex.futures == ()
    with attach(ex) as second:
        assert [future.result() for future in second.futures] == [0]
        assert list(second.map(calls.identity, [1, 2], chunksize=2)) == [1, 2]
        assert second.submit(calls.add, 1, y=2).result() == 3
        assert second.statistics().calls_done == 4
    with attach(ex) as third:
        assert [future.result() for future in third.futures] == [0, 1, 2, 3]
        assert third.handle == ex.handle


def test_what_was_stored_counts_whatever_became_of_it_in_memory(tmp_path):
    import numpy as np

    values = np.arange(100_000)
    ex = durable()
    blocks = ex.submit(calls.wait_for_file, str(tmp_path / "go"))
    future = ex.submit(np.sum, values)
    ex.wait_durable()
    expected = int(values.sum())
    values[:] = 0
    (tmp_path / "go").touch()
    assert future.result() == expected
    blocks.result()
    ex.shutdown()
    with attach(ex) as again:
        assert again.futures[1].result() == expected


def test_options_initializer_and_functions_of_the_script_are_remembered(tmp_path):
    class Passing(Exception):
        """Known to nobody else."""

    def passes_later(folder):
        calls.note_run(folder, "tries")
        if calls.runs(folder, "tries") < 3:
            raise Passing
        return calls.state["initialized"]

    ex = durable(initializer=calls.initialize, initargs=(7,))
    blocks = ex.submit(calls.wait_for_file, str(tmp_path / "go"))
    ex.with_options(retry=RetryPolicy(5, (Passing,), backoff_s=0.0)).submit(
        passes_later, str(tmp_path)
    )
    ex.wait_durable()
    wait_until(blocks.running)
    ex.kill_workers()
    (tmp_path / "go").touch()
    with attach(ex) as again:
        assert again.futures[1].result() == 7
        assert again.futures[1].attempts == 3


def test_faults_of_the_first_client_count(tmp_path):
    """A call that has killed two workers of the first client has one try left with the second."""
    ex = durable(retry=RetryPolicy(attempts=3))
    killer = ex.submit(_die_then_wait, str(tmp_path))
    wait_until(lambda: calls.runs(tmp_path, "killer") == 3)
    ex.kill_workers()
    assert isinstance(killer.exception(), WorkerDied)
    with attach(ex) as again:
        error = again.futures[0].exception()
    assert isinstance(error, WorkerDied)
    assert "tried 4 times" in str(error)
    assert calls.runs(tmp_path, "killer") == 4


def _die_then_wait(folder):
    calls.note_run(folder, "killer")
    if calls.runs(folder, "killer") == 3:
        calls.wait_for_file(f"{folder}/never")
    calls.die()


def test_what_was_cancelled_stays_so(tmp_path):
    go = tmp_path / "go"
    ex = durable()
    blocks = ex.submit(calls.wait_for_file, str(go), 1)
    dropped = ex.submit(calls.note_run, str(tmp_path), "dropped")
    ex.wait_durable()
    wait_until(blocks.running)
    assert dropped.cancel()
    last = ex.submit(calls.note_run, str(tmp_path), "last")
    ex.shutdown(wait=False, cancel_futures=True)
    go.touch()
    ex.shutdown()
    assert last.cancelled()
    with attach(ex) as again:
        assert [future.cancelled() for future in again.futures] == [False, True, True]
        assert again.futures[0].result() == 1
    assert calls.runs(tmp_path, "dropped") == calls.runs(tmp_path, "last") == 0


def test_a_restored_call_that_waits_can_be_cancelled(tmp_path):
    ex = durable()
    blocks = ex.submit(calls.wait_for_file, str(tmp_path / "go"), 1)
    ex.submit(calls.note_run, str(tmp_path), "dropped")
    ex.wait_durable()
    wait_until(blocks.running)
    ex.kill_workers()
    with attach(ex) as again:
        assert again.futures[1].cancel()
        (tmp_path / "go").touch()
        assert again.futures[0].result() == 1
        again.shutdown()
        assert calls.runs(tmp_path, "dropped") == 0
    with attach(ex) as third:
        assert third.futures[1].cancelled()


def test_callbacks_and_observers_learn_of_restored_calls(tmp_path):
    class Watch:
        def __init__(self):
            self.seen = []

        def on_event(self, event):
            self.seen.append(type(event).__name__)

    with durable() as ex:
        list(ex.map(calls.identity, range(4), chunksize=2))
    watch = Watch()
    with attach(ex, observers=[watch]) as again:
        done = threading.Semaphore(0)
        for future in again.futures:
            future.add_done_callback(lambda future: done.release())
        for _ in range(4):
            assert done.acquire(timeout=20)
    assert watch.seen.count("CallsSubmitted") == watch.seen.count("CallsEnded") == 2
    assert "AttemptSent" not in watch.seen


# -------------------------------------------------------------------- one client at a time


def test_who_attaches_ends_the_client_before(tmp_path):
    with durable() as ex:
        ex.submit(calls.identity, 1).result()
        with attach(ex) as second:
            late = ex.submit(calls.note_run, str(tmp_path), "late")
            error = late.exception(20)
            assert isinstance(error, BackendError)
            assert "another process has attached" in str(error)
            with pytest.raises(BackendError, match="another process has attached"):
                ex.submit(calls.identity, 2)
            with pytest.raises(BackendError, match="another process has attached"):
                ex.wait_durable()
            assert second.submit(calls.identity, 3).result() == 3
    assert calls.runs(tmp_path, "late") == 0
    with attach(ex) as third:
        assert [future.result() for future in third.futures] == [1, 3]


# -------------------------------------------------------------------- waiting


def test_what_is_not_durable_says_so():
    with LambdaPoolExecutor(1, backend="local") as ex:
        for ask in (lambda: ex.handle, ex.wait_durable):
            with pytest.raises(RuntimeError, match="durable=True"):
                ask()
        assert ex.futures == ()


@pytest.mark.parametrize(("backend", "completion"), [("memory", "auto"), ("aws", "response")])
def test_what_would_not_last_is_refused(backend, completion):
    with pytest.raises(ValueError, match="durable=True needs"):
        LambdaPoolExecutor(1, backend=backend, completion=completion, durable=True)


def test_waiting_for_the_store(monkeypatch):
    lets_go = threading.Event()
    put = FileStore._put

    def slow_put(self, key, body, only_if_absent):
        if "/log/" in key:
            assert lets_go.wait(20)
        return put(self, key, body, only_if_absent)

    monkeypatch.setattr(FileStore, "_put", slow_put)
    with durable() as ex:
        ex.wait_durable()  # nothing was submitted
        future = ex.submit(calls.identity, 1)
        with pytest.raises(TimeoutError):
            ex.wait_durable(0.05)
        assert not future.running()
        lets_go.set()
        ex.wait_durable()
        assert future.result() == 1
    ex.wait_durable()


def test_waiting_for_the_store_holds_before_the_loop_has_begun(monkeypatch):
    asked, lets_go = threading.Event(), threading.Event()
    run, call, put = Portal._run, Portal.call, FileStore._put

    def late_run(self):
        assert asked.wait(20)  # a busy machine gives the thread no time
        run(self)

    def noted_call(self, function, *args):
        call(self, function, *args)
        if function.__name__ == "_on_wait_stored":
            asked.set()

    def slow_put(self, key, body, only_if_absent):
        assert lets_go.wait(20)
        return put(self, key, body, only_if_absent)

    monkeypatch.setattr(Portal, "_run", late_run)
    monkeypatch.setattr(Portal, "call", noted_call)
    monkeypatch.setattr(FileStore, "_put", slow_put)
    with durable() as ex:
        future = ex.submit(calls.identity, 1)
        with pytest.raises(TimeoutError):
            ex.wait_durable(0.3)
        lets_go.set()
        ex.wait_durable()
        assert future.result() == 1


def test_what_was_given_up_before_it_was_stored_is_not_called_stored(monkeypatch):
    begun, lets_go = threading.Event(), threading.Event()
    put = FileStore._put

    def slow_put(self, key, body, only_if_absent):
        begun.set()
        assert lets_go.wait(20)
        return put(self, key, body, only_if_absent)

    monkeypatch.setattr(FileStore, "_put", slow_put)
    ex = durable()
    ex.submit(calls.identity, 1)
    assert begun.wait(20)
    ending = threading.Thread(target=ex.kill_workers)
    ending.start()
    wait_until(lambda: not ex.statistics().chunks_open)
    lets_go.set()
    ending.join(20)
    with pytest.raises(LambdaFuturesError, match="before everything was stored"):
        ex.wait_durable(20)


def test_a_store_that_refuses_ends_the_executor_and_says_why(monkeypatch, nothing_left):
    def refuse(self, key, body, only_if_absent):
        raise BackendError("the store is full")

    monkeypatch.setattr(FileStore, "_put", refuse)
    with durable() as ex:
        future = ex.submit(calls.identity, 1)
        assert "the store is full" in str(future.exception(20))
        with pytest.raises(BackendError, match="the store is full"):
            ex.submit(calls.identity, 2)
        with pytest.raises(BackendError, match="the store is full"):
            ex.wait_durable(20)


def test_batches_are_bounded(monkeypatch):
    monkeypatch.setattr(intake, "BATCH_CHUNKS", 3)
    with durable(2) as ex:
        futures = [ex.submit(calls.identity, x) for x in range(20)]
        ex.wait_durable()
        assert [future.result() for future in futures] == list(range(20))
    assert len(objects(ex.handle, "arguments")) >= 7
    with attach(ex) as again:
        assert [future.result() for future in again.futures] == list(range(20))


# -------------------------------------------------------------------- handles


def test_a_handle_is_a_secret_that_only_its_owner_can_read():
    with durable() as ex:
        assert not ex.handle.path.exists()
        ex.submit(calls.identity, 1).result()
        handle = ex.handle
    assert stat.S_IMODE(handle.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(handle.path.parent.stat().st_mode) == 0o700
    for text in (repr(handle), str(handle), repr(ex), repr(ex._pool.job)):
        assert handle.key.hex() not in text
        assert repr(handle.key) not in text
    for path in objects(handle):
        assert handle.key not in path.read_bytes()
        assert handle.key.hex().encode() not in path.read_bytes()
    with pytest.raises(AttributeError):
        handle.session = "other"
    for where in (handle, str(handle.path), handle.path, handle.session):
        with LambdaPoolExecutor.attach(where, 1) as again:
            assert again.futures[0].result() == 1
    assert JobHandle.load(handle.path) == handle


def test_what_is_no_handle_is_refused(tmp_path):
    with pytest.raises(JobNotFound, match="lambdafutures jobs"):
        LambdaPoolExecutor.attach("nothing-of-that-name")
    file = tmp_path / "x.json"
    for text in ("", "{}", '{"lambdafutures_job": 99, "key": "secret"}'):
        file.write_text(text)
        with pytest.raises(ValueError, match=re.escape(str(file))) as caught:
            LambdaPoolExecutor.attach(file)
        assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="max_workers"):
        LambdaPoolExecutor.attach(file, 0)


def test_a_job_that_is_gone_or_not_whole_is_refused():
    ex = durable()
    with pytest.raises(JobNotFound, match="nothing in its store"):
        attach(ex)
    with ex:
        for x in range(3):
            ex.submit(calls.identity, x).result()
    second = objects(ex.handle, "log")[1]
    second.unlink()
    with pytest.raises(JobNotFound, match=r"object 1 of the log of job \w+ is missing"):
        attach(ex)


def test_another_python_is_refused(monkeypatch):
    monkeypatch.setattr("lambdafutures._pool.sys.version_info", _OtherVersion)
    with durable() as ex:
        ex.wait_durable()
        error = ex.submit(calls.identity, 1).exception()
    assert error is None
    monkeypatch.undo()
    with pytest.raises(WireError, match=r"was made with Python 3\.99"):
        attach(ex)


class _OtherVersion:
    major = 3
    minor = 99


def test_another_version_of_the_log_is_refused(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(records, "FORMAT_VERSION", 99)
        with durable() as ex:
            ex.submit(calls.identity, 1).result()
    with pytest.raises(WireError, match="format 99"):
        attach(ex)


# -------------------------------------------------------------------- who writes into the store


class Bomb:
    """Unpickling it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def forged(path, part):
    """What somebody without the key would put in the place of an object."""
    parts = codec.dumps([Bomb(str(path))]).parts
    packed = invocation.pack_parts(parts)
    if part == "out":
        answer = Outcome(1, 1, [Entry(0, 1, outcome.OK, parts)])
        answer.run_s.append(0.0)
        return bytes(seal.MAC_BYTES) + frames.pack(frames.OUTCOME, *answer.encode())
    if part == "log":
        entry = records.LogEntry("x", 1.0, options=[packed])
        return bytes(seal.MAC_BYTES) + entry.encode()
    return packed


@pytest.mark.parametrize("part", ["head", "log", "out", "blobs", "arguments"])
def test_what_somebody_else_wrote_is_refused_and_never_unpickled(part, tmp_path):
    bomb = tmp_path / "bomb"
    ex = durable()
    blocks = ex.submit(calls.wait_for_file, str(tmp_path / "go"))
    ex.submit(calls.identity, 1)
    ex.wait_durable()
    wait_until(blocks.running)
    if part == "out":
        (tmp_path / "go").touch()
        blocks.result()
        ex.shutdown()
    else:
        ex.kill_workers()
    (tmp_path / "go").touch()
    found = objects(ex.handle, part)
    assert found
    for path in found:
        path.write_bytes(forged(bomb, part))
    if part in ("head", "log"):
        with pytest.raises(WireError, match="does not carry this session's seal"):
            attach(ex)
    else:
        with attach(ex) as again:
            errors = [future.exception(20) for future in again.futures]
        for error in errors:
            assert isinstance(error, WireError)
            assert "overwritten" in str(error) or "something else wrote it" in str(error)
    assert not bomb.exists()


def test_a_log_that_somebody_else_writes_on_is_no_other_client():
    with durable() as ex:
        ex.submit(calls.identity, 1).result()
        last = objects(ex.handle, "log")[-1]
        last.with_name(f"={int(last.name[1:]) + 1:09}").write_bytes(b"theirs" * 10)
        error = ex.submit(calls.identity, 2).exception(20)
    assert isinstance(error, WireError)
    assert "does not carry this session's seal" in str(error)


def test_an_object_is_refused_under_another_name():
    with durable() as ex:
        for x in range(3):
            ex.submit(calls.identity, x).result()
    first, second = objects(ex.handle, "log")[:2]
    second.write_bytes(first.read_bytes())
    with pytest.raises(WireError, match="the object log/1 of job"):
        attach(ex)


# -------------------------------------------------------------------- the commands


def listed(capsys):
    assert cli.main(["jobs"]) == 0
    return capsys.readouterr().out


def test_jobs_are_listed_and_the_finished_ones_removed(capsys, tmp_path):
    assert "there are no jobs" in listed(capsys)
    with durable() as finished:
        list(finished.map(calls.identity, range(5)))
    left = durable()
    blocks = left.submit(calls.wait_for_file, str(tmp_path / "go"))
    left.submit(calls.identity, 1)
    left.wait_durable()
    wait_until(blocks.running)
    text = listed(capsys)
    assert re.search(rf"{finished.handle.session} +local +5 +5 +finished +\d+s", text)
    assert re.search(rf"{left.handle.session} +local +2 +0 +open", text)
    left.kill_workers()
    strange = finished.handle.path.with_name("notes.json")
    strange.write_text("mine")

    assert cli.main(["clean", "--dry-run"]) == 0
    assert finished.handle.path.exists()
    assert cli.main(["clean", "--yes"]) == 0
    assert f"removed {finished.handle.session}" in capsys.readouterr().out
    assert not finished.handle.path.exists()
    assert not Path(finished.handle.root).exists()
    assert cli.main(["clean", "--older-than", "1h", "--yes"]) == 0
    assert "nothing to remove" in capsys.readouterr().out

    # What was left open is whole, and is removed when it is old enough.
    (tmp_path / "go").touch()
    with attach(left) as again:
        assert [future.result() for future in again.futures] == [None, 1]
        assert cli.main(["clean", "--yes"]) == 0
        assert "nothing to remove" in capsys.readouterr().out
    assert "finished" in listed(capsys)
    assert cli.main(["clean", "--older-than", "0s", "--yes"]) == 0
    assert sorted(left.handle.path.parent.iterdir()) == [strange]
    assert "notes" in listed(capsys)


def test_a_job_whose_folder_cannot_be_read_is_listed_with_the_reason(capsys):
    with durable() as ex:
        ex.submit(calls.identity, 1).result()
    root = Path(ex.handle.root)
    shutil.rmtree(root)
    root.write_text("no folder")
    assert re.search(rf"{ex.handle.session} +local +.*Not a directory", listed(capsys))


def test_only_a_jobs_own_folder_is_removed(tmp_path):
    with durable() as ex:
        ex.submit(calls.identity, 1).result()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").touch()
    path = ex.handle.path
    path.write_text(path.read_text().replace(ex.handle.root, str(elsewhere)))
    assert cli.main(["clean", "--older-than", "0s", "--yes"]) == 0
    assert (elsewhere / "mine").exists()
    assert Path(ex.handle.root).exists()
    assert not path.exists()


def test_without_a_terminal_nothing_is_removed_unasked(capsys, monkeypatch):
    with durable() as ex:
        ex.submit(calls.identity, 1).result()
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert cli.main(["clean"]) == 1
    assert "--yes" in capsys.readouterr().err
    assert ex.handle.path.exists()


def test_ages_are_a_number_and_a_unit():
    assert [clean.parse_age_s(text) for text in ("5s", "2m", "12h", "7d")] == [
        5,
        120,
        43200,
        604800,
    ]
    with pytest.raises(SystemExit):
        cli.main(["clean", "--older-than", "a week"])
