"""One S3 request of the worker: signed, sent, repeated while there is time. Standard library only.

Credentials are read from the environment at every request, as Lambda sets them.
"""

from __future__ import annotations

import os
import re
import time
from _thread import allocate_lock
from collections.abc import Callable, Mapping

from lambdafutures._wire import s3_limits, sigv4
from lambdafutures._wire.sigv4 import Credentials, Signer
from lambdafutures._worker.http_pool import ConnectionFault, HttpPool
from lambdafutures.exceptions import LambdaFuturesError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from lambdafutures._wire.codec import Buffer
    from lambdafutures._worker.http_pool import Reply

# S3's texts are quoted up to this length: they are one sentence.
MESSAGE_CHARACTERS = 500

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(.*?)(?::(\d+))?")
_CODE = re.compile(rb"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]*)</Message>")


class S3Failed(LambdaFuturesError):
    """Say that S3 refused a request, or did not serve it in time.

    Args:
        operation: Name of S3's operation.
        where: Bucket and key.
        status: HTTP status; 0 if there was no answer.
        code: S3's error code, or the type of the connection's fault.
        message: What was said about it.
    """

    def __init__(self, operation: str, where: str, status: int, code: str, message: str) -> None:
        super().__init__(operation, where, status, code, message)
        self.operation = operation
        self.where = where
        self.status = status
        self.code = code
        self.message = message

    def __str__(self) -> str:
        status = f"{self.status} " if self.status else ""
        return f"{self.operation} of {self.where} failed: {status}{self.code}: {self.message}"


class S3Http:
    """Send requests to one bucket. Safe to share between threads.

    Args:
        bucket: The bucket.
        environ: Where credentials, region and endpoint are read; the process's own by default.
        clock: Monotonic clock, in seconds; deadlines are by it.
        sleep: Wait for seconds.
        chance: Return a random number from 0 to 1.
    """

    def __init__(
        self,
        bucket: str,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] | None = None,
    ) -> None:
        self.bucket = bucket
        self.clock = clock
        self.requests: dict[str, int] = {}
        """Requests sent so far, by operation."""
        self._environ = os.environ if environ is None else environ
        self._sleep = sleep
        self._chance = chance or _chance
        region = self._environ.get("AWS_REGION") or self._environ.get("AWS_DEFAULT_REGION") or ""
        self._signer = Signer("s3", region or "us-east-1")
        scheme, self._host, self._path = _endpoint(bucket, region or "us-east-1", self._environ)
        name, port = _HOST.fullmatch(self._host).groups()  # type: ignore[union-attr]
        self._pool = HttpPool(
            name.strip("[]"),
            int(port or _PORTS[scheme]),
            scheme == "https",
            self._environ.get("AWS_CA_BUNDLE"),
            clock,
        )
        # TLS protects the body, and what is read back is checked against its hash or signature
        # anyway: hashing it here as well would cost a small function 200 ms per 100 MB.
        self._payload_hash = sigv4.UNSIGNED_PAYLOAD if scheme == "https" else None
        self._lock = allocate_lock()

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def where(self, key: str) -> str:
        """Name an object in an error's text.

        Args:
            key: Its key.
        """
        return f"s3://{self.bucket}/{key}"

    def request(
        self,
        operation: str,
        method: str,
        key: str,
        deadline_s: float,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: Buffer = b"",
        into: memoryview | None = None,
        expected: Collection[int] = (),
    ) -> Reply:
        """Send a request, again after each passing fault, and return its answer.

        Args:
            operation: Name of S3's operation, for counts and errors.
            method: HTTP method.
            key: The object's key.
            deadline_s: When to give up, by the client's clock.
            query: Query, encoded.
            headers: Headers besides those of the signature.
            body: What to send.
            into: Memory for the body of a successful answer.
            expected: Statuses of failure that are returned rather than raised.

        Raises:
            S3Failed: If S3 refuses it, or if the deadline would pass before the next try.
        """
        tries, is_repeat = 0, False
        while True:
            tries += 1
            try:
                reply = self._send(
                    operation, method, key, deadline_s, query, headers or {}, body, into
                )
            except ConnectionFault as error:
                fault = S3Failed(operation, self.where(key), 0, error.kind, str(error))
                if error.is_permanent:
                    raise fault from None
                is_repeat = True
                # That an idle connection had been closed says nothing about S3's health.
                if not error.is_stale:
                    self.pause(fault, tries, deadline_s)
                continue
            status, code, message = _error_of(method, reply)
            if status < 300 or status in expected:
                reply.is_repeat = is_repeat
                return reply
            fault = S3Failed(operation, self.where(key), status, code, message)
            if not s3_limits.is_passing(status, code):
                raise fault
            is_repeat = is_repeat or status not in s3_limits.UNAPPLIED_STATUSES
            self.pause(fault, tries, deadline_s, reply.headers.get("retry-after"))

    def pause(
        self, fault: S3Failed, tries: int, deadline_s: float, retry_after: str | None = None
    ) -> None:
        """Wait before the next try.

        Args:
            fault: Why there must be one; raised if there is no time for it.
            tries: Tries so far, at least 1.
            deadline_s: When to give up, by the client's clock.
            retry_after: The server's Retry-After header, if there was one.
        """
        wait_s = s3_limits.backoff_s(tries, self._chance(), retry_after)
        if self.clock() + wait_s >= deadline_s:
            raise fault
        self._sleep(wait_s)

    def _send(
        self,
        operation: str,
        method: str,
        key: str,
        deadline_s: float,
        query: str,
        headers: Mapping[str, str],
        body: Buffer,
        into: memoryview | None,
    ) -> Reply:
        with self._lock:
            self.requests[operation] = self.requests.get(operation, 0) + 1
        path = self._path + sigv4.encode(key, b"/")
        signed = self._signer.sign(
            method,
            self._host,
            path,
            query,
            headers,
            self._payload_hash or sigv4.payload_sha256(body),
            self._credentials(operation, key),
            time.time(),
        )
        target = f"{path}?{query}" if query else path
        return self._pool.exchange(method, target, signed, body, deadline_s, into)

    def _credentials(self, operation: str, key: str) -> Credentials:
        environ = self._environ
        try:
            return Credentials(
                environ["AWS_ACCESS_KEY_ID"],
                environ["AWS_SECRET_ACCESS_KEY"],
                environ.get("AWS_SESSION_TOKEN", ""),
            )
        except KeyError as error:
            raise S3Failed(
                operation, self.where(key), 0, "NoCredentials", f"{error} is not in the environment"
            ) from None


def _endpoint(bucket: str, region: str, environ: Mapping[str, str]) -> tuple[str, str, str]:
    """Return the scheme, the host with its port, and what every path begins with."""
    given = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    if given:
        scheme, _, rest = given.partition("://")
        host, _, path = rest.partition("/")
        base = f"/{path.strip('/')}" if path.strip("/") else ""
        if scheme not in _PORTS or not host:
            raise ValueError(f"not the URL of an endpoint: {given!r}")
        return scheme, host, f"{base}/{bucket}/"
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    if "." in bucket:
        # The wildcard certificate of S3 covers one label only.
        return "https", f"s3.{region}.{suffix}", f"/{bucket}/"
    return "https", f"{bucket}.s3.{region}.{suffix}", "/"


def _error_of(method: str, reply: Reply) -> tuple[int, str, str]:
    """Return the answer's status, and the code and message if it is an error."""
    status = reply.status
    if status < 300:
        # S3 begins to answer some POSTs before they are done: a 200 may hold the error of a 500.
        if method != "POST" or b"<Error>" not in bytes(reply.body[:MESSAGE_CHARACTERS]):
            return status, "", ""
        status = 500
    text = bytes(reply.body)
    code, message = _CODE.search(text), _MESSAGE.search(text)
    return (
        status,
        code[1].decode("utf-8", "replace") if code else "Unknown",
        message[1].decode("utf-8", "replace")[:MESSAGE_CHARACTERS] if message else "",
    )


def _chance() -> float:
    # Not `random`: sandboxes restored from one snapshot, or forked, would all draw the same.
    return int.from_bytes(os.urandom(4), "big") / 2**32
