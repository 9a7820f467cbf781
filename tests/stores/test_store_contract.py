"""What every store does, on every backend; what the worker's client shares with them, as well."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lambdafutures._backends.base import Store, StoredObject
from lambdafutures.exceptions import BlobMissing
from tests.stores.conftest import FAST, PART_BYTES, STORES, WORKERS, Objects, Run

SLOW = tuple(name for name in STORES if name not in FAST)


def pattern(nbytes: int) -> bytes:
    """Return bytes of which no two stretches of a part's length are alike."""
    return (b"".join(number.to_bytes(4, "little") for number in range(nbytes // 4 + 1)))[:nbytes]


async def listed(store: Store, prefix: str, start_after: str = "") -> list[str]:
    return [each.key async for page in store.list(prefix, start_after=start_after) for each in page]


async def put_all(store: Store, keys: list[str], body: bytes = b"x") -> None:
    """Put many, a few at once: what the test's machine can bear."""
    pending = list(keys)

    async def drain() -> None:
        while pending:
            await store.put(pending.pop(), body)

    await asyncio.gather(*(drain() for _ in range(16)))


@pytest.mark.parametrize("nbytes", [0, 1, 1000, PART_BYTES, PART_BYTES + 1])
def test_bytes_come_back_as_they_went(
    objects: Objects, run: Run[Any], prefix: str, nbytes: int
) -> None:
    body = pattern(nbytes)
    assert run(objects.put(f"{prefix}key", body)) is True
    assert run(objects.get(f"{prefix}key")) == body


def test_a_later_put_replaces_an_earlier_one(objects: Objects, run: Run[Any], prefix: str) -> None:
    run(objects.put(f"{prefix}key", b"old and longer"))
    assert run(objects.put(f"{prefix}key", b"new")) is True
    assert run(objects.get(f"{prefix}key")) == b"new"


def test_ranges_are_slices(objects: Objects, run: Run[Any], prefix: str) -> None:
    body = bytes(range(100))
    run(objects.put(f"{prefix}key", body))
    for start in (0, 1, 50, 99, 100, 250):
        for length in (None, 0, 1, 50, 99, 100, 500):
            end = None if length is None else start + length
            assert run(objects.get(f"{prefix}key", start=start, length=length)) == body[start:end]


def test_ranges_of_an_empty_object_are_empty(objects: Objects, run: Run[Any], prefix: str) -> None:
    run(objects.put(f"{prefix}key", b""))
    assert run(objects.get(f"{prefix}key", length=5)) == b""
    assert run(objects.get(f"{prefix}key", start=1)) == b""


@pytest.mark.parametrize("where", [{}, {"start": 3}, {"length": 0}, {"start": 1, "length": 2}])
def test_what_is_not_there_is_missing(
    objects: Objects, run: Run[Any], prefix: str, where: dict[str, int]
) -> None:
    with pytest.raises(BlobMissing, match="no-such-key"):
        run(objects.get(f"{prefix}no-such-key", **where))


def test_a_conditional_put_leaves_what_is_there(
    objects: Objects, run: Run[Any], prefix: str
) -> None:
    assert run(objects.put(f"{prefix}key", b"first", only_if_absent=True)) is True
    assert run(objects.put(f"{prefix}key", b"second", only_if_absent=True)) is False
    assert run(objects.get(f"{prefix}key")) == b"first"
    assert run(objects.put(f"{prefix}key", b"third")) is True
    assert run(objects.get(f"{prefix}key")) == b"third"


def test_of_many_racers_exactly_one_wins(objects: Objects, run: Run[Any], prefix: str) -> None:
    async def race() -> list[bool]:
        return await asyncio.gather(
            *(objects.put(f"{prefix}key", b"%d" % n, only_if_absent=True) for n in range(16))
        )

    won = run(race())
    assert won.count(True) == 1
    assert run(objects.get(f"{prefix}key")) == b"%d" % won.index(True)


def test_large_objects_travel_in_parts(objects: Objects, run: Run[Any], prefix: str) -> None:
    body = pattern(2 * PART_BYTES + 12345)
    assert run(objects.put(f"{prefix}key", body, only_if_absent=True)) is True
    assert run(objects.put(f"{prefix}key", b"x" + body, only_if_absent=True)) is False
    assert run(objects.get(f"{prefix}key")) == body
    for start, length in ((1, None), (PART_BYTES - 1, 2), (7, 2 * PART_BYTES), (9, 10**9)):
        end = None if length is None else start + length
        assert run(objects.get(f"{prefix}key", start=start, length=length)) == body[start:end]


# Paths with empty and dot segments, or with a slash at the end, are keys like others to S3. Servers
# that keep objects in folders, or route by normalised paths, have them wrong.
_PLAIN_PATHS_ONLY = ("ministack", "seaweedfs", "moto")


# What XML 1.0 cannot hold cannot be listed or deleted by any S3 client.
_CHARACTERS = st.characters(min_codepoint=0x20, exclude_categories=("Cs", "Cc", "Cn", "Co"))
_SEGMENTS = st.text(_CHARACTERS, max_size=12) | st.sampled_from(
    ["", ".", "..", "a+b c", "%2F", "%", "=", "~", "A", "a", "x" * 200, "ü" * 90, "+x", "%2e"]
)
_KEYS = st.lists(_SEGMENTS, min_size=1, max_size=5).map("/".join)


@pytest.mark.parametrize("name", [*STORES, *WORKERS])
def test_any_key_is_kept_as_it_is(
    name: str, make_store: Callable[..., Any], run: Run[Any], prefix: str
) -> None:
    objects = make_store(name)

    @settings(
        max_examples=150 if name in ("memory", "file") else 40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(key=_KEYS, other=_KEYS)
    def check(key: str, other: str) -> None:
        assume(key != other and max(len(key.encode()), len(other.encode())) < 900)
        if name.removeprefix("worker-") in _PLAIN_PATHS_ONLY:
            segments = key.split("/") + other.split("/")
            assume(not {"", ".", ".."} & set(segments))
            assume("\\" not in key + other)  # SeaweedFS takes it for a slash
            # A folder and a file of one name exclude each other there.
            assume(not key.startswith(f"{other}/") and not other.startswith(f"{key}/"))
        # A place of its own for each example: one that fails leaves nothing in the way of the next.
        here = f"{prefix}{next(examples)}/"
        run(objects.put(here + key, b"one"))
        run(objects.put(here + other, b"two"))
        assert run(objects.get(here + key)) == b"one"
        if name in STORES:
            # In any order: the order of listings has tests of its own.
            assert sorted(run(listed(objects, here))) == sorted([here + key, here + other])
            run(objects.delete([here + key, here + other]))
            assert run(objects.head(here + key)) is None

    examples = itertools.count()
    check()


def test_head_tells_the_size(store: Store, run: Run[Any], prefix: str) -> None:
    assert run(store.head(f"{prefix}key")) is None
    run(store.put(f"{prefix}key", b"12345"))
    assert run(store.head(f"{prefix}key")) == StoredObject(f"{prefix}key", 5)
    assert run(store.head(f"{prefix}ke")) is None


NAMES = ["a", "a!", "a-b", "a/b", "a/b-c", "a/b0", "ab", "b", "Z", "~", "é", "日本", "🎉"]


def test_listings_come_in_the_order_of_the_keys_bytes(
    store: Store, run: Run[Any], prefix: str
) -> None:
    keys = [prefix + name for name in NAMES]
    run(put_all(store, keys))
    expected = sorted(keys, key=str.encode)
    assert run(listed(store, prefix)) == expected
    assert run(listed(store, prefix + "a")) == [
        key for key in expected if key.startswith(prefix + "a")
    ]
    assert run(listed(store, prefix + "nothing")) == []


def test_listings_tell_sizes(store: Store, run: Run[Any], prefix: str) -> None:
    run(store.put(f"{prefix}a", b"123"))
    run(store.put(f"{prefix}b", b""))

    async def pages() -> list[StoredObject]:
        return [each async for page in store.list(prefix) for each in page]

    assert run(pages()) == [StoredObject(f"{prefix}a", 3), StoredObject(f"{prefix}b", 0)]


def test_start_after_leaves_out_what_is_not_greater(
    store: Store, run: Run[Any], prefix: str
) -> None:
    names = [f"out/{chunk:09d}/{attempt:04d}" for chunk in range(6) for attempt in (1, 2)]
    keys = [prefix + name for name in names]
    run(put_all(store, keys))
    for start_after in (*keys, f"{prefix}out/000000003", f"{prefix}a", f"{prefix}z"):
        found = run(listed(store, f"{prefix}out/", start_after))
        assert found == [key for key in keys if key > start_after]


@pytest.mark.parametrize("special", ["a b", "a+b", "a&b", "a%20b", "é", "a=b", "<a>", "a'b\"", "~"])
def test_prefixes_may_hold_any_character(
    store: Store, run: Run[Any], prefix: str, special: str
) -> None:
    wanted = [f"{prefix}{special}/1", f"{prefix}{special}/2"]
    run(put_all(store, [*wanted, f"{prefix}other"]))
    assert run(listed(store, f"{prefix}{special}")) == wanted
    assert run(listed(store, f"{prefix}{special}", wanted[0])) == wanted[1:]


@pytest.mark.parametrize("name", FAST)
def test_long_listings_come_in_pages(
    name: str, make_store: Callable[..., Any], run: Run[Any], prefix: str
) -> None:
    store = make_store(name)
    keys = [f"{prefix}out/{number:09d}/0001" for number in range(2500)]
    run(put_all(store, keys))

    async def pages() -> list[list[str]]:
        return [[each.key for each in page] async for page in store.list(prefix)]

    found = run(pages())
    assert [len(page) for page in found] == [1000, 1000, 500]
    assert [key for page in found for key in page] == keys
    assert run(listed(store, prefix, keys[1499])) == keys[1500:]
    run(store.delete(keys[100:]))
    assert run(listed(store, prefix)) == keys[:100]


@pytest.mark.parametrize("name", SLOW)
def test_pages_follow_each_other(
    name: str, make_store: Callable[..., Any], run: Run[Any], prefix: str
) -> None:
    store = make_store(name, page_keys=10)
    keys = [f"{prefix}{number:04d}" for number in range(25)]
    run(put_all(store, keys))
    assert run(listed(store, prefix)) == keys
    assert run(listed(store, prefix, keys[11])) == keys[12:]


def test_delete_removes_what_is_there_and_minds_nothing_else(
    store: Store, run: Run[Any], prefix: str
) -> None:
    keys = [f"{prefix}{name}" for name in ("a", "a/b", "a b&<c>", "d")]
    run(put_all(store, keys))
    run(store.delete([*keys[:3], f"{prefix}never/was"]))
    assert run(listed(store, prefix)) == keys[3:]
    run(store.delete(keys))
    run(store.delete([]))
    assert run(listed(store, prefix)) == []


def test_a_deleted_key_can_be_taken_again(store: Store, run: Run[Any], prefix: str) -> None:
    run(store.put(f"{prefix}key", b"1"))
    run(store.delete([f"{prefix}key"]))
    assert run(store.put(f"{prefix}key", b"2", only_if_absent=True)) is True


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_sees_whether_a_key_is_there_and_deletes_it(
    name: str, make_store: Callable[..., Any], run: Run[Any], prefix: str
) -> None:
    objects = make_store(name)
    client = objects.client
    for body in (b"", b"12345"):
        assert client.exists(f"{prefix}a key") is False
        run(objects.put(f"{prefix}a key", body))
        assert client.exists(f"{prefix}a key") is True
        client.delete(f"{prefix}a key")
    assert client.exists(f"{prefix}a key") is False
    client.delete(f"{prefix}a key")


def test_a_store_that_was_never_used_closes(store: Store, run: Run[Any]) -> None:
    run(store.close())
