"""Messages on a byte stream between a supervisor and its runner.

A frame is a head (small, structured) and parts (binary). Parts that together exceed
`INLINE_BYTES` travel in a memory file whose descriptor accompanies the frame::

    magic u16 | kind u8 | flags u8 | head length u32 | number of parts u32
    part length u64 ...
    head
    parts, unless the flag IN_FILE is set
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections import deque
from collections.abc import Iterator, Sequence

from lambdafutures._wire import memory_file
from lambdafutures.exceptions import WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer

MAGIC = 0x4C46  # "LF"
# Half of Linux's default socket buffer (net.core.wmem_default, 212,992 bytes, which counts kernel
# overhead too): a frame is then sent in one system call and never waits for its reader.
INLINE_BYTES = 64 * 1024
RECEIVE_BYTES = 2 * INLINE_BYTES
DESCRIPTORS_AT_ONCE = 16

# Kinds, towards the runner and back.
HELLO = 1
CHUNK = 2
LEAVE = 3
OUTCOME = 4
FAILED = 5

_IN_FILE = 1
_PREFIX = struct.Struct("<HBBII")
_SIZE = struct.Struct("<Q")
_CLOSE_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Frame:
    """Hold one message.

    Args:
        kind: One of the kinds of this module.
        head: Its structured part.
        parts: Its binary parts.
    """

    __slots__ = ("head", "kind", "parts")

    def __init__(self, kind: int, head: bytes, parts: Sequence[Buffer] = ()) -> None:
        self.kind = kind
        self.head = head
        self.parts = parts


def is_large(parts: Sequence[Buffer]) -> bool:
    """Tell whether parts travel in a memory file."""
    return sum(map(len, parts)) > INLINE_BYTES


def encode(
    kind: int, head: bytes, parts: Sequence[Buffer] = (), *, in_file: bool = False
) -> list[Buffer]:
    """Return the bytes of a frame as pieces for one vectored write.

    Args:
        kind: One of the kinds of this module.
        head: Its structured part.
        parts: Its binary parts; one-dimensional views of bytes.
        in_file: The parts travel in a memory file: only their lengths are written here.
    """
    prefix = _PREFIX.pack(MAGIC, kind, _IN_FILE if in_file else 0, len(head), len(parts))
    if not parts:
        return [prefix + head]
    sizes = struct.pack(f"<{len(parts)}Q", *map(len, parts))
    if in_file:
        return [prefix + sizes + head]
    return [prefix + sizes + head, *parts]


class FrameReader:
    """Put frames together from pieces of a stream.

    Feed what was received and iterate over the frames that are complete by then.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._handles: deque[int] = deque()

    def feed(self, data: bytes, handles: Sequence[int] = ()) -> None:
        """Add received bytes, and the descriptors that came with them.

        Args:
            data: The next bytes of the stream.
            handles: Descriptors of memory files, in the order of their frames.
        """
        self._data += data
        self._handles.extend(handles)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames that are complete.

        Raises:
            WireError: If the stream is damaged.
        """
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        data = self._data
        if len(data) < _PREFIX.size:
            return None
        magic, kind, flags, head_size, count = _PREFIX.unpack_from(data)
        if magic != MAGIC:
            raise WireError(f"the stream is damaged: {bytes(data[:8])!r} begins no frame")
        start = _PREFIX.size + count * _SIZE.size
        if len(data) < start + head_size:
            return None
        sizes = struct.unpack_from(f"<{count}Q", data, _PREFIX.size)
        in_file = flags & _IN_FILE
        end = start + head_size + (0 if in_file else sum(sizes))
        if len(data) < end:
            return None
        with memoryview(data) as view:
            head = bytes(view[start : start + head_size])
            parts: list[Buffer] = []
            if not in_file:
                offset = start + head_size
                for size in sizes:
                    parts.append(bytes(view[offset : offset + size]))
                    offset += size
        del data[:end]
        if in_file:
            if not self._handles:
                raise WireError("a frame's memory file did not arrive")
            parts = memory_file.map_parts(self._handles.popleft(), sizes)
        return Frame(kind, head, parts)

    def close(self) -> None:
        """Close the descriptors of frames that never became complete."""
        while self._handles:
            os.close(self._handles.popleft())


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Read what there is, with its descriptors; no bytes means that the other side has closed.

    Args:
        sock: A Unix stream socket.

    Raises:
        BlockingIOError: If there is nothing and the socket does not block.
    """
    room = socket.CMSG_SPACE(DESCRIPTORS_AT_ONCE * _INT_BYTES)
    data, ancillary, _, _ = sock.recvmsg(RECEIVE_BYTES, room, _CLOSE_ON_EXEC)
    handles: list[int] = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(content[: len(content) - len(content) % _INT_BYTES])
            handles.extend(numbers)
    return data, handles


def send(
    sock: socket.socket, pieces: Sequence[Buffer], handle: int | None = None
) -> Sequence[Buffer]:
    """Write pieces and the descriptor that goes with them; return what did not fit.

    Args:
        sock: A Unix stream socket.
        pieces: What `encode` returned, or what an earlier call did.
        handle: The memory file's descriptor; sent with the first byte. The caller closes it.

    Raises:
        BlockingIOError: If nothing fits and the socket does not block.
    """
    if handle is None:
        sent = sock.sendmsg(pieces)
    else:
        rights = array.array("i", [handle])
        sent = sock.sendmsg(pieces, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    rest = list(pieces)
    while rest and sent >= len(rest[0]):
        sent -= len(rest.pop(0))
    if sent:
        rest[0] = memoryview(rest[0])[sent:]
    return rest


_INT_BYTES = array.array("i").itemsize
