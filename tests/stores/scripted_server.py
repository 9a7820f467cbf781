"""A server that answers with the bytes it is told to, whatever it is asked.

    async with ScriptedServer([b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n"]) as server:
        ...

Each item of the script is the answer to one request: bytes, several of them to be sent piece by
piece, or what is to be done with the connection. When it ends, the last one is repeated.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

CLOSE = "close"
"""Close the connection instead of an answer."""
MUTE = "mute"
"""Say nothing."""

_LENGTH = re.compile(rb"(?i)content-length: *(\d+)")


@dataclass(frozen=True)
class ThenClose:
    """Send bytes, then close the connection."""

    data: bytes


@dataclass(frozen=True)
class Held:
    """Send bytes once the test says so."""

    data: bytes
    gate: asyncio.Event


Script = bytes | Sequence[bytes] | str | ThenClose | Held


def answer(status: int = 200, body: bytes = b"", headers: str = "") -> bytes:
    """Return an answer with a Content-Length."""
    return b"HTTP/1.1 %d Said\r\n%sContent-Length: %d\r\n\r\n%s" % (
        status,
        headers.encode(),
        len(body),
        body,
    )


class ScriptedServer:
    """Answer by a script; remember what was asked, and over which connection."""

    def __init__(self, script: Sequence[Script], tls: ssl.SSLContext | None = None) -> None:
        self._script = list(script)
        self._tls = tls
        self.seen: list[tuple[int, bytes]] = []
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def drop(self) -> None:
        """Close all connections."""
        for writer in self._writers:
            writer.transport.abort()

    def say(self, data: bytes) -> None:
        """Write on all connections, though nobody asked."""
        for writer in self._writers:
            writer.write(data)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        task = asyncio.ensure_future(self._serve(self.connections, reader, writer))
        self._tasks.add(task)

    async def _serve(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                found = _LENGTH.search(head)
                body = await reader.readexactly(int(found[1])) if found else b""
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            self.seen.append((number, head + body))
            step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
            if step == CLOSE:
                writer.close()
                return
            if isinstance(step, ThenClose):
                writer.write(step.data)
                writer.close()
                return
            if isinstance(step, Held):
                await step.gate.wait()
                writer.write(step.data)
            elif isinstance(step, bytes):
                writer.write(step)
            elif step != MUTE:
                for piece in step:
                    writer.write(piece)  # type: ignore[arg-type]
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
