"""Small objects over the short way of `hot_requests`: what GetObject and PutObject are in HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdafutures._backends import hot_requests
from lambdafutures._backends.hot_requests import HotRequests
from lambdafutures._wire import sigv4

if TYPE_CHECKING:
    from aiobotocore.session import AioSession

# The key of the pattern: what stands before it in the path is where the bucket's objects are.
_KEY = "lambdafutures"

_HEADERS = {"Range": "Range", "IfMatch": "If-Match", "IfNoneMatch": "If-None-Match"}
_METADATA = "x-amz-meta-"


class HotS3:
    """Send GetObject and PutObject for one bucket.

    Args:
        requests: Who signs and sends.
    """

    def __init__(self, requests: HotRequests) -> None:
        self._requests = requests
        self._prefix = requests.path.removesuffix(_KEY)

    def can_send(self, operation: str, parameters: dict[str, Any]) -> bool:
        """Return whether a request can go this way.

        Args:
            operation: Name of S3's operation.
            parameters: Its parameters.
        """
        if operation == "PutObject":
            return len(parameters["Body"]) <= hot_requests.BODY_BYTES
        return operation == "GetObject"

    async def send(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Send a request, once, and return what botocore would, as far as we need it.

        Args:
            operation: Name of S3's operation.
            parameters: Its parameters besides the bucket.

        Raises:
            ClientError: If S3 refuses it.
            BotoCoreError: If there is no answer.
        """
        headers = {
            header: parameters[name] for name, header in _HEADERS.items() if name in parameters
        }
        for name, value in parameters.get("Metadata", {}).items():
            headers[f"{_METADATA}{name}"] = value
        path = self._prefix + sigv4.encode(parameters["Key"], b"/")
        method = "PUT" if operation == "PutObject" else "GET"
        body = parameters.get("Body", b"")
        answer = await self._requests.send(operation, method, path, headers, body)
        found: dict[str, Any] = {"ETag": answer.headers.get("etag")}
        if method == "GET":
            found["Body"] = answer.body
            found["ContentRange"] = answer.headers.get("content-range")
        return found

    def close(self) -> None:
        """Close the connections."""
        self._requests.close()


async def find(client: Any, session: AioSession, bucket: str) -> HotS3 | None:
    """Return the short way to a bucket, or None if requests are to go through botocore.

    Args:
        client: A client of aiobotocore for S3, which nobody else uses yet.
        session: The session that made it.
        bucket: The bucket.
    """
    requests = await hot_requests.find(client, session, "GetObject", Bucket=bucket, Key=_KEY)
    if requests is None or not requests.path.endswith(f"/{_KEY}"):
        return None
    return HotS3(requests)
