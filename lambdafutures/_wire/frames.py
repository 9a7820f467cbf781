"""Messages between a supervisor and its runner.

A frame is a kind, a head (small, structured) and parts (binary)::

    magic u16 | kind u8 | flags u8 | length of the body u64
    body: number of parts u32 | length of the head u32 | part length u64 ... | head | parts

A body above `INLINE_BYTES` is in a memory file instead, whose descriptor accompanies the frame and
in which every part is aligned.

Towards the runner each frame is one datagram: the kernel hands it to exactly one reader, whole, so
the supervisor can take back what the runner has not taken yet. Back home they form a stream.
"""

from __future__ import annotations

import array
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Iterator, Sequence

from lambdafutures._wire import memory_file
from lambdafutures.exceptions import WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer

MAGIC = 0x4C46  # "LF"
# A third of Linux's default socket buffer (net.core.wmem_default, 212,992 bytes, which counts
# kernel overhead too): a frame is then sent in one system call, and two can wait.
INLINE_BYTES = 64 * 1024
RECEIVE_BYTES = 2 * INLINE_BYTES
# macOS gives Unix datagrams 2 KiB unless asked (net.local.dgram.maxdgram).
DATAGRAM_BUFFER_BYTES = 4 * INLINE_BYTES
DESCRIPTORS_AT_ONCE = 16
# Half of what one vectored write takes (IOV_MAX, 1,024 on Linux and macOS).
MAX_PIECES = 512

# Kinds, towards the runner and back.
HELLO = 1
CHUNK = 2
LEAVE = 3
OUTCOME = 4
FAILED = 5

_IN_FILE = 1
_PREFIX = struct.Struct("<HBBQ")
_COUNTS = struct.Struct("<II")
_SIZE_BYTES = 8
_INT_BYTES = array.array("i").itemsize
_ROOM = socket.CMSG_SPACE(DESCRIPTORS_AT_ONCE * _INT_BYTES)
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


class Encoded:
    """Hold a frame on its way out.

    Args:
        pieces: What to write.
        handle: Descriptor of the memory file that goes with the first byte, or None.
    """

    __slots__ = ("handle", "pieces")

    def __init__(self, pieces: list[Buffer], handle: int | None = None) -> None:
        self.pieces = pieces
        self.handle = handle

    def close(self) -> None:
        """Close the descriptor; whoever received it has one of its own."""
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None


def is_large(head: bytes, parts: Sequence[Buffer]) -> bool:
    """Tell whether a frame's body goes into a memory file."""
    if len(parts) > MAX_PIECES:
        return True
    return len(head) + len(parts) * _SIZE_BYTES + sum(map(len, parts)) > INLINE_BYTES


def encode(kind: int, head: bytes, parts: Sequence[Buffer] = ()) -> Encoded:
    """Return a frame, ready to be written; its body is written into a memory file if it is large.

    Args:
        kind: One of the kinds of this module.
        head: Its structured part.
        parts: Its binary parts; one-dimensional views of bytes.

    Raises:
        OSError: If there is no room for a memory file.
    """
    body = [_table(head, parts), *parts]
    if is_large(head, parts):
        handle = memory_file.write_parts(body)
        return Encoded([_PREFIX.pack(MAGIC, kind, _IN_FILE, len(body[0]))], handle)
    body[0] = _PREFIX.pack(MAGIC, kind, 0, sum(map(len, body))) + body[0]
    return Encoded(body)


def encode_inline(kind: int, head: bytes, parts: Sequence[Buffer] = ()) -> list[Buffer]:
    """Return a frame as pieces, its body inline whatever its size: for a file.

    Args:
        kind: One of the kinds of this module.
        head: Its structured part.
        parts: Its binary parts; one-dimensional views of bytes.
    """
    body = [_table(head, parts), *parts]
    return [_PREFIX.pack(MAGIC, kind, 0, sum(map(len, body))), *body]


def pack(kind: int, head: bytes, parts: Sequence[Buffer] = ()) -> bytes:
    """Return a frame as bytes, its body inline whatever its size: for an object or a payload.

    Args:
        kind: One of the kinds of this module.
        head: Its structured part.
        parts: Its binary parts; one-dimensional views of bytes.
    """
    return b"".join(encode_inline(kind, head, parts))


def _table(head: bytes, parts: Sequence[Buffer]) -> bytes:
    if len(parts) == 1:  # by far the most frequent
        return struct.pack("<IIQ", 1, len(head), len(parts[0])) + head
    return struct.pack(f"<II{len(parts)}Q", len(parts), len(head), *map(len, parts)) + head


def _parse_table(table: Buffer) -> tuple[bytes, tuple[int, ...], int]:
    """Return the head, the parts' sizes and where the table ends."""
    count, head_size = _COUNTS.unpack_from(table)
    start = _COUNTS.size + count * _SIZE_BYTES
    end = start + head_size
    sizes = struct.unpack_from(f"<{count}Q", table, _COUNTS.size)
    return bytes(table[start:end]), sizes, end


def parse(data: Buffer, handles: Sequence[int] = ()) -> Frame:
    """Read a datagram.

    Args:
        data: All of it.
        handles: The descriptors that came with it.

    Raises:
        WireError: If it is not a frame.
    """
    reader = FrameReader()
    reader.feed(data, handles)
    frame = next(reader.frames(), None)
    if frame is None:
        raise WireError(f"a truncated frame of {len(data)} bytes")
    return frame


class FrameReader:
    """Put frames together from pieces of a stream.

    Feed what was received and iterate over the frames that are complete by then.
    """

    def __init__(self) -> None:
        self._data = b""
        self._handles: deque[int] = deque()

    def feed(self, data: Buffer, handles: Sequence[int] = ()) -> None:
        """Add received bytes, and the descriptors that came with them.

        Args:
            data: The next bytes of the stream.
            handles: Descriptors of memory files, in the order of their frames.
        """
        self._data = self._data + data if self._data else bytes(data)
        self._handles.extend(handles)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames that are complete.

        Raises:
            WireError: If the stream is damaged.
        """
        data = self._data
        position = 0
        try:
            while len(data) - position >= _PREFIX.size:
                magic, kind, flags, size = _PREFIX.unpack_from(data, position)
                if magic != MAGIC:
                    raise WireError(f"the stream is damaged: {data[position : position + 8]!r}")
                start = position + _PREFIX.size
                if flags & _IN_FILE:
                    position = start
                    yield self._from_file(kind, size)
                    continue
                if len(data) < start + size:
                    break
                position = start + size
                yield self._inline(kind, memoryview(data)[start:position])
        finally:  # also when the caller wants no more than the first
            self._data = data[position:]

    def _inline(self, kind: int, body: memoryview) -> Frame:
        head, sizes, offset = _parse_table(body)
        parts: list[Buffer] = []
        for size in sizes:
            # Writable, as arrays on mapped parts are too.
            parts.append(bytearray(body[offset : offset + size]))
            offset += size
        return Frame(kind, head, parts)

    def _from_file(self, kind: int, table_size: int) -> Frame:
        if not self._handles:
            raise WireError("a frame's memory file did not arrive")
        body = memory_file.MappedFile(self._handles.popleft())
        head, sizes, _ = _parse_table(body.part(table_size))
        return Frame(kind, head, [body.part(size) for size in sizes])

    def close(self) -> None:
        """Close the descriptors of frames that never became complete."""
        while self._handles:
            os.close(self._handles.popleft())


def datagram_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets that keep the bounds of messages: to send, to receive."""
    pair = _pair_of_datagrams()
    for end in pair:
        end.settimeout(None)  # whatever the client's default is: the runner blocks on it
    return pair


def stream_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets that carry a stream."""
    pair = socket.socketpair()
    for end in pair:
        end.settimeout(None)
    return pair


def _pair_of_datagrams() -> tuple[socket.socket, socket.socket]:
    if hasattr(socket, "SOCK_SEQPACKET") and not sys.platform.startswith("darwin"):
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    out, into = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, DATAGRAM_BUFFER_BYTES)
    into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_BUFFER_BYTES)
    return out, into


def receive(sock: socket.socket, flags: int = 0) -> tuple[bytes, list[int]]:
    """Read what there is, with its descriptors; no bytes means that the other side has closed.

    Args:
        sock: A Unix socket.
        flags: Flags of `recvmsg`.

    Raises:
        BlockingIOError: If there is nothing and the socket does not block.
    """
    data, ancillary, _, _ = sock.recvmsg(RECEIVE_BYTES, _ROOM, flags | _CLOSE_ON_EXEC)
    handles: list[int] = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(content[: len(content) - len(content) % _INT_BYTES])
            handles.extend(numbers)
    return data, handles


def send(sock: socket.socket, frame: Encoded) -> bool:
    """Write a frame, or what is left of it; return whether all has been written.

    Args:
        sock: A Unix socket.
        frame: What `encode` returned; what was written is taken out of it.

    Raises:
        BlockingIOError: If nothing fits and the socket does not block.
    """
    if frame.handle is None:
        sent = sock.sendmsg(frame.pieces)
    else:
        rights = array.array("i", [frame.handle])
        sent = sock.sendmsg(frame.pieces, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        frame.close()
    pieces = frame.pieces
    while pieces and sent >= len(pieces[0]):
        sent -= len(pieces.pop(0))
    if sent:
        pieces[0] = memoryview(pieces[0])[sent:]
    return not pieces
