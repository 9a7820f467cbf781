"""Files without a name: how large buffers pass between processes of one machine.

The descriptor travels over a Unix socket and the other side maps it, so the bytes are copied once
and nothing is left behind when either process is killed.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer

# A cache line: vector loads on arrays that begin elsewhere are slow.
ALIGNMENT_BYTES = 64
# Before Python 3.13 a mapping keeps its file open, and a client may hold more large results than it
# may open files: mappings take a quarter of them, and no more than of the usual limit of 1,024.
SHARE_OF_FILES = 1 / 4
MAX_MAPPINGS = 256


def create() -> int:
    """Return the descriptor of a new file that has no name; the caller closes it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("lambdafutures")
    import tempfile

    handle, path = tempfile.mkstemp(prefix="lambdafutures-")
    os.unlink(path)
    return handle


def aligned(nbytes: int) -> int:
    """Round a length in bytes up to the alignment."""
    return -(-nbytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def write_parts(parts: Sequence[Buffer]) -> int:
    """Write parts one after the other, each aligned, into a new file; return its descriptor.

    Args:
        parts: What to write.

    Raises:
        OSError: If there is no room.
    """
    handle = create()
    try:
        offset = 0
        for part in parts:
            view = memoryview(part).cast("B")
            while view:
                written = os.pwrite(handle, view, offset)
                view = view[written:]
                offset += written
            offset = aligned(offset)
        os.ftruncate(handle, offset)
    except BaseException:
        os.close(handle)
        raise
    return handle


class _CountedMapping(mmap.mmap):
    """A mapping that is counted while it lives, since it keeps a descriptor open."""

    alive = 0
    _is_counted = False

    def __init__(self, *_: object, **__: object) -> None:
        _CountedMapping.alive += 1
        self._is_counted = True

    def __del__(self) -> None:
        # One that could not be made is deleted all the same.
        if self._is_counted:
            _CountedMapping.alive -= 1


def _most_mappings() -> int:
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_MAPPINGS
    return min(MAX_MAPPINGS, int(files * SHARE_OF_FILES))


def _mapping_of(handle: int, size: int) -> mmap.mmap | None:
    """Map a file; return None where that would keep too many descriptors open."""
    if sys.version_info >= (3, 13):
        return mmap.mmap(handle, size, access=mmap.ACCESS_COPY, trackfd=False)
    if _CountedMapping.alive < _most_mappings():
        return _CountedMapping(handle, size, access=mmap.ACCESS_COPY)
    return None


def _view_of(handle: int, size: int) -> memoryview:
    """Return a file's bytes, mapped; copied where they cannot be."""
    if not size:
        return memoryview(b"")
    # Others hold descriptors and mappings, too: there may be fewer left than are counted here.
    with contextlib.suppress(OSError):
        mapping = _mapping_of(handle, size)
        if mapping is not None:
            return memoryview(mapping)
    copy = memoryview(bytearray(size))
    done = 0
    while done < size and (got := os.preadv(handle, [copy[done:]], done)):
        done += got
    return copy


class MappedFile:
    """Map what `write_parts` wrote and return it part by part.

    The mapping is private and writable: arrays built on it are as writable as the originals, and
    it lives as long as they do.

    Args:
        handle: The file's descriptor, which is closed.
    """

    def __init__(self, handle: int) -> None:
        try:
            self._view = _view_of(handle, os.fstat(handle).st_size)
        finally:
            os.close(handle)
        self._offset = 0

    def part(self, nbytes: int) -> memoryview:
        """Return the next part.

        Args:
            nbytes: Its length.

        Raises:
            ValueError: If the file is shorter than that.
        """
        end = self._offset + nbytes
        if end > len(self._view):
            raise ValueError(f"a memory file of {len(self._view)} bytes lacks its last part")
        part = self._view[self._offset : end]
        self._offset = aligned(end)
        return part
