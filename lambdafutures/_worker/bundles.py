"""The worker's bundles: fetched at first use, checked, unpacked, and kept while there is room."""

from __future__ import annotations

import errno
import os

from lambdafutures._wire import bundle, keys
from lambdafutures._worker.s3_parts import side_by_side
from lambdafutures.exceptions import WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lambdafutures._wire.bundle import Bundle
    from lambdafutures._worker.s3 import S3Client

# Left of the disk for the user's code, and for what a file takes beyond its length.
SPARE_BYTES = 32 * 1024 * 1024
_MIB = 1024 * 1024


class NoRoom(WireError):
    """Say that bundles do not fit the worker's disk, and what mends it."""


class Shelf:
    """Keep bundles unpacked in a folder, for this sandbox.

    Args:
        root: The folder; by default one under `$TMPDIR`, or ``/tmp``.
        free_bytes: Return the room there is on the disk of a folder.
    """

    def __init__(
        self, root: str | None = None, free_bytes: Callable[[str], int] | None = None
    ) -> None:
        self._root = root or default_root()
        self._free_bytes = free_bytes or _free_bytes

    def fetch(
        self,
        bundles: Sequence[Bundle],
        store: S3Client,
        prefix: str,
        deadline_s: float,
        before_removal: Callable[[], None],
    ) -> int:
        """Have bundles unpacked, and say in each where.

        Args:
            bundles: The bundles.
            store: Where they are.
            prefix: Prefix of its keys.
            deadline_s: When to give up, by the monotonic clock.
            before_removal: Called before other bundles are removed to make room.

        Returns:
            How many bytes were fetched.

        Raises:
            BlobMissing: If a part is not in the store.
            WireError: If a part is not what it should be.
            NoRoom: If they do not fit the disk.
            S3Failed: If the store refuses, or does not answer in time.
        """
        for each in bundles:
            each.folder = os.path.join(self._root, each.name)
        lacking = [each for each in bundles if each.folder and not os.path.isdir(each.folder)]
        if not lacking:
            return 0
        self._make_room(lacking, {each.name for each in bundles}, before_removal)
        for each in lacking:
            self._fetch(each, store, prefix, deadline_s)
        return sum(each.packed_bytes for each in lacking)

    def _fetch(self, lacking: Bundle, store: S3Client, prefix: str, deadline_s: float) -> None:
        try:
            with bundle.Draft(str(lacking.folder)) as draft:

                def fetch_part(number: int) -> None:
                    key = keys.part_key(prefix, lacking.name, number)
                    part = store.get(key, deadline_s=deadline_s)
                    bundle.check_part(part, lacking.parts[number][0])
                    bundle.unpack(part, draft.folder)

                side_by_side(fetch_part, range(len(lacking.parts)))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            # Thousands of small files take more than their length.
            raise self._no_room([lacking]) from error

    def _make_room(
        self, lacking: Sequence[Bundle], wanted: set[str], before_removal: Callable[[], None]
    ) -> None:
        os.makedirs(self._root, mode=0o700, exist_ok=True)
        needed_bytes = sum(each.unpacked_bytes for each in lacking) + SPARE_BYTES
        if self._free_bytes(self._root) >= needed_bytes:
            return
        import shutil
        from contextlib import suppress

        others = [name for name in os.listdir(self._root) if name not in wanted]
        if others:
            before_removal()
        for name in others:
            # Under its own name it would pass for complete, should this process be killed now.
            doomed = os.path.join(self._root, f"{os.urandom(4).hex()}~")
            with suppress(OSError):
                os.rename(os.path.join(self._root, name), doomed)
            shutil.rmtree(doomed, ignore_errors=True)
        if self._free_bytes(self._root) < needed_bytes:
            raise self._no_room(lacking)

    def _no_room(self, lacking: Sequence[Bundle]) -> NoRoom:
        total_mb = -(-sum(each.unpacked_bytes for each in lacking) // _MIB)
        free_mb = self._free_bytes(self._root) // _MIB
        return NoRoom(
            f"modules and packages take {total_mb} MiB unpacked and the worker's disk has "
            f"{free_mb} MiB free: run `lambdafutures deploy --disk MB` with more, "
            "or ask for fewer packages"
        )


def default_root() -> str:
    """Return the folder for the bundles of a sandbox."""
    folder = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - what Lambda has
    return os.path.join(folder, f"lambdafutures-{os.getuid()}", "bundles")


def _free_bytes(folder: str) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
