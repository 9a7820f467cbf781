"""Objects in this process's memory: for tests, and the model of what a store does."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence

from lambdafutures._backends.base import StoredObject
from lambdafutures.exceptions import BlobMissing

# Like S3's pages.
PAGE_KEYS = 1000


class MemoryStore:
    """Keep bytes by key in a dict."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> bool:
        """Store `body` under `key`; return False if `only_if_absent` and the key was taken.

        Args:
            key: The object's key.
            body: Its bytes.
            only_if_absent: Leave an object that is there as it is.
        """
        if only_if_absent and key in self._objects:
            return False
        self._objects[key] = bytes(body)
        return True

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the object's bytes from `start`, `length` of them or all; fewer at its end.

        Args:
            key: The object's key.
            start: Where to begin.
            length: How many bytes.

        Raises:
            BlobMissing: If there is no such object.
        """
        try:
            body = self._objects[key]
        except KeyError:
            raise BlobMissing(f"{key!r} is not in the store") from None
        return body[start : None if length is None else start + length]

    async def head(self, key: str) -> StoredObject | None:
        """Return the object's description, or None if there is none.

        Args:
            key: The object's key.
        """
        body = self._objects.get(key)
        return None if body is None else StoredObject(key, len(body))

    async def list(
        self, prefix: str, *, start_after: str = ""
    ) -> AsyncIterator[Sequence[StoredObject]]:
        """Yield pages of objects under `prefix`, in the order of their keys' bytes.

        Args:
            prefix: What the keys begin with.
            start_after: Only keys greater than this one are listed.
        """
        while True:
            # The order of code points is that of the UTF-8 bytes. Sorted anew for each page, since
            # the store may change between two.
            keys = sorted(key for key in self._objects if key.startswith(prefix))
            first = bisect_right(keys, start_after)
            page = keys[first : first + PAGE_KEYS]
            if not page:
                return
            yield [StoredObject(key, len(self._objects[key])) for key in page]
            start_after = page[-1]

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete the objects; keys that do not exist are no error.

        Args:
            keys: Their keys.
        """
        for key in keys:
            self._objects.pop(key, None)

    async def close(self) -> None:
        """Do nothing; what was stored can still be looked at."""
