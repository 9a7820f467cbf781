"""Durable jobs on AWS, over HTTP: stored before they are sent, taken up by the next client."""

from __future__ import annotations

import json
import os
import random

import pytest

from lambdafutures import LambdaPoolExecutor, cli
from lambdafutures._backends import lambda_invoker
from lambdafutures._engine.durable import recording_invoker
from lambdafutures._engine.durable.place import JobPlace
from lambdafutures._wire import keys
from lambdafutures._wire.invocation import Invocation
from lambdafutures.deployment import path_of
from lambdafutures.exceptions import BackendError, InitializerFailed, LambdaFuturesError
from tests import calls
from tests.aws.conftest import BUCKET, Aws
from tests.conftest import wait_until
from tests.durable_client import kill_and_attach


@pytest.fixture
def soon(aws: Aws, monkeypatch):
    """What was recorded and never sent is given up soon."""
    monkeypatch.setattr(lambda_invoker, "QUEUE_S", 0.5)
    monkeypatch.setattr(recording_invoker, "ROW_S", 0.5)
    aws.deploy(timeout_s=2)
    return aws


def durable(aws: Aws, workers: int = 1, **options):
    return aws.executor(workers, "auto", durable=True, **options)


def attach(ex, workers: int = 1):
    return LambdaPoolExecutor.attach(ex.handle, workers)


def test_after_a_kill_every_result_comes_and_no_run_is_unrecorded(soon: Aws, tmp_path):
    for seed in range(2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        found = kill_and_attach(
            "aws",
            folder,
            120,
            chunksize=4,
            workers=3,
            within_s=0.6,
            source=random.Random(seed),
        )
        assert found.wrong == []
        assert found.too_many == []


def test_everything_is_stored_before_the_first_invocation_of_it(make_aws):
    aws = make_aws(keep_bodies=True)
    ballast = bytes(100_000)
    with durable(aws, 3) as ex:
        assert list(ex.map(lambda x: x + len(ballast), range(6))) == [x + 100_000 for x in range(6)]
    log = aws.fake.log
    invoked = [record for record in log if record.operation == "Invoke"]
    puts = [record for record in log if record.operation == "PutObject"]
    names = [record.key.removeprefix(f"lambdafutures/sessions/{ex.handle.session}/")
             for record in puts]  # fmt: skip
    before = names[: names.index("log/000000000")]
    kinds = {name.rpartition("/")[0] for name in before}
    assert kinds == {"", "arguments", "lambdafutures/blobs"}
    assert "head" in before
    # Nor does any attempt go out before the object of the log that tells of it is there.
    place = JobPlace("lambdafutures", ex.handle.session, ex.handle.key)
    written_at = {}
    for record in puts:
        if "/log/" in record.key:
            sealed = aws.fake.objects(BUCKET)[record.key]
            (number,) = keys.parse_log_keys([record.key])
            entry = place.open_entry(number, sealed)
            for row in entry.sent:
                written_at[row.chunk, row.attempt] = record.finished_at
    for record in invoked:
        payload = Invocation.decode(json.loads(record.request_body)).payload
        assert written_at[payload.chunk, payload.attempt] <= record.received_at
    assert len(invoked) == len(written_at) == 6
    assert [each.invocation_type for each in invoked] == ["RequestResponse"] + ["Event"] * 5


def test_outcomes_that_came_while_nobody_was_there_are_collected(aws: Aws, tmp_path):
    ex = durable(aws, 4)
    futures = [ex.submit(calls.note_run, str(tmp_path), x) for x in range(4)]
    wait_until(lambda: all(calls.runs(tmp_path, x) for x in range(4)))
    ex.kill_workers()
    assert all(future.done() for future in futures)
    aws.fake.wait_quiet()
    aws.fake.clear_log()
    with attach(ex) as again:
        assert [future.result() for future in again.futures] == [0, 1, 2, 3]
        assert [future.attempts for future in again.futures] == [1] * 4
    assert aws.fake.requests["Invoke"] == 0
    assert [calls.runs(tmp_path, x) for x in range(4)] == [1] * 4


def test_what_still_runs_is_waited_for_and_the_rest_is_sent(aws: Aws, tmp_path):
    def touched(x):
        calls.note_run(tmp_path, x)
        return calls.wait_for_file(str(tmp_path / f"go{x}"), x)

    ex = durable(aws, 2)
    results = ex.map(touched, range(4))
    ex.wait_durable()
    wait_until(lambda: calls.runs(tmp_path, 0) and calls.runs(tmp_path, 1))
    ex.kill_workers()
    del results
    with attach(ex, 2) as again:
        assert [future.running() for future in again.futures] == [True, True, False, False]
        for x in range(4):
            (tmp_path / f"go{x}").touch()
        assert [future.result() for future in again.futures] == [0, 1, 2, 3]
    assert [future.attempts for future in again.futures] == [1] * 4
    assert [calls.runs(tmp_path, x) for x in range(4)] == [1] * 4


def test_what_was_recorded_and_lost_is_sent_again_after_its_deadline(soon: Aws, tmp_path):
    ex = durable(soon)
    ex.submit(calls.identity, 0).result()
    soon.fake.script.on("Invoke", invocation_type="Event", nth=1).lose_event()
    ex.submit(calls.note_run, str(tmp_path), 1)
    wait_until(lambda: soon.fake.requests["Invoke"] == 2)
    ex.kill_workers()
    with attach(ex) as again:
        assert [future.result(20) for future in again.futures] == [0, 1]
        assert [future.attempts for future in again.futures] == [1, 2]
    assert calls.runs(tmp_path, 1) == 1


def test_who_attaches_ends_the_client_before(aws: Aws, tmp_path):
    with durable(aws) as ex:
        ex.submit(calls.identity, 1).result()
        with attach(ex) as second:
            error = ex.submit(calls.note_run, str(tmp_path), "late").exception(20)
            assert isinstance(error, BackendError)
            assert "another process has attached" in str(error)
            assert second.submit(calls.identity, 2).result() == 2
    assert calls.runs(tmp_path, "late") == 0


def test_a_handle_knows_its_deployment(aws: Aws):
    with durable(aws) as ex:
        assert ex.submit(calls.identity, 1).result() == 1
    path_of("lambdafutures").unlink()
    with LambdaPoolExecutor.attach(ex.handle.path) as again:
        assert again.futures[0].result() == 1
        assert again.submit(calls.identity, 2).result() == 2


def test_a_write_whose_answer_was_lost_is_no_other_client(aws: Aws):
    aws.fake.script.on("PutObject", key="*/log/*", every=2).lose_response()
    with durable(aws, 2) as ex:
        assert list(ex.map(calls.identity, range(8))) == list(range(8))
        ex.submit(calls.identity, 1).result()
    with attach(ex) as again:
        assert [future.result() for future in again.futures] == [*range(8), 1]


def test_arguments_that_were_deleted_are_an_error_that_says_so(aws: Aws, tmp_path):
    def blocks(folder):
        calls.note_run(folder, "blocks")
        return calls.wait_for_file(f"{folder}/go")

    ex = durable(aws)
    ex.submit(blocks, str(tmp_path))
    ex.submit(len, bytes(2_000_000))
    ex.wait_durable()
    wait_until(lambda: calls.runs(tmp_path, "blocks"))
    ex.kill_workers()
    (tmp_path / "go").touch()
    for key in aws.fake.objects(BUCKET):
        if "/arguments/" in key:
            aws.fake.delete_object(BUCKET, key)
    with attach(ex) as again:
        error = again.futures[1].exception(20)
    assert isinstance(error, LambdaFuturesError)
    assert "/arguments/" in str(error)


def test_nothing_is_deleted_but_by_clean_which_deletes_nothing_else(aws: Aws, capsys):
    others = ["elsewhere", "lambdafutures/sessions/other/out/000000000/0001"]
    for key in others:
        aws.fake.put_object(BUCKET, key, b"theirs")
    with durable(aws) as ex:
        ex.submit(calls.identity, 1).result()
    session = ex.handle.session
    assert any(f"/{session}/out/" in key for key in aws.fake.objects(BUCKET))
    assert cli.main(["jobs"]) == 0
    assert f"{session}  aws" in capsys.readouterr().out
    assert cli.main(["clean", "--yes"]) == 0
    left = [key for key in aws.fake.objects(BUCKET) if "/blobs/" not in key]
    assert left == others
    assert not ex.handle.path.exists()


def test_a_job_that_cannot_be_reached_is_listed_and_kept(aws: Aws, capsys):
    with durable(aws) as ex:
        ex.submit(calls.identity, 1).result()
    aws.use(None)
    assert cli.main(["jobs"]) == 0
    assert "credentials" in capsys.readouterr().out
    assert cli.main(["clean", "--older-than", "0s", "--yes"]) == 1
    assert "was not removed" in capsys.readouterr().err
    assert ex.handle.path.exists()


def test_what_is_written_ahead_goes_together(aws: Aws):
    with durable(aws, 16) as ex:
        list(ex.map(calls.identity, range(16)))
    puts = [record.key for record in aws.fake.log if record.operation == "PutObject"]
    assert sum("/arguments/" in key for key in puts) <= 3
    # Chunks once or twice, attempts once or twice, the end.
    assert sum("/log/" in key for key in puts) <= 8


def test_an_initializer_that_had_failed_gets_another_chance(aws: Aws, tmp_path):
    def prepare(folder):
        os.stat(f"{folder}/ready")

    ex = durable(aws, initializer=prepare, initargs=(str(tmp_path),))
    future = ex.submit(calls.identity, 1)
    assert isinstance(future.exception(20), InitializerFailed)
    ex.shutdown()
    (tmp_path / "ready").touch()
    with attach(ex) as again:
        assert [each.result(20) for each in again.futures] == [1]
