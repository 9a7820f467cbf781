"""Who can write into the bucket can run code nowhere, and no secret leaves where it belongs."""

from __future__ import annotations

import base64
import gc
import os
import stat
import traceback
from pathlib import Path

import pytest

from lambdafutures import LambdaPoolExecutor, RetryPolicy
from lambdafutures._engine.durable import records
from lambdafutures._wire import codec, frames, invocation, outcome, seal
from lambdafutures._wire.outcome import Entry, Outcome
from lambdafutures.exceptions import WireError
from tests import calls
from tests.aws.conftest import BUCKET, Aws
from tests.conftest import wait_until

ONCE = RetryPolicy(attempts=1)


class Bomb:
    """Unpickling it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def forged(part: str, path) -> bytes:
    """What somebody without the key would put in the place of an object."""
    parts = codec.dumps([Bomb(str(path))]).parts
    packed = invocation.pack_parts(parts)
    if part == "/out/":
        answer = Outcome(1, 1, [Entry(0, 1, outcome.OK, parts)])
        answer.run_s.append(0.0)
        return bytes(seal.MAC_BYTES) + frames.pack(frames.OUTCOME, *answer.encode())
    if part == "/log/":
        row = records.ChunkRow(0, 1, "0" * 64, invocation.StoredParts("", 0, 0, ""), False, 0.0, 0)
        entry = records.LogEntry("forger", 0.0, [row], [packed])
        return bytes(seal.MAC_BYTES) + entry.encode()
    return packed


def overwrite(aws: Aws, part: str, path) -> None:
    """Let whoever writes into the bucket replace what is stored there, just before it is read."""
    bucket = aws.fake.call(lambda: aws.fake.s3.buckets[BUCKET])

    def is_read(record):
        # The script is asked on the fake's own thread.
        if record.operation == "GetObject" and part in record.key and record.key in bucket.objects:
            aws.fake.s3.put(BUCKET, record.key, forged(part, path))
        return False

    aws.fake.script.on("GetObject", when=is_read).delay(0)


def assert_refused(error: BaseException | None, path) -> None:
    assert isinstance(error, WireError)
    assert any(
        words in str(error)
        for words in ("was overwritten", "something else wrote it", "does not carry")
    ), str(error)
    assert not path.exists()


@pytest.mark.parametrize("is_durable", [False, True])
@pytest.mark.parametrize("part", ["/out/", "/blobs/", "/in/", "/initializer"])
def test_what_somebody_else_wrote_is_never_unpickled(aws: Aws, part, is_durable, tmp_path):
    path = tmp_path / "bomb"
    part = "/arguments/" if part == "/in/" and is_durable else part
    overwrite(aws, part, path)
    ballast = bytes(50_000)
    options = {"initializer": calls.identity, "initargs": (ballast,)} if "init" in part else {}
    with aws.executor(1, "poll", retry=ONCE, durable=is_durable, **options) as ex:
        if part == "/blobs/":
            future = ex.submit(lambda x: len(ballast) + x, 1)
        else:
            future = ex.submit(len, bytes(2_000_000))
        assert_refused(future.exception(15), path)


@pytest.mark.parametrize("is_durable", [False, True])
def test_foreign_objects_in_a_sessions_folders_are_passed_over(aws: Aws, is_durable):
    with aws.executor(30, "poll", durable=is_durable) as ex:
        folder = f"lambdafutures/sessions/{ex._pool.name}"
        for name in ("out/", "out/000/1", "out/notes.txt", "log/notes.txt", "log/1"):
            aws.fake.put_object(BUCKET, f"{folder}/{name}", b"whatever")
        assert list(ex.map(calls.identity, range(200))) == list(range(200))
        assert any(record.operation == "ListObjectsV2" for record in aws.fake.log)
    if is_durable:
        with LambdaPoolExecutor.attach(ex.handle, 1) as again:
            assert [future.result(15) for future in again.futures] == list(range(200))


@pytest.mark.parametrize("part", ["/out/", "/blobs/", "/arguments/"])
def test_what_somebody_wrote_while_nobody_was_there_is_never_unpickled(aws: Aws, part, tmp_path):
    """The next client reads the first call's outcome, and its worker what the second one needs."""
    path = tmp_path / "bomb"

    def blocks(folder):
        calls.note_run(folder, "blocks")
        return calls.wait_for_file(f"{folder}/go")

    ex = aws.executor(1, "poll", durable=True)
    ex.submit(blocks, str(tmp_path))
    ex.submit(calls.note_run, str(tmp_path), "second")
    ex.wait_durable()
    wait_until(lambda: calls.runs(tmp_path, "blocks"))
    ex.kill_workers()
    (tmp_path / "go").touch()
    wait_until(lambda: any("/out/" in key for key in aws.fake.objects(BUCKET)))
    for key in aws.fake.objects(BUCKET):
        if part in key:
            aws.fake.put_object(BUCKET, key, forged(part, path))
    with LambdaPoolExecutor.attach(ex.handle, 1, retry=ONCE) as again:
        first, second = again.futures
        assert_refused((first if part == "/out/" else second).exception(15), path)
    assert calls.runs(tmp_path, "second") == (1 if part == "/out/" else 0)


@pytest.mark.parametrize("part", ["/head", "/log/"])
def test_a_forged_manifest_is_refused(aws: Aws, part, tmp_path):
    path = tmp_path / "bomb"
    with aws.executor(1, "poll", durable=True) as ex:
        ex.submit(calls.identity, 1).result()
    (*_, key) = [key for key in aws.fake.objects(BUCKET) if part in key]
    aws.fake.put_object(BUCKET, key, forged(part, path))
    with pytest.raises(WireError, match="does not carry this session's seal") as caught:
        LambdaPoolExecutor.attach(ex.handle)
    assert_refused(caught.value, path)


def own_reprs() -> list[str]:
    """What all objects of ours say of themselves."""
    return [
        repr(each)
        for each in gc.get_objects()
        if str(type(each).__module__).startswith("lambdafutures")
    ]


def files_with(secret: bytes, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]


@pytest.mark.parametrize("mode", ["response", "poll", "durable"])
def test_no_secret_leaves_where_it_belongs(make_aws, mode, caplog, capfd):
    caplog.set_level("DEBUG", "lambdafutures")
    aws = make_aws(keep_bodies=True)
    is_durable = mode == "durable"
    with aws.executor(1, "auto" if is_durable else mode, durable=is_durable) as ex:
        key: bytes = ex._pool.invoker._key
        ex.submit(calls.speak, "x").result()
        ex.submit(len, bytes(7_000_000)).result()
        futures = [ex.submit(calls.fail, 1), ex.submit(calls.die)]
        errors = [future.exception(15) for future in futures]
        if is_durable:
            ex.wait_durable()
        texts = own_reprs()
    if is_durable:
        with LambdaPoolExecutor.attach(ex.handle) as again:
            errors += [future.exception(15) for future in again.futures]
            texts += own_reprs()
        aws.fake.put_object(
            BUCKET, next(key for key in aws.fake.objects(BUCKET) if "/log/" in key), b"damaged" * 10
        )
        with pytest.raises(WireError) as caught:
            LambdaPoolExecutor.attach(ex.handle)
        errors.append(caught.value)
    texts += ["".join(traceback.format_exception(error)) for error in errors if error is not None]
    said = capfd.readouterr()
    texts += [repr(error) for error in errors] + [caplog.text, said.out, said.err]
    credentials = [aws.client.secret_key, aws.client.session_token, aws.role.secret_key]
    for secret in credentials:
        assert aws.fake.find_text(secret) == []
        assert not any(secret in text for text in texts)
    # Of the signing key, in any of the forms in which it could be written.
    forms = [key.hex(), base64.b64encode(key).decode(), repr(key)[2:-1]]
    places = aws.fake.find_text(key.hex())
    assert places
    assert all("Invoke request" in place for place in places)
    assert aws.fake.find_text(forms[1]) == []
    for text in texts:
        assert not any(form in text for form in forms)
    for body in aws.fake.objects(BUCKET).values():
        assert key not in body
    home = Path(os.environ["LAMBDAFUTURES_HOME"])
    kept = [ex.handle.path] if is_durable else []
    assert files_with(key.hex().encode(), home) == kept
    assert files_with(key, home) == []
    for secret in credentials:
        assert files_with(secret.encode(), home) == []
    for path in kept:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
