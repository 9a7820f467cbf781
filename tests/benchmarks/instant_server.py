"""An AWS that costs nothing: S3 and Lambda's Invoke over HTTP, in one bare asyncio protocol.

It is for measuring clients: no signature is checked, nothing is kept beyond memory, and functions
are not run but answered for (`answers.py`). What AWS refuses it lets pass; the strict fake is for
that. A request costs it 20-100 us of CPU.

Run as ``python -m tests.benchmarks.instant_server [--s3-ms N] [--lambda-ms N] [--run-ms N]``; it
prints its port and ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, unquote
from xml.sax.saxutils import escape

from tests.benchmarks import answers, lithops_answers

# What is asked of the server itself rather than of an AWS service.
COUNTS_PATH = "/-/counts"
SETTINGS_PATH = "/-/settings"

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_RANGE = re.compile(rb"(?i)\r\nrange: *bytes=(\d+)-(\d*)")
_TYPE = re.compile(rb"(?i)\r\nx-amz-invocation-type: *(\w+)")
_KEYS_OF_DELETE = re.compile(rb"<Key>([^<]*)</Key>")
_REASONS = {200: "OK", 202: "Accepted", 204: "No Content", 206: "Partial Content", 404: "Not Found"}

Head = bytes
Reply = tuple[int, bytes, bytes]
"""Status, further header lines and body."""


@dataclass(slots=True)
class Settings:
    """Say how long things take, in seconds; half on the way there, half on the way back.

    Args:
        s3_s: A request to S3.
        lambda_s: An Invoke, on top of what its calls take.
        run_s: A call.
    """

    s3_s: float = 0.0
    lambda_s: float = 0.0
    run_s: float = 0.0


class Aws:
    """Hold the objects of one bucket and count requests."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.counts: Counter[str] = Counter()
        self._objects: dict[str, bytes] = {}
        self._names: list[str] = []
        self._later = asyncio.get_running_loop().call_later
        self.invoke: Callable[[bytes, bool], tuple[Reply, float]] = self._invoke

    # ---------------------------------------------------------------- Lambda

    def _invoke(self, body: bytes, is_event: bool) -> tuple[Reply, float]:
        """Answer an Invoke; return the reply, and the seconds after which it is there."""
        if lithops_answers.is_lithops(body):
            return self._invoke_lithops(body)
        answer = answers.answer(body, self.settings.run_s, time.time())
        ran_s = self.settings.run_s * answer.calls
        if answer.is_stored:
            self.counts["worker PutObject"] += 1
            stored_s = ran_s + self.settings.s3_s / 2
            self.after(stored_s, self.put, answer.asked.out_key, answer.sealed)
            ran_s += self.settings.s3_s
        return ((202, b"", b""), 0.0) if is_event else ((200, b"", answer.body()), ran_s)

    def _invoke_lithops(self, body: bytes) -> tuple[Reply, float]:
        run_s, s3_s = self.settings.run_s, self.settings.s3_s
        stored_s = s3_s / 2
        for key, status in lithops_answers.objects(body, run_s):
            self.counts["worker PutObject"] += 1
            self.after(stored_s, self.put, key, status)
            stored_s += run_s + s3_s
        return (202, b"", b""), 0.0

    def after(self, wait_s: float, do: Callable[..., object], *arguments: object) -> None:
        """Do something after some seconds; at once if there are none."""
        if wait_s:
            self._later(wait_s, do, *arguments)
        else:
            do(*arguments)

    # ---------------------------------------------------------------- S3

    def put(self, key: str, body: bytes) -> None:
        """Store an object."""
        if key not in self._objects:
            insort(self._names, key)
        self._objects[key] = body

    def get(self, key: str, head: Head) -> Reply:
        """Return an object, or the part that is asked for."""
        body = self._objects.get(key)
        if body is None:
            code = b"<Error><Code>NoSuchKey</Code><Message>There is none.</Message></Error>"
            return 404, b"Content-Type: application/xml\r\n", code
        headers = b'ETag: "0"\r\nLast-Modified: Sun, 22 Nov 2026 00:00:00 GMT\r\n'
        part = _RANGE.search(head)
        if part is None:
            return 200, headers, body
        start, end = int(part[1]), min(int(part[2] or len(body)), len(body) - 1)
        headers += b"Content-Range: bytes %d-%d/%d\r\n" % (start, end, len(body))
        return 206, headers, body[start : end + 1]

    def delete(self, keys: list[str]) -> None:
        """Remove objects; many at once cost one walk through the names."""
        gone = {key for key in keys if self._objects.pop(key, None) is not None}
        self._names = [name for name in self._names if name not in gone]

    def list(self, query: dict[str, list[str]]) -> Reply:
        """Return a page of a listing."""
        prefix = query.get("prefix", [""])[0]
        after = max(query.get("start-after", [""])[0], query.get("continuation-token", [""])[0])
        most = int(query.get("max-keys", ["1000"])[0])
        begin = bisect_right(self._names, max(after, prefix))
        if not after and begin and self._names[begin - 1] == prefix:
            begin -= 1
        page = [name for name in self._names[begin : begin + most] if name.startswith(prefix)]
        more = self._names[begin + len(page) : begin + len(page) + 1]
        is_truncated = bool(more and more[0].startswith(prefix))
        shown = quote if query.get("encoding-type") == ["url"] else escape
        token = f"<NextContinuationToken>{escape(''.join(page[-1:]))}</NextContinuationToken>"
        contents = "".join(
            f"<Contents><Key>{shown(name)}</Key><LastModified>2026-11-22T00:00:00.000Z"
            f"</LastModified><ETag>&quot;0&quot;</ETag><Size>{len(self._objects[name])}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for name in page
        )
        encoding = "<EncodingType>url</EncodingType>" if shown is quote else ""
        text = (
            f"<ListBucketResult><Name>bucket</Name><Prefix>{shown(prefix)}</Prefix>"
            f"<KeyCount>{len(page)}</KeyCount><MaxKeys>{most}</MaxKeys>{encoding}"
            f"<IsTruncated>{str(is_truncated).lower()}</IsTruncated>"
            f"{token if is_truncated else ''}{contents}</ListBucketResult>"
        )
        return 200, b"Content-Type: application/xml\r\n", text.encode()


class Connection(asyncio.Protocol):
    """Serve the requests of one connection, one after the other."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Serve what has arrived whole."""
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._data[:end])
            found = _LENGTH.search(head)
            stop = end + 4 + (int(found[1]) if found else 0)
            if b"\r\nExpect:" in head and len(self._data) < stop:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if len(self._data) < stop:
                return
            body = bytes(self._data[end + 4 : stop])
            del self._data[:stop]
            self._serve(head, body)

    def _serve(self, head: Head, body: bytes) -> None:
        method, target = head[: head.find(b" HTTP/")].decode().split(" ", 1)
        path, _, query = target.partition("?")
        if path in (COUNTS_PATH, SETTINGS_PATH):
            self._reply(self._own(path, body), method)
            return
        is_invoke = path.endswith("/invocations")
        settings = self._aws.settings
        half_s = (settings.lambda_s if is_invoke else settings.s3_s) / 2
        if is_invoke:
            self._aws.after(half_s, self._invoke, head, body, half_s)
        else:
            self._aws.after(half_s, self._s3, method, path, query, head, body, half_s)

    def _invoke(self, head: Head, body: bytes, half_s: float) -> None:
        self._aws.counts["Invoke"] += 1
        kind = _TYPE.search(head)
        reply, ran_s = self._aws.invoke(body, kind is not None and kind[1] == b"Event")
        self._aws.after(half_s + ran_s, self._reply, reply, "POST")

    def _s3(
        self, method: str, path: str, query: str, head: Head, body: bytes, half_s: float
    ) -> None:
        key = unquote(path.lstrip("/").partition("/")[2])
        operation, reply = self._operation(method, key, query, head, body)
        self._aws.counts[operation] += 1
        self._aws.after(half_s, self._reply, reply, method)

    def _operation(
        self, method: str, key: str, query: str, head: Head, body: bytes
    ) -> tuple[str, Reply]:
        aws = self._aws
        if method == "PUT":
            aws.put(key, body)
            return "PutObject", (200, b'ETag: "0"\r\n', b"")
        if method == "HEAD" and not key:
            return "HeadBucket", (200, b"", b"")
        if method == "GET" and not key:
            return "ListObjectsV2", aws.list(parse_qs(query))
        if method == "POST":
            aws.delete([unquote(name.decode()) for name in _KEYS_OF_DELETE.findall(body)])
            return "DeleteObjects", (200, b"", b"<DeleteResult></DeleteResult>")
        if method == "DELETE":
            aws.delete([key])
            return "DeleteObject", (204, b"", b"")
        return ("GetObject" if method == "GET" else "HeadObject"), aws.get(key, head)

    def _own(self, path: str, body: bytes) -> Reply:
        if path == SETTINGS_PATH:
            for name, value in json.loads(body).items():
                setattr(self._aws.settings, name, value)
            self._aws.counts.clear()
        return 200, b"", json.dumps(self._aws.counts).encode()

    def _reply(self, reply: Reply, method: str) -> None:
        status, headers, body = reply
        lead = b"HTTP/1.1 %d %s\r\nContent-Length: %d\r\nx-amzn-RequestId: 0\r\n" % (
            status,
            _REASONS[status].encode(),
            len(body),
        )
        self._transport.write(lead + headers + b"\r\n" + (b"" if method == "HEAD" else body))


async def serve(settings: Settings) -> None:
    """Serve until standard input ends.

    Args:
        settings: How long things take.
    """
    loop = asyncio.get_running_loop()
    aws = Aws(settings)
    server = await loop.create_server(lambda: Connection(aws), "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    """Serve with the latencies of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("s3", "lambda", "run"):
        parser.add_argument(f"--{name}-ms", type=float, default=0.0)
    given = parser.parse_args()
    settings = Settings(given.s3_ms / 1e3, given.lambda_ms / 1e3, given.run_ms / 1e3)
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
