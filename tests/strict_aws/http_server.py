"""A bare HTTP/1.1 server protocol: keep-alive, chunked bodies, `Expect: 100-continue`, HEAD.

It reads one request at a time per connection, hands it to a callback and writes what the callback
answers with. A framework would cost several times the CPU of the services behind it.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .limits import HEAD_MAX_BYTES
from .messages import Request, Response

JOIN_MAX_BYTES = 64 * 1024
"""Bodies up to this size go out in one write with their head: one system call instead of two."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How a reply is withheld.

    Attributes:
        after_bytes: Body bytes that go out before the connection ends; None sends not even a head.
    """

    after_bytes: int | None


class Reply(Protocol):
    """What a handler calls once, with its response or with a cut connection."""

    def __call__(self, response: Response | None, cut: Cut | None = None) -> None:
        """Send the response, whole or cut."""


Handler = Callable[[Request, Reply], None]


class HttpProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, handler: Handler, server: "HttpServer") -> None:
        self._handler = handler
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._is_busy = False
        self._is_eof = False
        # The request being read: its head, how its body is framed, and the body so far.
        self._head: tuple[str, str, dict[str, str]] | None = None
        self._length = 0
        self._chunks: list[bytes] | None = None

    # -- transport callbacks -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)
        if self._server.is_closed:  # it was accepted just before
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the transport; a reply that comes later is dropped."""
        self._transport = None
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Collect bytes and serve the requests they complete."""
        self._buffer += data
        if not self._is_busy:
            self._serve()

    def eof_received(self) -> bool:
        """Keep the writing half open until the running request is answered."""
        self._is_eof = True
        return self._is_busy

    def abort(self) -> None:
        """Reset the connection: the peer sees ECONNRESET, not an orderly end."""
        if self._transport is None:
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    # -- reading -----------------------------------------------------------------------------

    def _serve(self) -> None:
        """Read as many requests as the buffer holds, stopping at one that is not answered yet."""
        try:
            while self._transport is not None and not self._is_busy:
                if self._head is None and not self._read_head():
                    return
                body = self._read_body()
                if body is None:
                    return
                assert self._head is not None
                method, target, headers = self._head
                self._head = None
                self._is_busy = True
                self._handler(
                    Request(method, target, headers, body),
                    _Reply(self, method == "HEAD", headers.get("connection", "").lower()),
                )
        except ValueError as exc:
            self._refuse(str(exc))

    def _refuse(self, why: str) -> None:
        if self._transport is not None:
            body = why.encode()
            self._transport.write(Response(400, {"Connection": "close"}, body).head_bytes())
            self._transport.write(body)
            self._transport.close()

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_MAX_BYTES:
                raise ValueError("request head too large")
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        method, target, version = lines[0].split(" ")
        if version != "HTTP/1.1":
            raise ValueError("HTTP/1.1 only")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise ValueError("malformed header")
            name = name.lower()
            value = value.strip()
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        if target.startswith("http://"):
            target = "/" + target[7:].partition("/")[2]
        self._head = (method, target, headers)
        if headers.get("transfer-encoding", "").lower() == "chunked":
            self._chunks = []
        else:
            self._chunks = None
            self._length = int(headers.get("content-length", "0"))
        if headers.get("expect", "").lower() == "100-continue":
            assert self._transport is not None
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _read_body(self) -> bytes | None:
        if self._chunks is not None:
            return self._read_chunks(self._chunks)
        if len(self._buffer) < self._length:
            return None
        if not self._length:
            return b""
        with memoryview(self._buffer) as view:
            body = bytes(view[: self._length])
        del self._buffer[: self._length]
        return body

    def _read_chunks(self, chunks: list[bytes]) -> bytes | None:
        """Undo `Transfer-Encoding: chunked` (RFC 9112, 7.1), leaving the trailer section out."""
        while True:
            line_end = self._buffer.find(b"\r\n")
            if line_end < 0:
                return None
            size = int(bytes(self._buffer[:line_end]).partition(b";")[0], 16)
            if size == 0:
                end = self._buffer.find(b"\r\n\r\n", line_end)
                if end < 0:
                    return None
                del self._buffer[: end + 4]
                return b"".join(chunks)
            start = line_end + 2
            if len(self._buffer) < start + size + 2:
                return None
            chunks.append(bytes(self._buffer[start : start + size]))
            del self._buffer[: start + size + 2]

    # -- writing -----------------------------------------------------------------------------

    def finish(self, response: Response | None, cut: Cut | None, is_head: bool, conn: str) -> None:
        """Answer the running request and go on with what the client has sent meanwhile.

        Args:
            response: What to send; None only with a cut.
            cut: Where to break the connection off.
            is_head: Whether the body stays out.
            conn: The request's Connection header, in lower case.
        """
        transport = self._transport
        if transport is None:
            return
        if response is None or (cut is not None and cut.after_bytes is None):
            self.abort()
            return
        head = response.head_bytes()
        body = b"" if is_head or response.status in (204, 304) else response.body
        if cut is not None:
            assert cut.after_bytes is not None
            transport.write(head + body[: cut.after_bytes])
            # An orderly end in mid-body: a client that trusts the end of the stream is fooled.
            transport.close()
            return
        if len(body) <= JOIN_MAX_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        self._is_busy = False
        if conn == "close" or self._is_eof:
            transport.close()
        elif self._buffer:
            # From the loop: a client that pipelines must not deepen the stack.
            asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        if not self._is_busy:
            self._serve()


class _Reply:
    """The one-shot answer to one request."""

    __slots__ = ("_conn", "_is_head", "_protocol")

    def __init__(self, protocol: HttpProtocol, is_head: bool, conn: str) -> None:
        self._protocol = protocol
        self._is_head = is_head
        self._conn = conn

    def __call__(self, response: Response | None, cut: Cut | None = None) -> None:
        self._protocol.finish(response, cut, self._is_head, self._conn)


class HttpServer:
    """A listening socket on 127.0.0.1 and its connections."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._server: asyncio.Server | None = None
        self.connections: set[HttpProtocol] = set()
        self.is_closed = False
        self.port = 0

    async def start(self, port: int = 0) -> None:
        """Listen.

        Args:
            port: The port, 0 for any free one.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: HttpProtocol(self._handler, self), "127.0.0.1", port, backlog=2048
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Stop listening and reset every connection, those to come as well."""
        self.is_closed = True
        if self._server is not None:
            loop = asyncio.get_running_loop()
            for sock in self._server.sockets:
                loop.remove_reader(sock.fileno())
            # What was just accepted attaches to the server in this turn of the loop, and asyncio
            # drops its socket if that is closed by then.
            loop.call_soon(self._server.close)
            self._server = None
        for connection in list(self.connections):
            connection.abort()
