"""The deployment's bucket: the worker's zip put into it, and all of it taken out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lambdafutures.deploy.errors import AwsFault, DeployError
from lambdafutures.deploy.session import Aws

_GONE = frozenset({"NoSuchBucket", "404", "NotFound"})


class Bucket:
    """Handle one bucket.

    Args:
        aws: The way to AWS.
        name: The bucket's name.
    """

    def __init__(self, aws: Aws, name: str) -> None:
        self.name = name
        self._aws = aws

    def exists(self) -> bool:
        """Tell whether there is such a bucket."""
        try:
            self._aws.call("s3", "head_bucket", Bucket=self.name)
        except AwsFault as fault:
            if fault.code in _GONE:
                return False
            raise
        return True

    def has(self, key: str) -> bool:
        """Tell whether there is such an object.

        Args:
            key: The object's key.
        """
        return key in self.keys(key)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of the objects under a prefix.

        Args:
            prefix: What the keys begin with.
        """
        return [
            entry["Key"]
            for page in self.pages("list_objects_v2", Prefix=prefix)
            for entry in page.get("Contents", ())
        ]

    def put(self, key: str, body: bytes, sha256: str) -> None:
        """Store an object; S3 refuses it if it arrives damaged.

        Args:
            key: Its key.
            body: Its bytes.
            sha256: SHA-256 that they must have, in hexadecimal.
        """
        if hashlib.sha256(body).hexdigest() != sha256:
            raise DeployError(f"{key} does not have the SHA-256 in its name; run the command again")
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        self._aws.call(
            "s3", "put_object", Bucket=self.name, Key=key, Body=body, ChecksumSHA256=checksum
        )

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects.

        Args:
            keys: Their keys, at most 1,000.
        """
        self._delete([{"Key": key} for key in keys])

    def empty(self) -> int:
        """Delete all objects with all their versions, and end unfinished multipart uploads.

        Returns how many of them there were; a bucket that is gone is empty.

        Raises:
            AwsFault: If something may not be deleted.
        """
        count = 0
        try:
            for page in self.pages("list_multipart_uploads"):
                for upload in page.get("Uploads", ()):
                    self._abort(upload)
                    count += 1
            for page in self.pages("list_object_versions"):
                found = [
                    {"Key": entry["Key"], "VersionId": entry["VersionId"]}
                    for kind in ("Versions", "DeleteMarkers")
                    for entry in page.get(kind, ())
                ]
                self._delete(found)
                count += len(found)
        except AwsFault as fault:
            if fault.code not in _GONE:
                raise
        return count

    def pages(self, method: str, **arguments: Any) -> Iterator[Mapping[str, Any]]:
        """Yield the pages of a listing; each is asked for when the one before has been dealt with.

        Written out, not botocore's paginator, so that errors come by the one way of `Aws.call`.

        Args:
            method: The listing, as the client's method.
            arguments: What to list, besides the bucket.
        """
        following: dict[str, Any] = {}
        while True:
            page = self._aws.call("s3", method, Bucket=self.name, **arguments, **following)
            yield page
            if not page.get("IsTruncated"):
                return
            following = {
                argument: page[answer] for argument, answer in _NEXT[method] if answer in page
            }

    def _abort(self, upload: Mapping[str, Any]) -> None:
        try:
            self._aws.call(
                "s3",
                "abort_multipart_upload",
                Bucket=self.name,
                Key=upload["Key"],
                UploadId=upload["UploadId"],
            )
        except AwsFault as fault:
            if fault.code != "NoSuchUpload":  # whoever had begun it has ended it
                raise

    def _delete(self, objects: list[dict[str, str]]) -> None:
        if not objects:
            return
        answer = self._aws.call(
            "s3", "delete_objects", Bucket=self.name, Delete={"Objects": objects, "Quiet": True}
        )
        for error in answer.get("Errors", ()):
            raise AwsFault(
                "s3", "DeleteObject", error.get("Code", ""), f"{error['Key']}: {error['Message']}"
            )


# By listing: what to ask with for the next page, and where this one's answer has it.
_NEXT = {
    "list_objects_v2": (("ContinuationToken", "NextContinuationToken"),),
    "list_object_versions": (
        ("KeyMarker", "NextKeyMarker"),
        ("VersionIdMarker", "NextVersionIdMarker"),
    ),
    "list_multipart_uploads": (
        ("KeyMarker", "NextKeyMarker"),
        ("UploadIdMarker", "NextUploadIdMarker"),
    ),
}
