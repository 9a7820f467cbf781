"""Connections of the worker to one server, kept open and lent to one exchange at a time.

`http.client` (and with it `ssl` and `email`, 30 ms together) is imported by the first exchange: a
worker whose calls travel inside the invocation never pays for it.

A pool belongs to the process that made it: its connections must not be used across a fork.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping

from lambdafutures.exceptions import LambdaFuturesError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from http.client import HTTPConnection, HTTPResponse
    from socket import socket

    from lambdafutures._wire.codec import Buffer

# Within a region S3 accepts a connection in milliseconds; one that has not after this long is lost
# (a dropped SYN is sent again after 1 s, so this allows for one of them).
CONNECT_TIMEOUT_S = 3.0
# Silence in the middle of a request or an answer. S3 itself gives a silent client up after 20 s
# (its error RequestTimeout), and its own slow answers are far below.
SILENCE_TIMEOUT_S = 20.0
# S3 closes idle connections after some ten seconds; while a sandbox is frozen nobody tells it, so
# age is measured by the wall clock, which a freeze does not stop.
IDLE_S = 8.0
# Of the connections given back this many are kept: what one object in parts makes use of.
IDLE_CONNECTIONS = 8
# The deadline is looked at after every so many bytes of an answer.
READ_BYTES = 1024 * 1024


class ConnectionFault(LambdaFuturesError):
    """Say that no whole answer came. The server may have done what it was asked to.

    Args:
        error: What went wrong.
        is_stale: Whether the connection had been idle before, so that its end means little.
    """

    def __init__(self, error: Exception, is_stale: bool) -> None:
        super().__init__(f"{error}" or "no answer")
        self.kind = type(error).__name__
        self.is_stale = is_stale
        # A certificate that does not verify will not verify the next time either.
        self.is_permanent = self.kind == "SSLCertVerificationError"


class Reply:
    """Hold an answer, read to its end.

    Args:
        status: HTTP status.
        headers: Headers, by name in lower case.
        body: The body; a view of the caller's own memory if it gave some.
    """

    __slots__ = ("body", "headers", "is_repeat", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: Buffer) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.is_repeat = False
        """An earlier try got no answer, so it may have been applied before this one."""


class HttpPool:
    """Exchange requests for answers with one server. Safe to share between threads.

    Args:
        host: Name or address of the server.
        port: Its port.
        is_https: Whether to speak TLS.
        ca_file: Certificates to trust; the system's by default.
        clock: Monotonic clock, in seconds; deadlines are by it.
    """

    def __init__(
        self,
        host: str,
        port: int,
        is_https: bool,
        ca_file: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._port = port
        self._is_https = is_https
        self._ca_file = ca_file
        self._clock = clock
        self._tls: ssl.SSLContext | None = None
        self._idle: list[tuple[HTTPConnection, float]] = []

    def close(self) -> None:
        """Close the connections that are idle."""
        while self._idle:
            self._idle.pop()[0].close()

    def exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Buffer,
        deadline_s: float,
        into: memoryview | None = None,
    ) -> Reply:
        """Send one request, once, and read the whole answer.

        Args:
            method: HTTP method.
            target: Path and query.
            headers: Headers, `Host` among them.
            body: What to send.
            deadline_s: When to give up, by the pool's clock.
            into: Memory for the body of a successful answer, if it fits.

        Raises:
            ConnectionFault: If no whole answer came.
        """
        from http.client import HTTPException

        is_reused = False
        connection = None
        try:
            connection, is_reused = self._take(deadline_s)
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(self._patience_s(deadline_s))
            response = _send(connection, method, target, headers, body)
            reply = self._read(connection, response, deadline_s, into)
        except (OSError, HTTPException) as error:
            if connection is not None:
                connection.close()
            if is_reused:
                self.close()  # the others have been idle for as long and longer
            raise ConnectionFault(error, is_reused) from error
        self._give_back(connection, response)
        return reply

    def _take(self, deadline_s: float) -> tuple[HTTPConnection, bool]:
        while self._idle:
            try:
                connection, since_s = self._idle.pop()
            except IndexError:  # another thread has taken the last one
                break
            if time.time() - since_s < IDLE_S and not _has_input(connection.sock):
                return connection, True
            connection.close()
        timeout_s = min(CONNECT_TIMEOUT_S, self._patience_s(deadline_s))
        return self._open(timeout_s), False

    def _open(self, timeout_s: float) -> HTTPConnection:
        import http.client

        if not self._is_https:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        if self._tls is None:
            import ssl

            # Made once: reading the system's certificates takes 20 ms.
            self._tls = ssl.create_default_context(cafile=self._ca_file)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=timeout_s, context=self._tls
        )

    def _give_back(self, connection: HTTPConnection, response: HTTPResponse) -> None:
        if response.will_close or len(self._idle) >= IDLE_CONNECTIONS:
            connection.close()
        else:
            self._idle.append((connection, time.time()))

    def _patience_s(self, deadline_s: float) -> float:
        left_s = deadline_s - self._clock()
        if left_s <= 0:
            raise TimeoutError("the deadline has passed")
        return min(SILENCE_TIMEOUT_S, left_s)

    def _read(
        self,
        connection: HTTPConnection,
        response: HTTPResponse,
        deadline_s: float,
        into: memoryview | None,
    ) -> Reply:
        answered = {name.lower(): value for name, value in response.getheaders()}
        length = response.length
        if length is None:
            # Chunked: small answers to a POST only. `http.client` notices if one is cut.
            return Reply(response.status, answered, response.read())
        if into is None or length > len(into) or response.status >= 300:
            into = memoryview(bytearray(length))
        got = 0
        while got < length:
            if connection.sock is not None:
                connection.sock.settimeout(self._patience_s(deadline_s))
            count = response.readinto(into[got : min(length, got + READ_BYTES)])
            if not count:
                raise ConnectionError(f"the body was cut: {got} of {length} bytes came")
            got += count
        response.close()
        return Reply(response.status, answered, into[:length])


def _send(
    connection: HTTPConnection, method: str, target: str, headers: Mapping[str, str], body: Buffer
) -> HTTPResponse:
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if body or method in ("PUT", "POST"):
        connection.putheader("Content-Length", str(len(body)))
    try:
        connection.endheaders(body if len(body) else None)
    except (BrokenPipeError, ConnectionResetError):
        # A server that refuses a large body answers and closes: the answer says why.
        return connection.getresponse()
    return connection.getresponse()


def _has_input(sock: socket) -> bool:
    """Whether an idle connection has something to read, which can only be its end."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
