"""The worker's store: objects of any size by key, in parts side by side where they are large."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

from lambdafutures._wire import s3_limits
from lambdafutures._worker.http_pool import Reply
from lambdafutures._worker.s3_http import S3Failed, S3Http
from lambdafutures._worker.s3_parts import MultipartPut, side_by_side
from lambdafutures.exceptions import BlobMissing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer

# How long one `get` or `put` may go on when the caller names no deadline: as long as a throttled
# partition takes to split, with a margin.
PATIENCE_S = 120.0

_ABSENT = {"If-None-Match": "*"}
_TOTAL = re.compile(r"bytes (?:\d+-\d+|\*)/(\d+)")

_NOT_FOUND = 404
_PRECONDITION_FAILED = 412


class S3Client:
    """Get and put the objects of one bucket. Safe to share between threads, not across a fork.

    Args:
        bucket: The bucket.
        environ: Where credentials, region and endpoint are read; the process's own by default.
        multipart_bytes: Longest body that goes up as one.
        part_bytes: Length of a part of a longer one, and of a range of a `get`.
        clock: Monotonic clock, in seconds; deadlines are by it.
        sleep: Wait for seconds.
        chance: Return a random number from 0 to 1.
    """

    def __init__(
        self,
        bucket: str,
        environ: Mapping[str, str] | None = None,
        *,
        multipart_bytes: int = s3_limits.MULTIPART_BYTES,
        part_bytes: int = s3_limits.PART_BYTES,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] | None = None,
    ) -> None:
        self._http = S3Http(bucket, environ, clock, sleep, chance)
        self._multipart_bytes = multipart_bytes
        self._part_bytes = part_bytes

    @property
    def requests(self) -> Mapping[str, int]:
        """Requests sent so far, by operation."""
        return self._http.requests

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(
        self,
        key: str,
        start: int = 0,
        length: int | None = None,
        *,
        deadline_s: float | None = None,
    ) -> Buffer:
        """Return an object's bytes from `start`, `length` of them or all; fewer at its end.

        Args:
            key: The object's key.
            start: Where to begin.
            length: How many bytes.
            deadline_s: When to give up, by the client's clock.

        Raises:
            BlobMissing: If there is no such object, or none that this role may read.
            S3Failed: If S3 refuses, or does not answer in time.
        """
        deadline_s = self._deadline_s(deadline_s)
        while True:
            try:
                return self._get(key, start, length, deadline_s)
            except S3Failed as failed:
                # Overwritten between two ranges; the deadline bounds how often that can happen.
                if failed.status != _PRECONDITION_FAILED or self._http.clock() >= deadline_s:
                    raise

    def put(
        self,
        key: str,
        body: Buffer,
        *,
        only_if_absent: bool = False,
        deadline_s: float | None = None,
    ) -> bool:
        """Store `body` under `key`; return False if `only_if_absent` and the key was taken.

        A conditional write whose answer was lost meets its own object when it is repeated. Keys
        that a worker writes are its attempt's own, so that counts as stored.

        Args:
            key: The object's key.
            body: Its bytes.
            only_if_absent: Leave an object that is there as it is.
            deadline_s: When to give up, by the client's clock.

        Raises:
            S3Failed: If S3 refuses, or does not answer in time.
        """
        deadline_s = self._deadline_s(deadline_s)
        body = memoryview(body).cast("B")
        headers = _ABSENT if only_if_absent else {}
        if len(body) > self._multipart_bytes:
            upload = MultipartPut(self._http, key, body, self._part_bytes, headers, deadline_s)
            return upload.run()
        expected = (_PRECONDITION_FAILED,) if only_if_absent else ()
        reply = self._http.request(
            "PutObject", "PUT", key, deadline_s, headers=headers, body=body, expected=expected
        )
        return reply.status != _PRECONDITION_FAILED or reply.is_repeat

    def exists(self, key: str, *, deadline_s: float | None = None) -> bool:
        """Return whether there is an object of that key.

        Args:
            key: The object's key.
            deadline_s: When to give up, by the client's clock.

        Raises:
            S3Failed: If S3 refuses, or does not answer in time. To a role without s3:ListBucket it
                does not say whether a key exists.
        """
        deadline_s = self._deadline_s(deadline_s)
        reply = self._http.request("HeadObject", "HEAD", key, deadline_s, expected=(_NOT_FOUND,))
        return reply.status != _NOT_FOUND

    def delete(self, key: str, *, deadline_s: float | None = None) -> None:
        """Delete an object; a key that does not exist is no error.

        Args:
            key: The object's key.
            deadline_s: When to give up, by the client's clock.

        Raises:
            S3Failed: If S3 refuses, or does not answer in time.
        """
        self._http.request("DeleteObject", "DELETE", key, self._deadline_s(deadline_s))

    def _deadline_s(self, deadline_s: float | None) -> float:
        return self._http.clock() + PATIENCE_S if deadline_s is None else deadline_s

    def _get(self, key: str, start: int, length: int | None, deadline_s: float) -> Buffer:
        wanted = self._part_bytes if length is None else min(length, self._part_bytes)
        # S3 knows no empty range: an empty read asks for a byte, to learn whether the key exists.
        reply, total = self._range(key, start, max(1, wanted), {}, deadline_s)
        end = total if length is None else min(total, start + length)
        nbytes = max(0, end - start)
        if nbytes <= len(reply.body):
            return memoryview(reply.body)[:nbytes]
        whole = memoryview(bytearray(nbytes))
        done = len(reply.body)
        whole[:done] = reply.body
        # The rest must be of the same object, should somebody overwrite it meanwhile.
        same = {"If-Match": reply.headers.get("etag", "")}

        def read(part: tuple[int, int]) -> None:
            first, count = done + part[0], part[1]
            place = whole[first : first + count]
            self._range(key, start + first, count, same, deadline_s, place)

        side_by_side(read, s3_limits.ranges(nbytes - done, self._part_bytes))
        return whole

    def _range(
        self,
        key: str,
        start: int,
        length: int,
        headers: Mapping[str, str],
        deadline_s: float,
        into: memoryview | None = None,
    ) -> tuple[Reply, int]:
        """Return the answer with a range, and the length of the whole object."""
        headers = {**headers, "Range": f"bytes={start}-{start + length - 1}"}
        try:
            reply = self._http.request(
                "GetObject", "GET", key, deadline_s, headers=headers, into=into
            )
        except S3Failed as failed:
            if failed.code == "InvalidRange":  # it ends before `start`
                return Reply(failed.status, {}, b""), 0
            # S3 hides from a role without s3:ListBucket whether a key exists: 403 is its 404.
            if failed.code in ("NoSuchKey", "AccessDenied"):
                raise BlobMissing(f"{self._http.where(key)} cannot be read: {failed}") from failed
            raise
        found = _TOTAL.match(reply.headers.get("content-range", ""))
        if found is None:
            where = self._http.where(key)
            raise S3Failed("GetObject", where, reply.status, "NoRange", "a range was asked for")
        return reply, int(found[1])
