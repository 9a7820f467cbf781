"""Files without a name: how large buffers pass between processes of one machine.

The descriptor travels over a Unix socket and the other side maps it, so the bytes are copied once
and nothing is left behind when either process is killed.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer

# A cache line: vector loads on arrays that begin elsewhere are slow.
ALIGNMENT_BYTES = 64


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


class MappedFile:
    """Map what `write_parts` wrote and return it part by part.

    The mapping is private and writable: arrays built on it are as writable as the originals, and
    it lives as long as they do.

    Args:
        handle: The file's descriptor, which is closed.
    """

    def __init__(self, handle: int) -> None:
        try:
            size = os.fstat(handle).st_size
            mapping = mmap.mmap(handle, size, access=mmap.ACCESS_COPY) if size else b""
            self._view = memoryview(mapping)
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
