"""What does not fit an Invoke goes into the store, once each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lambdafutures._backends.base import Store
from lambdafutures._backends.bundle_store import put_bundle
from lambdafutures._wire import blob, invocation, keys
from lambdafutures._wire.invocation import Invocation, StoredParts

if TYPE_CHECKING:
    from lambdafutures._wire.bundle import Bundle
    from lambdafutures._wire.codec import Buffer

# A function or an initializer below this rides in each payload; above, it is stored once.
INLINE_BYTES = 32 * 1024


class Spill:
    """Store functions, arguments and initializers of one session, and remember where.

    Args:
        store: Where to put them.
        prefix: Prefix of the deployment's keys.
        session: The session's id.
    """

    def __init__(self, store: Store, prefix: str, session: str) -> None:
        self.has_stored = False
        """Whether anything lies under the session's prefix because of us."""
        self._store = store
        self._prefix = prefix
        self._session = session
        self._functions: dict[str, asyncio.Task[bool]] = {}
        self._arguments: dict[int, StoredParts] = {}
        self._initializer: asyncio.Task[StoredParts] | None = None
        self._bundles: dict[str, asyncio.Task[bool]] = {}
        self._trusts_store = True

    async def make_fit(self, asked: Invocation) -> None:
        """Store what does not fit an invocation, and name it there.

        Args:
            asked: The invocation, which is changed.

        Raises:
            BackendError: If the store refuses it.
        """
        payload = asked.payload
        for bundle in payload.bundles:
            await self._store_bundle(bundle)
        left_bytes = _nbytes(asked.session.encode())
        initializer = asked.session.initializer
        if initializer is not None and initializer.nbytes > INLINE_BYTES:
            asked.stored_initializer = await self._store_initializer(initializer.parts)
            left_bytes -= initializer.nbytes
        function_bytes = _nbytes(payload.function_parts)
        is_durable = payload.place is not None
        if is_durable and (function_bytes > INLINE_BYTES or not payload.function_parts):
            asked.stored_function = True
        elif function_bytes > INLINE_BYTES:
            await self._store_function(payload.function, payload.function_parts)
            asked.stored_function = True
        else:
            left_bytes += function_bytes
        limit_bytes = invocation.MAX_REQUEST_BYTES
        if asked.reply == invocation.POLL:
            limit_bytes = invocation.MAX_EVENT_BYTES
        fits = invocation.fits(left_bytes + _nbytes(payload.arguments), limit_bytes)
        if is_durable and (not fits or not payload.arguments):
            asked.stored_arguments = payload.place
        elif not fits:
            asked.stored_arguments = await self._store_arguments(payload.chunk, payload.arguments)

    def forget(self) -> None:
        """Store everything anew when it is next sent: somebody has deleted it, or it expired."""
        self._functions.clear()
        self._arguments.clear()
        self._initializer = None
        self._bundles.clear()
        self._trusts_store = False

    def release(self, chunk: int) -> None:
        """Forget where a chunk's arguments are: it has ended.

        Args:
            chunk: Its number.
        """
        self._arguments.pop(chunk, None)

    async def _store_function(self, sha256: str, parts: Sequence[Buffer]) -> None:
        task = self._functions.get(sha256)
        if task is None or _has_failed(task):
            key = keys.blob_key(self._prefix, sha256)
            task = asyncio.ensure_future(self._store.put(key, invocation.pack_parts(parts)))
            self._functions[sha256] = task
        await asyncio.shield(task)  # others wait for it, too

    async def _store_bundle(self, bundle: Bundle) -> None:
        task = self._bundles.get(bundle.name)
        if task is None or _has_failed(task):
            upload = put_bundle(self._store, self._prefix, bundle, anew=not self._trusts_store)
            task = self._bundles[bundle.name] = asyncio.ensure_future(upload)
        await asyncio.shield(task)  # others wait for it, too

    async def _store_arguments(self, chunk: int, parts: Sequence[Buffer]) -> StoredParts:
        stored = self._arguments.get(chunk)
        if stored is None:
            stored = await self._put(keys.in_key(self._prefix, self._session, chunk), parts)
            self._arguments[chunk] = stored
        return stored

    async def _store_initializer(self, parts: Sequence[Buffer]) -> StoredParts:
        task = self._initializer
        if task is None or _has_failed(task):
            key = keys.initializer_key(self._prefix, self._session)
            task = self._initializer = asyncio.ensure_future(self._put(key, parts))
        return await asyncio.shield(task)

    async def _put(self, key: str, parts: Sequence[Buffer]) -> StoredParts:
        packed = invocation.pack_parts(parts)
        self.has_stored = True
        await self._store.put(key, packed)
        return StoredParts(key, 0, len(packed), blob.digest(parts))


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _nbytes(parts: Sequence[Buffer]) -> int:
    return sum(map(len, parts))
