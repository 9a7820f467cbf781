"""HTTP/1.1 to one server over bare asyncio: what a hot request needs, and nothing else.

aiohttp spends 130 us of CPU on a request and its answer, this 30; and it cannot be told to probe a
connection that is silent for long. Bodies are in memory, whole, both ways; there are no redirects,
cookies, encodings or proxies.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import botocore.exceptions as boto

# Idle connections are used again within this time: AWS closes those that were idle for 20 s and
# more, and a request that meets the closing may or may not have been taken. (aiobotocore's value.)
IDLE_MAX_S = 12.0
# How long a name's addresses are used without asking anew; aiohttp's value. S3 answers with several
# addresses and changes them within seconds, so that load spreads.
ADDRESSES_S = 10.0
# An invocation says nothing for up to 900 s, and NAT gateways forget a connection that has been
# silent for 350 s (AWS: "NAT gateway timeout"). Linux's own first probe comes after two hours.
KEEPALIVE_S = 60

_HEAD_END = b"\r\n\r\n"
_BODILESS = frozenset({204, 304})


class NotConnected(boto.EndpointConnectionError):  # type: ignore[misc]  # botocore has no types
    """Say that no connection could be made, so that nothing was sent."""


class HttpAnswer(NamedTuple):
    """Hold an answer.

    Args:
        status: Its status.
        headers: Its headers; the names are in small letters.
        body: Its body, whole.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpConnections:
    """Send requests to one server, each over a connection of its own; idle ones are used again.

    Args:
        url: The server's origin, for errors.
        host: Its name or address.
        port: Its port.
        tls: How to speak TLS; None to speak plainly.
        connect_timeout_s: How long a connection may take to open, in seconds.
    """

    def __init__(
        self, url: str, host: str, port: int, tls: ssl.SSLContext | None, connect_timeout_s: float
    ) -> None:
        self._url = url
        self._host = host
        self._port = port
        self._tls = tls
        self._connect_timeout_s = connect_timeout_s
        self._idle: deque[_Connection] = deque()
        self._is_closed = False
        self._addresses: deque[str] = deque()
        self._resolved_at_s = float("-inf")
        self._resolving = asyncio.Lock()
        self._clock: Callable[[], float] = asyncio.get_running_loop().time

    async def send(self, message: bytes, *, is_repeatable: bool) -> HttpAnswer:
        """Send a request and return its answer.

        Args:
            message: Head and body of the request.
            is_repeatable: Send it again if a connection that had been idle ends without an answer.

        Raises:
            NotConnected: If the server cannot be reached.
            ConnectTimeoutError: If that takes too long.
            SSLError: If it is not trusted.
            ConnectionClosedError: If the connection ended before the answer was whole.
        """
        connection = self._take_idle()
        if connection is not None:
            try:
                return await self._exchange(connection, message)
            except boto.ConnectionClosedError:
                if not is_repeatable or connection.has_answered:
                    raise
        return await self._exchange(await self._connect(), message)

    def close(self) -> None:
        """Close the idle connections; what is under way is closed when it ends."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().abort()

    async def _exchange(self, connection: _Connection, message: bytes) -> HttpAnswer:
        try:
            answer = await connection.exchange(message)
        except BaseException:  # given up by whoever waited, too: an answer may be under way
            connection.abort()
            raise
        if connection.is_reusable and not self._is_closed:
            connection.idle_since_s = self._clock()
            self._idle.append(connection)
        else:
            connection.abort()
        return answer

    def _take_idle(self) -> _Connection | None:
        oldest_s = self._clock() - IDLE_MAX_S
        while self._idle:
            # The one used last: the others grow old, and are closed.
            connection = self._idle.pop()
            if connection.is_reusable and connection.idle_since_s >= oldest_s:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> _Connection:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                return await self._connected()
        except TimeoutError as error:
            raise boto.ConnectTimeoutError(endpoint_url=self._url, error=error) from error
        except ssl.SSLError as error:
            raise boto.SSLError(endpoint_url=self._url, error=error) from error
        except OSError as error:
            raise NotConnected(endpoint_url=self._url, error=error) from error

    async def _connected(self) -> _Connection:
        addresses = await self._resolve()
        loop = asyncio.get_running_loop()
        for number, address in enumerate(addresses, 1):
            try:
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._url),
                    address,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
            except ssl.SSLError:
                raise
            except OSError:
                if number == len(addresses):
                    raise
            else:
                return connection
        raise OSError(f"{self._host} has no address")

    async def _resolve(self) -> list[str]:
        """Return the server's addresses, another one first each time."""
        async with self._resolving:
            if self._clock() - self._resolved_at_s > ADDRESSES_S:
                found = await asyncio.get_running_loop().getaddrinfo(
                    self._host, self._port, type=socket.SOCK_STREAM
                )
                self._addresses = deque(dict.fromkeys(str(each[4][0]) for each in found))
                self._resolved_at_s = self._clock()
        self._addresses.rotate(-1)
        return list(self._addresses)


class _Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[HttpAnswer] | None = None
        self._data = bytearray()
        self._answer = _HalfAnswer()
        self.is_reusable = False
        self.has_answered = False
        """Whether anything of an answer to the last request has arrived."""
        self.idle_since_s = 0.0

    def exchange(self, message: bytes) -> asyncio.Future[HttpAnswer]:
        """Write a request and return the future of its answer."""
        self._waiting = asyncio.get_running_loop().create_future()
        self.has_answered = False
        if self._transport is None or self._transport.is_closing():
            self._fail(None)
        else:
            self._transport.write(message)
        return self._waiting

    def abort(self) -> None:
        """Close it at once."""
        self.is_reusable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of the connection."""
        self._transport = cast("asyncio.Transport", transport)
        keep_alive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """Add to the answer."""
        if self._waiting is None or self._waiting.done():
            self.abort()  # nobody asked
            return
        self.has_answered = True
        self._data += data
        try:
            answer = self._answer.read(self._data, is_end=False)
        except ValueError as error:
            self._fail(error)
            self.abort()
            return
        if answer is not None:
            self._end(answer, is_reusable=self._answer.keeps_alive and not self._data)

    def connection_lost(self, error: Exception | None) -> None:
        """End what waits: with the answer if its end is the connection's."""
        self.is_reusable = False
        if self._waiting is None or self._waiting.done():
            return
        try:
            answer = self._answer.read(self._data, is_end=error is None)
        except ValueError as broken:
            answer, error = None, broken
        if answer is None:
            self._fail(error)
        else:
            self._end(answer, is_reusable=False)

    def _end(self, answer: HttpAnswer, *, is_reusable: bool) -> None:
        self.is_reusable = is_reusable
        self._answer = _HalfAnswer()
        if self._waiting is not None:
            self._waiting.set_result(answer)

    def _fail(self, cause: Exception | None) -> None:
        if self._waiting is not None:
            error = boto.ConnectionClosedError(error=cause, endpoint_url=self._url)
            error.__cause__ = cause
            self._waiting.set_exception(error)
            # Whoever waited may have been cancelled in the same turn, and never look at it.
            self._waiting.exception()


class _HalfAnswer:
    """An answer of which not all has arrived."""

    def __init__(self) -> None:
        self.keeps_alive = False
        self._status = 0
        self._headers: dict[str, str] = {}
        self._length: int | None = 0
        self._is_chunked = False

    def read(self, data: bytearray, *, is_end: bool) -> HttpAnswer | None:
        """Take the answer out of what has arrived; return None if it is not whole.

        Args:
            data: What has arrived; what is understood is taken out.
            is_end: Nothing more will arrive.

        Raises:
            ValueError: If it is not HTTP.
        """
        while not self._status:
            end = data.find(_HEAD_END)
            if end < 0:
                return None
            self._read_head(bytes(data[:end]))
            del data[: end + len(_HEAD_END)]
        body = self._body(data, is_end=is_end)
        return None if body is None else HttpAnswer(self._status, self._headers, body)

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1."):
            raise ValueError(f"not an answer in HTTP: {first[:80]!r}")
        status = _number(rest[:3], 10)
        if status < 200:
            return  # "100 Continue": the answer is yet to come
        headers = self._headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        self._status = status
        self._is_chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = headers.get("content-length")
        self._length = None if length is None else _number(length, 10)
        if status in _BODILESS:
            self._length = 0
        connection = headers.get("connection", "").lower()
        self.keeps_alive = version == "HTTP/1.1" and connection != "close"

    def _body(self, data: bytearray, *, is_end: bool) -> bytes | None:
        if self._is_chunked:
            return _take_chunks(data)
        length = self._length
        if length is None:  # the connection's end is the body's
            length = len(data) if is_end else len(data) + 1
        if len(data) < length:
            return None
        body = bytes(data[:length])
        del data[:length]
        return body


def _take_chunks(data: bytearray) -> bytes | None:
    """Take a chunked body out of what has arrived; return None if it is not whole.

    S3's errors come so; they are small, so that beginning anew with each piece costs nothing.

    Raises:
        ValueError: If it is damaged.
    """
    pieces: list[bytes] = []
    start = 0
    while (end := data.find(b"\r\n", start)) >= 0:
        size = _number(bytes(data[start:end]).partition(b";")[0].decode("latin-1"), 16)
        start = end + 2
        if size == 0:
            return b"".join(pieces) if _take_trailers(data, start) else None
        pieces.append(bytes(data[start : start + size]))
        start += size + 2
        if len(data) >= start and data[start - 2 : start] != b"\r\n":
            raise ValueError("a chunk that is longer than it says")
    return None


def _take_trailers(data: bytearray, start: int) -> bool:
    """Take all up to an empty line out of what has arrived; return whether that is there."""
    while (end := data.find(b"\r\n", start)) >= 0:
        if end == start:
            del data[: end + 2]
            return True
        start = end + 2
    return False


def _number(text: str, base: int) -> int:
    """Return a length as it stands in an answer; Python would take signs and more for it."""
    if not text.strip().isalnum():
        raise ValueError(f"not a length: {text[:80]!r}")
    return int(text, base)


def keep_alive(sock: socket.socket) -> None:
    """Have the system probe a silent connection, before those between forget it.

    Args:
        sock: A TCP socket.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL"):  # Linux, macOS, both
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, KEEPALIVE_S)
