"""A server between client and store that brings faults, one per request, by a script.

    with FaultProxy(server.endpoint_url) as proxy:
        proxy.script("PUT", SlowDown(), LostReply())   # the first PUT, the second; then all is well

Nothing is random and nothing waits: which request meets which fault is the script's order.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Self
from urllib.parse import urlsplit

READ_MAX_S = 30.0


@dataclass(frozen=True)
class Answer:
    """Answer with an error instead of passing the request on."""

    status: int
    code: str
    headers: tuple[tuple[str, str], ...] = ()
    content: str = ""


def slow_down(retry_after: str | None = None) -> Answer:
    headers = (("Retry-After", retry_after),) if retry_after else ()
    return Answer(503, "SlowDown", headers)


@dataclass(frozen=True)
class Reset:
    """Reset the connection before the request is passed on."""


@dataclass(frozen=True)
class LostReply:
    """Let the request be applied, then reset the connection without an answer."""


@dataclass(frozen=True)
class Cut:
    """Let the request be applied, then end the connection within the answer's body."""

    after_bytes: int = 1


@dataclass(frozen=True)
class ErrorIn200:
    """Answer 200 with an error in the body, as S3 does for POSTs that fail late."""


@dataclass(frozen=True)
class Mute:
    """Let the request be applied, and say nothing until the client gives up."""


@dataclass(frozen=True)
class First:
    """Do something else before the request is passed on."""

    action: Callable[[], object]


@dataclass(frozen=True)
class Close:
    """Pass the request on and answer, then close the connection without saying so."""


Fault = Answer | Reset | LostReply | Cut | ErrorIn200 | Mute | First | Close


@dataclass
class Seen:
    """One request that came by."""

    method: str
    target: str
    headers: dict[str, str]
    connection: int
    fault: Fault | None


@dataclass
class _Rule:
    method: str
    part: str
    faults: deque[Fault | None] = field(default_factory=deque)


class FaultProxy:
    """Pass requests on to a server, but for those that the script gives a fault."""

    def __init__(self, endpoint_url: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(endpoint_url)
        self._upstream = (str(parts.hostname), int(parts.port or 80))
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self.seen: list[Seen] = []
        proxy = self

        class Handler(StreamRequestHandler):
            timeout = READ_MAX_S

            def handle(self) -> None:
                proxy._serve(self)

        class Server(ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.endpoint_url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def script(self, method: str, *faults: Fault | None, part: str = "") -> None:
        """Give the next requests of a method, with `part` in their target, these faults."""
        with self._lock:
            self._rules.append(_Rule(method, part, deque(faults)))

    def clear(self) -> None:
        """Bring no more faults."""
        with self._lock:
            self._rules.clear()

    def count(self, method: str, part: str = "") -> int:
        """Return how many requests of a method, with `part` in their target, came by."""
        return sum(each.method == method and part in each.target for each in self.seen)

    def is_done(self) -> bool:
        """Return whether every fault of the script has been brought."""
        return not any(rule.faults for rule in self._rules)

    def _fault_for(self, method: str, target: str) -> Fault | None:
        for rule in self._rules:
            if rule.method == method and rule.part in target and rule.faults:
                return rule.faults.popleft()
        return None

    def _serve(self, handler: StreamRequestHandler) -> None:
        connection = handler.client_address[1]
        while line := handler.rfile.readline():
            method, target, _ = line.decode("latin-1").split(" ", 2)
            headers = {
                name.lower(): value
                for name, value in http.client.parse_headers(handler.rfile).items()
            }
            if headers.get("expect") == "100-continue":
                handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            with self._lock:
                fault = self._fault_for(method, target)
                self.seen.append(Seen(method, target, headers, connection, fault))
            body = handler.rfile.read(int(headers.get("content-length", 0)))
            if isinstance(fault, Reset):
                return _reset(handler.connection)
            if isinstance(fault, First):
                fault.action()
            if isinstance(fault, Answer | ErrorIn200):
                answer = _error(fault)
            else:
                answer = self._pass_on(method, target, headers, body)
            if isinstance(fault, LostReply):
                return _reset(handler.connection)
            if isinstance(fault, Mute):
                handler.rfile.read(1)
                return None
            head, content = answer
            if isinstance(fault, Cut):
                handler.wfile.write(head + content[: fault.after_bytes])
                return None
            handler.wfile.write(head + (b"" if method == "HEAD" else content))
            if isinstance(fault, Close):
                return None
        return None

    def _pass_on(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[bytes, bytes]:
        connection = http.client.HTTPConnection(*self._upstream, timeout=READ_MAX_S)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                if name not in ("expect", "connection"):
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            response = connection.getresponse()
            content = response.read()
            kept = [
                (name, value)
                for name, value in response.getheaders()
                if name.lower() not in ("transfer-encoding", "connection", "content-length")
            ]
            length = response.getheader("Content-Length") if method == "HEAD" else len(content)
            return _head(response.status, [*kept, ("Content-Length", str(length or 0))]), content
        finally:
            connection.close()


def _head(status: int, headers: list[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _error(fault: Answer | ErrorIn200) -> tuple[bytes, bytes]:
    status, code, headers = 200, "InternalError", []
    if isinstance(fault, Answer):
        status, code, headers = fault.status, fault.code, list(fault.headers)
    content = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
        "<Message>Brought by the script.</Message></Error>"
    ).encode()
    if isinstance(fault, Answer) and fault.content:
        content = fault.content.encode()
    headers += [("Content-Type", "application/xml"), ("Content-Length", str(len(content)))]
    return _head(status, headers), content


def _reset(connection: socket.socket) -> None:
    # With no time to linger, closing sends RST rather than FIN.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
