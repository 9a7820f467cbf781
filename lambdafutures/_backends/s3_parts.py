"""Large objects of the client: parts that travel side by side."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from lambdafutures._backends.s3_requests import S3Requests
from lambdafutures._wire import s3_limits
from lambdafutures.exceptions import BackendError

T = TypeVar("T")
R = TypeVar("R")

# Parts of one object under way at once: fills a line of several Gbit/s at 50 MB/s per connection
# (s3transfer's default is 10), and bounds what one object holds of the connections.
PARTS_AT_ONCE = 8
# To tell S3 that an upload is given up is worth a moment, not more: the bucket's lifecycle rule
# removes what is left.
ABORT_PATIENCE_S = 5.0

_MARK = "lambdafutures-put"
_MARK_BYTES = 8
_PRECONDITION_FAILED = 412


def new_mark() -> dict[str, str]:
    """Return metadata by which a write recognises its own object."""
    return {_MARK: os.urandom(_MARK_BYTES).hex()}


async def is_own(requests: S3Requests, key: str, mark: Mapping[str, str]) -> bool:
    """Return whether the object under `key` was written with that mark.

    A conditional write whose answer was lost is repeated (by us, or by aiohttp beneath botocore),
    meets its own object, and is refused.

    Args:
        requests: Who asks.
        key: The object's key.
        mark: What `new_mark` returned for the write.
    """
    try:
        found = await requests.call("HeadObject", key, Key=key)
    except ClientError:  # it is gone again
        return False
    return bool(found.get("Metadata", {}).get(_MARK) == mark[_MARK])


async def put_in_parts(
    requests: S3Requests, key: str, body: bytes, part_bytes: int, condition: Mapping[str, Any]
) -> bool:
    """Store a large object; return False if the condition failed.

    Args:
        requests: Who sends.
        key: The object's key.
        body: Its bytes.
        part_bytes: Length of a part.
        condition: `IfNoneMatch`, or nothing.

    Raises:
        BackendError: If S3 refuses it.
    """
    patience = requests.patience("CompleteMultipartUpload", key)
    while True:
        patience.begin()
        mark = new_mark()
        begun = await requests.call("CreateMultipartUpload", key, Key=key, Metadata=mark)
        upload: dict[str, Any] = {"Key": key, "UploadId": begun["UploadId"]}
        try:
            parts = await _send_parts(requests, upload, body, part_bytes)
            await requests.call(
                "CompleteMultipartUpload",
                key,
                MultipartUpload={"Parts": parts},
                **upload,
                **condition,
            )
            return True
        except ClientError as error:
            if await is_own(requests, key, mark):
                return True
            await _abort(requests, upload)
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == _PRECONDITION_FAILED:
                return False
            # 409: another write of the key was under way, and AWS says to begin again. 404:
            # somebody has removed the upload.
            fault = error
        except BaseException:
            await _abort(requests, upload)
            raise
        await patience.wait(fault)


async def _send_parts(
    requests: S3Requests, upload: Mapping[str, Any], body: bytes, part_bytes: int
) -> list[dict[str, Any]]:
    view = memoryview(body)

    async def send(numbered: tuple[int, tuple[int, int]]) -> dict[str, Any]:
        number, (start, length) = numbered
        answer = await requests.call(
            "UploadPart",
            upload["Key"],
            nbytes=length,
            Body=bytes(view[start : start + length]),
            PartNumber=number,
            **upload,
        )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    return await side_by_side(send, list(enumerate(s3_limits.ranges(len(body), part_bytes), 1)))


async def _abort(requests: S3Requests, upload: Mapping[str, Any]) -> None:
    with contextlib.suppress(ClientError, BackendError, TimeoutError):
        async with asyncio.timeout(ABORT_PATIENCE_S):
            await requests.call("AbortMultipartUpload", upload["Key"], **upload)


async def side_by_side(work: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
    """Return what `work` makes of each item; a few at once, the first error ends it all.

    Args:
        work: What to do with an item.
        items: The items.

    Raises:
        Exception: The first that `work` raised.
    """
    slots = asyncio.Semaphore(PARTS_AT_ONCE)

    async def one(item: T) -> R:
        async with slots:
            return await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(one(item)) for item in items]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in running]
