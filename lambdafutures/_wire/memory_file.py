"""Files without a name: how large buffers pass between processes of one machine.

The descriptor travels over a Unix socket and the other side maps it, so the bytes are copied once
and nothing is left behind when either process is killed.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer

# A cache line: vector loads on arrays that begin elsewhere are slow.
ALIGNMENT_BYTES = 64
# Before Python 3.13 a mapping keeps its file open. A quarter of the usual limit of 1,024 open
# files: a client may hold more large results than that.
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

    def __del__(self) -> None:
        _CountedMapping.alive -= 1


def _view_of(handle: int, size: int) -> memoryview:
    """Return a file's bytes, mapped; copied where that would keep too many descriptors open."""
    if not size:
        return memoryview(b"")
    if sys.version_info >= (3, 13):
        return memoryview(mmap.mmap(handle, size, access=mmap.ACCESS_COPY, trackfd=False))
    if _CountedMapping.alive < MAX_MAPPINGS:
        mapping = _CountedMapping(handle, size, access=mmap.ACCESS_COPY)
        _CountedMapping.alive += 1
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
