"""Large objects of the worker: parts that travel side by side."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence

from lambdafutures._wire import s3_limits, sigv4
from lambdafutures._worker.s3_http import S3Failed, S3Http

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from lambdafutures._worker.http_pool import Reply

    T = TypeVar("T")
    R = TypeVar("R")

# Parts under way at once: with 4 connections of some 50 MB/s the 30-90 MB/s of a small function,
# and most of what a large one has, are in use.
PARTS_AT_ONCE = 4
# To tell S3 that an upload is given up is worth a moment, not more: the bucket's lifecycle rule
# removes what is left.
ABORT_PATIENCE_S = 2.0

_UPLOAD_ID = re.compile(rb"<UploadId>([^<]+)</UploadId>")

_NOT_FOUND = 404
_CONFLICT = 409
_PRECONDITION_FAILED = 412


class MultipartPut:
    """Put one large object.

    Args:
        http: Who sends.
        key: The object's key.
        body: Its bytes.
        part_bytes: Length of a part.
        headers: Conditions of the write.
        deadline_s: When to give up, by the client's clock.
    """

    def __init__(
        self,
        http: S3Http,
        key: str,
        body: memoryview,
        part_bytes: int,
        headers: Mapping[str, str],
        deadline_s: float,
    ) -> None:
        self._http = http
        self._key = key
        self._body = body
        self._part_bytes = part_bytes
        self._headers = headers
        self._deadline_s = deadline_s

    def run(self) -> bool:
        """Store the object; return False if the key was taken.

        Raises:
            S3Failed: If S3 refuses, or does not answer in time.
        """
        tries = 0
        while True:
            tries += 1
            upload = self._begin()
            try:
                reply = self._complete(upload, self._send_parts(upload))
            except BaseException:
                self._abort(upload)
                raise
            if reply.status < 300:
                return True
            if reply.is_repeat and reply.status in (_NOT_FOUND, _PRECONDITION_FAILED):
                return True  # an earlier try had completed it, though its answer was lost
            self._abort(upload)
            if reply.status == _PRECONDITION_FAILED:
                return False
            # 409: another write of the key was under way; AWS says to begin again. 404: somebody
            # has removed the upload.
            fault = self._fault("CompleteMultipartUpload", reply.status, "the upload was lost")
            self._http.pause(fault, tries, self._deadline_s)

    def _fault(self, operation: str, status: int, message: str) -> S3Failed:
        return S3Failed(operation, self._http.where(self._key), status, "Unexpected", message)

    def _begin(self) -> str:
        operation = "CreateMultipartUpload"
        reply = self._http.request(operation, "POST", self._key, self._deadline_s, query="uploads=")
        found = _UPLOAD_ID.search(bytes(reply.body))
        if found is None:
            raise self._fault(operation, reply.status, "the answer names no upload")
        return sigv4.encode(found[1].decode())

    def _send_parts(self, upload: str) -> list[str]:
        def send(numbered: tuple[int, tuple[int, int]]) -> str:
            number, (start, length) = numbered
            reply = self._http.request(
                "UploadPart",
                "PUT",
                self._key,
                self._deadline_s,
                query=f"partNumber={number}&uploadId={upload}",
                body=self._body[start : start + length],
            )
            return reply.headers["etag"]

        parts = s3_limits.ranges(len(self._body), self._part_bytes)
        return side_by_side(send, list(enumerate(parts, 1)))

    def _complete(self, upload: str, etags: Sequence[str]) -> Reply:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, etag in enumerate(etags, 1)
        )
        return self._http.request(
            "CompleteMultipartUpload",
            "POST",
            self._key,
            self._deadline_s,
            query=f"uploadId={upload}",
            headers=self._headers,
            body=f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode(),
            expected=(_NOT_FOUND, _CONFLICT, _PRECONDITION_FAILED),
        )

    def _abort(self, upload: str) -> None:
        deadline_s = self._http.clock() + ABORT_PATIENCE_S
        with contextlib.suppress(S3Failed):
            self._http.request(
                "AbortMultipartUpload", "DELETE", self._key, deadline_s, query=f"uploadId={upload}"
            )


def side_by_side(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Return what `work` makes of each item; a few at once, the first error ends it all.

    Args:
        work: What to do with an item, on any thread.
        items: The items.

    Raises:
        BaseException: The first that `work` raised, once all that ran has ended.
    """
    from threading import Thread

    pending = list(range(len(items)))[::-1]
    results: dict[int, R] = {}
    errors: list[BaseException] = []

    def run() -> None:
        while pending and not errors:
            try:
                index = pending.pop()
            except IndexError:  # another thread has taken the last one
                return
            try:
                results[index] = work(items[index])
            except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
                errors.append(error)

    threads = [Thread(target=run) for _ in range(min(PARTS_AT_ONCE, len(items)) - 1)]
    for thread in threads:
        thread.start()
    run()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(items))]
