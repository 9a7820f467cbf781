"""Objects in an S3 bucket."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiobotocore.session import AioSession
from botocore.exceptions import ClientError

from lambdafutures._backends import s3_errors, s3_listing
from lambdafutures._backends.base import StoredObject
from lambdafutures._backends.s3_parts import is_own, new_mark, put_in_parts, side_by_side
from lambdafutures._backends.s3_requests import S3Requests
from lambdafutures._wire import s3_limits
from lambdafutures.exceptions import BlobMissing

_ABSENT = {"IfNoneMatch": "*"}
_NOT_FOUND = 404
_PRECONDITION_FAILED = 412
_EMPTY_RANGE = 416


class S3Store:
    """Keep bytes by key in one S3 bucket.

    Made anywhere, used on one event loop; the first request opens the client.

    Args:
        bucket: The bucket.
        region: Its region; by default `$AWS_REGION`, else what botocore finds.
        endpoint_url: Another server than AWS's, reached by paths.
        session: Where credentials come from; the standard chain by default.
        multipart_bytes: Longest body that goes up as one.
        part_bytes: Length of a part of a longer one, and of a range of a `get`.
        page_keys: Keys per page of a listing.
        **options: Options of `S3Requests`: connections, time-outs, patience, clock.
    """

    def __init__(
        self,
        bucket: str,
        region: str | None = None,
        endpoint_url: str | None = None,
        session: AioSession | None = None,
        *,
        multipart_bytes: int = s3_limits.MULTIPART_BYTES,
        part_bytes: int = s3_limits.PART_BYTES,
        page_keys: int = s3_limits.KEYS_PER_REQUEST,
        **options: Any,
    ) -> None:
        self._requests = S3Requests(bucket, region, endpoint_url, session, **options)
        self._bucket = bucket
        self._multipart_bytes = multipart_bytes
        self._part_bytes = part_bytes
        self._page_keys = page_keys

    def __repr__(self) -> str:
        return f"S3Store({self._bucket!r})"

    @property
    def requests(self) -> Counter[str]:
        """Requests sent so far, by operation."""
        return self._requests.counts

    async def close(self) -> None:
        """Release connections; the store is not used again."""
        await self._requests.close()

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> bool:
        """Store `body` under `key`; return False if `only_if_absent` and the key was taken.

        Args:
            key: The object's key.
            body: Its bytes.
            only_if_absent: Leave an object that is there as it is.

        Raises:
            BackendError: If S3 refuses it.
        """
        condition = _ABSENT if only_if_absent else {}
        if len(body) > self._multipart_bytes:
            return await put_in_parts(self._requests, key, body, self._part_bytes, condition)
        mark = new_mark() if only_if_absent else {}
        try:
            await self._requests.call(
                "PutObject",
                key,
                nbytes=len(body),
                Key=key,
                Body=body,
                Metadata=mark,
                **condition,
            )
        except ClientError as error:
            if not only_if_absent or _status(error) != _PRECONDITION_FAILED:
                raise self._requests.refusal(error, "PutObject", key) from error
            return await is_own(self._requests, key, mark)
        return True

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the object's bytes from `start`, `length` of them or all; fewer at its end.

        Args:
            key: The object's key.
            start: Where to begin.
            length: How many bytes.

        Raises:
            BlobMissing: If there is no such object.
            BackendError: If S3 refuses it.
        """
        while True:
            try:
                return await self._get(key, start, length)
            except ClientError as error:
                if _status(error) == _NOT_FOUND:
                    raise BlobMissing(f"s3://{self._bucket}/{key} does not exist") from error
                if _status(error) != _PRECONDITION_FAILED:
                    raise self._requests.refusal(error, "GetObject", key) from error
                # Overwritten between two of its ranges: once more from the beginning.

    async def _get(self, key: str, start: int, length: int | None) -> bytes:
        wanted = self._part_bytes if length is None else min(length, self._part_bytes)
        # S3 knows no empty range: an empty read asks for a byte, to learn whether the key exists.
        try:
            first = await self._range(key, start, max(1, wanted))
        except ClientError as error:
            if _status(error) == _EMPTY_RANGE:  # it ends before `start`
                return b""
            raise
        body: bytes = first["Body"]
        total = int(first["ContentRange"].rpartition("/")[2])
        nbytes = (total if length is None else min(total, start + length)) - start
        if nbytes <= len(body):
            return body[:nbytes]
        done = start + len(body)

        async def read(part: tuple[int, int]) -> bytes:
            # Of the same object, should somebody overwrite it meanwhile.
            answer = await self._range(key, done + part[0], part[1], IfMatch=first["ETag"])
            return bytes(answer["Body"])

        rest = s3_limits.ranges(nbytes - len(body), self._part_bytes)
        return b"".join([body, *await side_by_side(read, rest)])

    async def _range(self, key: str, start: int, length: int, **condition: str) -> dict[str, Any]:
        return await self._requests.call(
            "GetObject",
            key,
            nbytes=length,
            Key=key,
            Range=f"bytes={start}-{start + length - 1}",
            **condition,
        )

    async def head(self, key: str) -> StoredObject | None:
        """Return the object's description, or None if there is none.

        Args:
            key: The object's key.

        Raises:
            BackendError: If S3 refuses it.
        """
        try:
            answer = await self._requests.call("HeadObject", key, Key=key)
        except ClientError as error:
            if _status(error) == _NOT_FOUND:
                return None
            raise self._requests.refusal(error, "HeadObject", key) from error
        return StoredObject(key, answer["ContentLength"])

    async def list(
        self, prefix: str, *, start_after: str = ""
    ) -> AsyncIterator[Sequence[StoredObject]]:
        """Yield pages of objects under `prefix`, in the order of their keys' bytes.

        Args:
            prefix: What the keys begin with.
            start_after: Only keys greater than this one are listed.

        Raises:
            BackendError: If S3 refuses it.
        """
        position: dict[str, Any] = {"StartAfter": start_after} if start_after else {}
        while True:
            try:
                page = await self._requests.call(
                    "ListObjectsV2", prefix, Prefix=prefix, MaxKeys=self._page_keys, **position
                )
            except ClientError as error:
                raise self._requests.refusal(error, "ListObjectsV2", prefix) from error
            if page[s3_listing.OBJECTS]:
                yield page[s3_listing.OBJECTS]
            if not page.get("IsTruncated"):
                return
            position = {"ContinuationToken": page["NextContinuationToken"]}

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete the objects; keys that do not exist are no error.

        Args:
            keys: Their keys.

        Raises:
            BackendError: If S3 refuses it.
        """
        size = s3_limits.KEYS_PER_REQUEST
        batches = [keys[start : start + size] for start in range(0, len(keys), size)]
        await side_by_side(self._delete, batches)

    async def _delete(self, keys: Sequence[str]) -> None:
        patience = self._requests.patience("DeleteObjects", keys[0])
        while keys:
            patience.begin()
            objects = [{"Key": key} for key in keys]
            try:
                answer = await self._requests.call(
                    "DeleteObjects", keys[0], Delete={"Objects": objects, "Quiet": True}
                )
            except ClientError as error:
                raise self._requests.refusal(error, "DeleteObjects", keys[0]) from error
            keys = [failed["Key"] for failed in answer.get("Errors", ())]
            for failed in answer.get("Errors", ()):
                fault = s3_errors.as_client_error(failed, "DeleteObjects")
                if not s3_limits.is_passing(0, failed["Code"]):
                    raise self._requests.refusal(fault, "DeleteObjects", failed["Key"])
            if keys:
                await patience.wait(fault)


def _status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
