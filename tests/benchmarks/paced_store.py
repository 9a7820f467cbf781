"""Objects over HTTP at the pace of S3 as a Lambda function sees it: for benchmarks, no real store.

A process of its own. Each connection waits before it answers and then sends at its own rate, all
together at no more than the function's line. GET of keys and ranges only; nothing is checked.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

PIECE_BYTES = 64 * 1024


class Pace(NamedTuple):
    """Say how fast the store is.

    Args:
        latency_s: From a request to the first byte of its answer.
        connection_bytes_per_s: Of one connection.
        line_bytes_per_s: Of all connections together.
    """

    latency_s: float = 0.02
    connection_bytes_per_s: float = 50e6
    line_bytes_per_s: float = 90e6


@contextmanager
def serve(objects: Mapping[str, bytes], pace: Pace) -> Iterator[str]:
    """Serve objects by their path, and yield the address."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, dict(objects), pace), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()


def _serve(pipe, objects: dict[str, bytes], pace: Pace) -> None:
    line = _Line(pace.line_bytes_per_s)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            body = objects[self.path.lstrip("/")]
            total = len(body)
            asked = self.headers.get("Range")
            if asked:
                first, _, last = asked.removeprefix("bytes=").partition("-")
                start, end = int(first), min(int(last) + 1, total)
            else:
                start, end = 0, total
            time.sleep(pace.latency_s)
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(end - start))
            self.send_header("ETag", '"x"')
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{total}")
            self.end_headers()
            self._send(memoryview(body)[start:end])

        def _send(self, body: memoryview) -> None:
            own = _Line(pace.connection_bytes_per_s)
            for first in range(0, len(body), PIECE_BYTES):
                piece = body[first : first + PIECE_BYTES]
                own.take(len(piece))
                line.take(len(piece))
                self.wfile.write(piece)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pipe.send(server.server_address[1])
    server.serve_forever()


class _Line:
    """Let bytes pass at a rate."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, nbytes: int) -> None:
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + nbytes / self._bytes_per_s
            wait_s = self._free_at - now
        if wait_s > 0.002:  # shorter sleeps last too long
            time.sleep(wait_s)
