"""What S3 keeps: buckets, objects, unfinished multipart uploads."""

import bisect
import hashlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import quote
from xml.sax.saxutils import escape


def iso_time(moment: float) -> str:
    """Return a time as S3's XML writes it.

    Args:
        moment: Unix time.
    """
    return _iso_time(int(moment))


@lru_cache(maxsize=1024)
def _iso_time(moment: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(moment))


@lru_cache(maxsize=1024)
def _http_date(moment: int) -> str:
    return formatdate(moment, usegmt=True)


@dataclass(slots=True)
class StoredObject:
    """One object.

    Attributes:
        key: Its key.
        body: Its bytes.
        etag: Its ETag, without quotes.
        modified_at: Unix time of its creation.
        headers: Its content headers and user metadata, as GET returns them.
        checksum: Algorithm and value, if it came with one.
        checksum_type: FULL_OBJECT or COMPOSITE.
    """

    key: str
    body: bytes
    etag: str
    headers: dict[str, str] = field(default_factory=dict)
    checksum: tuple[str, str] | None = None
    checksum_type: str = "FULL_OBJECT"
    modified_at: float = field(default_factory=time.time)

    def list_entry(self, is_encoded: bool) -> str:
        """Return the object's element of a listing.

        Args:
            is_encoded: Whether the key is percent-encoded (`encoding-type=url`).
        """
        algorithm = ""
        if self.checksum is not None:
            algorithm = (
                f"<ChecksumAlgorithm>{self.checksum[0].upper()}</ChecksumAlgorithm>"
                f"<ChecksumType>{self.checksum_type}</ChecksumType>"
            )
        return (
            f"<Contents><Key>{quote(self.key) if is_encoded else escape(self.key)}</Key>"
            f"<LastModified>{iso_time(self.modified_at)}</LastModified>"
            f"<ETag>&quot;{self.etag}&quot;</ETag>{algorithm}<Size>{len(self.body)}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
        )

    def response_headers(self, with_checksum: bool) -> dict[str, str]:
        """Return the headers of a GET or HEAD.

        Args:
            with_checksum: Whether the client asked for the checksum.
        """
        headers = {
            "Last-Modified": _http_date(int(self.modified_at)),
            "ETag": f'"{self.etag}"',
            "Accept-Ranges": "bytes",
            "content-type": "binary/octet-stream",
            **self.headers,
        }
        if with_checksum and self.checksum is not None:
            headers[f"x-amz-checksum-{self.checksum[0]}"] = self.checksum[1]
            headers["x-amz-checksum-type"] = self.checksum_type
        return headers


@dataclass(slots=True)
class Part:
    """One part of an unfinished upload."""

    number: int
    body: bytes
    etag: str
    checksum: tuple[str, str] | None
    modified_at: float = field(default_factory=time.time)


@dataclass(slots=True)
class Upload:
    """One unfinished multipart upload."""

    upload_id: str
    key: str
    headers: dict[str, str]
    algorithm: str
    checksum_type: str
    parts: dict[int, Part] = field(default_factory=dict)
    started_at: float = field(default_factory=time.time)


class Bucket:
    """One bucket: its objects by key, its keys in order, its unfinished uploads.

    Attributes:
        name: Its name, unique in the world.
        region: Where it is.
        objects: Its objects by key.
        uploads: Its unfinished multipart uploads by id.
        created_at: Unix time of its creation.
    """

    def __init__(self, name: str, region: str) -> None:
        self.name = name
        self.region = region
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, Upload] = {}
        self.created_at = time.time()
        self._keys: list[str] = []
        self._numbers = itertools.count(1)

    @property
    def arn(self) -> str:
        """Return the bucket's ARN."""
        return f"arn:aws:s3:::{self.name}"

    def put(self, stored: StoredObject) -> None:
        """Store an object, replacing one of the same key.

        Args:
            stored: The object.
        """
        if stored.key not in self.objects:
            # Code-point order of str is the byte order of UTF-8, in which S3 lists.
            bisect.insort(self._keys, stored.key)
        self.objects[stored.key] = stored

    def delete(self, key: str) -> None:
        """Remove an object if it is there.

        Args:
            key: Its key.
        """
        if self.objects.pop(key, None) is not None:
            del self._keys[bisect.bisect_left(self._keys, key)]

    def keys_after(self, after: str, prefix: str) -> Iterator[str]:
        """Yield the keys of a prefix in order.

        Args:
            after: Only keys that sort behind this one; empty for all.
            prefix: What they begin with.
        """
        start = bisect.bisect_left(self._keys, prefix)
        if after:
            start = max(start, bisect.bisect_right(self._keys, after))
        for index in range(start, len(self._keys)):
            key = self._keys[index]
            if not key.startswith(prefix):
                return
            yield key

    def start_upload(
        self, key: str, headers: dict[str, str], algorithm: str, checksum_type: str
    ) -> Upload:
        """Begin a multipart upload.

        Args:
            key: The key of the object it will make.
            headers: Content headers and metadata of that object.
            algorithm: Its checksum algorithm, empty for none.
            checksum_type: FULL_OBJECT or COMPOSITE.
        """
        seed = f"{self.name}/{key}/{next(self._numbers)}"
        upload_id = hashlib.sha256(seed.encode()).hexdigest()
        upload = Upload(upload_id, key, headers, algorithm, checksum_type)
        self.uploads[upload_id] = upload
        return upload


def md5_hex(body: bytes) -> str:
    """Return the MD5 of a body, the ETag of an object put in one piece.

    Args:
        body: The body.
    """
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
