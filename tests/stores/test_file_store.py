"""What only the folder must do: keep keys inside, leave nothing half-written, clean up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdafutures._backends.file_store import FileStore
from lambdafutures.exceptions import BackendError, BlobMissing
from tests.stores.conftest import Run
from tests.stores.test_store_contract import _KEYS, listed


@given(key=_KEYS | st.text(st.characters(exclude_categories=("Cs",)), max_size=300))
def test_no_key_leads_out_of_the_folder(key: str) -> None:
    root = Path("/root/of/store")
    path = FileStore(root)._path(key)
    assert path.is_relative_to(root)
    parts = path.relative_to(root).parts
    assert not {".", "..", ""} & set(parts)
    assert not parts[0].startswith(("~", "."))
    assert all(part.isascii() and len(part) <= 255 for part in parts)


@given(one=_KEYS, other=_KEYS)
def test_no_two_keys_share_a_file_on_any_file_system(one: str, other: str) -> None:
    if one != other:
        paths = [str(FileStore(Path("/s"))._path(key)) for key in (one, other)]
        # Hexadecimal digits are capitals always, so nothing but they has a case.
        assert paths[0].lower() != paths[1].lower()


def test_nothing_is_left_of_what_was_deleted(tmp_path: Path, run: Run) -> None:
    store = FileStore(tmp_path / "store")
    run(store.put("a/b/c", b"1"))
    run(store.put("a/d", b"1"))
    run(store.delete(["a/b/c"]))
    assert [path.name for path in (tmp_path / "store" / "a").iterdir()] == ["=d"]
    run(store.delete(["a/d"]))
    assert [path.name for path in (tmp_path / "store").rglob("*")] == ["~drafts"]


def test_the_folder_is_for_its_owner_only(tmp_path: Path, run: Run) -> None:
    run(FileStore(tmp_path / "deep" / "store").put("a/b", b"1"))
    assert (tmp_path / "deep" / "store").stat().st_mode & 0o777 == 0o700


def test_files_of_others_are_no_objects(tmp_path: Path, run: Run) -> None:
    store = FileStore(tmp_path)
    run(store.put("a", b"1"))
    (tmp_path / ".DS_Store").write_bytes(b"")
    (tmp_path / "~drafts" / "half").write_bytes(b"")
    assert run(listed(store, "")) == ["a"]


def test_a_folder_that_was_never_written_to_is_empty(tmp_path: Path, run: Run) -> None:
    store = FileStore(tmp_path / "never")
    assert run(listed(store, "")) == []
    assert run(store.head("a")) is None
    run(store.delete(["a"]))
    with pytest.raises(BlobMissing):
        run(store.get("a"))
    assert not (tmp_path / "never").exists()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BackendError, match=r"cannot write to the folder .*file"):
        run(FileStore(tmp_path / "file").put("a", b""))


def test_puts_beside_deletes_of_the_same_folder_all_succeed(tmp_path: Path, run: Run) -> None:
    """A delete removes the folder as empty just when a put is about to fill it."""
    store = FileStore(tmp_path)

    async def churn(name: str) -> None:
        for _ in range(100):
            assert await store.put(f"a/b/{name}", b"1")
            assert await store.get(f"a/b/{name}") == b"1"
            await store.delete([f"a/b/{name}"])

    async def all_of_them() -> None:
        await asyncio.gather(*(churn(name) for name in "xyzw"))

    run(all_of_them())
    assert run(listed(store, "")) == []
