"""The worker's bundles: fetched once, checked, removed where there is no room for others."""

from __future__ import annotations

import contextlib
import os
import threading

import boto3
import pytest

from lambdafutures._environment import archive
from lambdafutures._wire import bundle, keys
from lambdafutures._wire.bundle import Bundle
from lambdafutures._worker.bundles import SPARE_BYTES, NoRoom, Shelf
from lambdafutures.exceptions import BlobMissing, WireError
from tests.aws_cloud import BUCKET, MODES

MB = 1024 * 1024


class Store:
    """Bundles by key, as the worker's S3 client has them."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.gets: list[str] = []

    def get(self, key, *, deadline_s):
        self.gets.append(key)
        if key not in self.objects:
            raise BlobMissing(f"{key} cannot be read")
        return memoryview(self.objects[key])

    def put(self, *parts: dict[str, bytes]) -> Bundle:
        zips = [archive.pack(files.items()) for files in parts]
        made = Bundle(
            [(bundle.digest(each), len(each)) for each in zips],
            sum(len(content) for files in parts for content in files.values()),
        )
        for number, each in enumerate(zips):
            self.objects[keys.part_key("p", made.name, number)] = each
        return Bundle.of_fields(made.to_fields())


class Disk:
    """A disk of some size, with what is in a folder on it."""

    def __init__(self, root, size_bytes: int) -> None:
        self._root = root
        self._size_bytes = size_bytes

    def free_bytes(self, folder: str) -> int:
        used = sum(path.stat().st_size for path in self._root.rglob("*") if path.is_file())
        return self._size_bytes - used


def never():
    raise AssertionError("nothing is to be removed")


@pytest.fixture
def store():
    return Store()


def fetch(shelf, bundles, store, before_removal=never):
    return shelf.fetch(bundles, store, "p", 1e9, before_removal)


def test_a_bundle_is_fetched_once(store, tmp_path):
    shelf = Shelf(str(tmp_path / "shelf"))
    made = store.put({"a/x.py": b"x", "a/y.py": b"y"}, {"a/z/data": b"z"}, {"run": b""})
    assert fetch(shelf, [made], store) == made.packed_bytes == sum(map(len, store.objects.values()))
    assert sorted(os.listdir(made.folder)) == ["a", "run"]
    with open(os.path.join(made.folder, "a/z/data"), "rb") as file:
        assert file.read() == b"z"
    assert fetch(shelf, [made], store) == 0
    assert len(store.gets) == 3
    assert os.stat(tmp_path / "shelf").st_mode & 0o077 == 0, "nobody else can put anything there"


def test_what_arrives_damaged_or_is_missing_leaves_nothing(store, tmp_path):
    shelf = Shelf(str(tmp_path))
    made = store.put({"x": b"x"}, {"y": b"y"})
    key = keys.part_key("p", made.name, 1)
    part = store.objects[key]
    store.objects[key] = archive.pack([("y", b"evil")])
    with pytest.raises(WireError, match="overwritten"):
        fetch(shelf, [made], store)
    assert os.listdir(tmp_path) == []
    del store.objects[key]
    with pytest.raises(BlobMissing):
        fetch(shelf, [made], store)
    assert os.listdir(tmp_path) == []
    store.objects[key] = part
    fetch(shelf, [made], store)
    assert os.listdir(tmp_path) == [made.name]


def test_others_are_removed_to_make_room(store, tmp_path):
    disk = Disk(tmp_path, SPARE_BYTES + 5 * MB)
    shelf = Shelf(str(tmp_path), disk.free_bytes)
    first, second, third = (store.put({"x": bytes([n]) * 2 * MB}) for n in range(3))
    fetch(shelf, [first], store)
    fetch(shelf, [second], store)
    removals = []
    # The second is wanted as well, so it stays.
    fetch(shelf, [third, second], store, lambda: removals.append(os.listdir(tmp_path)))
    assert [len(names) for names in removals] == [2], "told before anything is removed"
    assert set(os.listdir(tmp_path)) == {second.name, third.name}


def test_what_does_not_fit_is_refused_with_what_mends_it(store, tmp_path):
    shelf = Shelf(str(tmp_path), Disk(tmp_path, SPARE_BYTES + 3 * MB).free_bytes)
    with pytest.raises(NoRoom, match=r"4 MiB unpacked .* 35 MiB free.*--disk MB"):
        fetch(shelf, [store.put({"x": bytes(4 * MB)})], store)
    assert store.gets == []


def test_several_sandboxes_may_share_a_folder(store, tmp_path):
    """Emulators run them side by side on one machine."""
    made = store.put(*({f"f{number}": bytes(1000)} for number in range(20)))
    errors = []

    def run():
        try:
            mine = Bundle.of_fields(made.to_fields())
            fetch(Shelf(str(tmp_path)), [mine], store)
            assert len(os.listdir(mine.folder)) == 20
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert os.listdir(tmp_path) == [made.name]


# -------------------------------------------------------------------- over HTTP


def parts_in(aws) -> list[str]:
    return [key for key in aws.fake.objects(BUCKET) if "/bundles/" in key]


@contextlib.contextmanager
def bucket_of(aws):
    """A client that may do anything with the objects."""
    client = boto3.client("s3", **aws.fake.client_args())
    with contextlib.closing(client):
        yield client


def lose_objects(aws) -> None:
    """As when they expire: all objects go, and workers are cold."""
    with bucket_of(aws) as client:
        for key in aws.fake.objects(BUCKET):
            client.delete_object(Bucket=BUCKET, Key=key)
    aws.deploy()


@pytest.mark.parametrize("mode", MODES)
def test_a_bundle_that_expired_is_stored_again(plain, own, mode):
    from harbour import is_stormy

    with plain.executor(1, mode) as ex:
        assert ex.submit(is_stormy).result()
    (key,) = parts_in(plain)
    lose_objects(plain)
    with plain.executor(1, mode) as ex:
        assert ex.submit(is_stormy).result()
        # It goes while the executor runs: another worker misses it, and the client sends it again.
        lose_objects(plain)
        future = ex.submit(is_stormy)
        assert future.result()
        assert future.attempts == 1, "nothing ran before"
    assert parts_in(plain) == [key]


@pytest.mark.parametrize("mode", MODES)
def test_a_bundle_that_somebody_overwrote_is_never_imported(plain, own, mode):
    from harbour import is_stormy

    with plain.executor(1, mode) as ex:
        assert ex.submit(is_stormy).result()
    (key,) = parts_in(plain)
    with plain.executor(1, mode) as ex:
        with bucket_of(plain) as client:
            body = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            # Of the same length, which gives nothing away.
            evil = body.replace(b"True", b"Evil") if b"True" in body else body[:-1] + b"x"
            client.put_object(Bucket=BUCKET, Key=key, Body=evil)
        plain.deploy()
        with pytest.raises(WireError, match="somebody has overwritten it.*runtime remove --all"):
            ex.submit(is_stormy).result()


def test_what_a_cold_worker_fetched_is_told(plain, own):
    from harbour import is_stormy

    with plain.executor(1) as ex:
        cold = ex.submit(is_stormy)
        cold.result()
        warm = ex.submit(is_stormy)
        warm.result()
        assert cold.fetched_bytes == ex.environment.packed_bytes > 0
        assert warm.fetched_bytes == 0
        assert ex.statistics().fetched_bytes == cold.fetched_bytes
        assert cold.timings.setup_s > warm.timings.setup_s
