"""Store functions and arguments of chunks before the chunks may be sent."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from lambdafutures._backends.base import Store
from lambdafutures._backends.bundle_store import put_bundle
from lambdafutures._engine.chunk import CallOptions, Chunk
from lambdafutures._engine.durable.ledger import Ledger
from lambdafutures._engine.durable.place import JobPlace
from lambdafutures._engine.durable.records import ChunkRow
from lambdafutures._wire import blob, codec, invocation, keys
from lambdafutures._wire.invocation import StoredParts

if TYPE_CHECKING:
    from lambdafutures._wire.bundle import Bundle
    from lambdafutures._wire.codec import Buffer

# Arguments packed into one object. Larger ones go up in parallel parts anyway, and this much is
# held in memory twice.
BATCH_BYTES = 32 * 1024 * 1024
# Chunks in one batch: their rows take about 200 bytes each in the log.
BATCH_CHUNKS = 2000
NAME_BYTES = 8


class Intake:
    """Take chunks, store what they need, and let them go on.

    Args:
        store: Where to put it.
        place: The job's keys.
        ledger: The session's log.
        serializer: Who pickles what plain pickle cannot.
        stored: SHA-256 of functions that are in the store.
    """

    def __init__(
        self,
        store: Store,
        place: JobPlace,
        ledger: Ledger,
        serializer: str,
        stored: Iterable[str] = (),
    ) -> None:
        self._store = store
        self._place = place
        self._ledger = ledger
        self._serializer = serializer
        self._stored = set(stored)
        self._bundles: set[Bundle] = set()
        self._options: dict[CallOptions, bytes] = {}
        self._waiting: deque[Chunk] = deque()
        self._task: asyncio.Task[None] | None = None

    def prepare(self, options: CallOptions) -> None:
        """Pickle options, on the thread that submits: exception types are the user's code.

        Args:
            options: Of a call that is about to be submitted.

        Raises:
            Exception: What the pickling raises.
        """
        if options not in self._options:
            try:
                parts = codec.dumps(options, self._serializer).parts
            except Exception as error:
                error.add_note("The retry policy of a durable call must be one that can be pickled")
                raise
            self._options[options] = invocation.pack_parts(parts)

    def watch(
        self, admit: Callable[[list[Chunk]], object], on_broken: Callable[[Exception], object]
    ) -> None:
        """Say who is told.

        Args:
            admit: Called with chunks that are stored.
            on_broken: Called with the reason why nothing can be stored any more.
        """
        self._admit = admit
        self._on_broken = on_broken

    def take(self, chunks: Iterable[Chunk]) -> None:
        """Begin to store chunks.

        Args:
            chunks: The chunks.
        """
        self._waiting.extend(chunks)
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Store nothing more."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._store_batch(self._next_batch())
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing more can be stored
            self._on_broken(error)

    def _next_batch(self) -> list[Chunk]:
        batch: list[Chunk] = []
        nbytes = 0
        while self._waiting and nbytes < BATCH_BYTES and len(batch) < BATCH_CHUNKS:
            chunk = self._waiting.popleft()
            nbytes += sum(map(len, chunk.arguments))
            batch.append(chunk)
        return batch

    async def _store_batch(self, batch: list[Chunk]) -> None:
        name = os.urandom(NAME_BYTES).hex()
        # Hashing and copying megabytes would hold up the loop.
        body, places = await asyncio.to_thread(_pack, name, [chunk.arguments for chunk in batch])
        key = keys.arguments_key(self._place.prefix, self._place.session, name)
        await asyncio.gather(self._store.put(key, body), *self._store_functions(batch))
        await self._store_bundles({bundle for chunk in batch for bundle in chunk.bundles})
        rows = []
        chosen: dict[tuple[CallOptions, Sequence[Bundle]], int] = {}
        for chunk, place in zip(batch, places, strict=True):
            chunk.place = self._place.arguments(place)
            if len(chunk.arguments) > 1:
                # What was stored counts, whatever becomes of the user's buffers now.
                chunk.arguments = ()
            index = chosen.setdefault((chunk.options, chunk.bundles), len(chosen))
            rows.append(
                ChunkRow(
                    chunk.number,
                    chunk.count,
                    chunk.function.sha256,
                    place,
                    chunk.has_kwargs,
                    chunk.submitted_s,
                    index,
                )
            )
        options = [self._options[each] for each, _ in chosen]
        needed = [[bundle.to_fields() for bundle in bundles] for _, bundles in chosen]
        self._ledger.add_chunks(rows, options, needed, partial(self._admit, batch))

    async def _store_bundles(self, bundles: set[Bundle]) -> None:
        for bundle in bundles - self._bundles:
            await put_bundle(self._store, self._place.prefix, bundle)
            self._bundles.add(bundle)

    def _store_functions(self, batch: list[Chunk]) -> list[asyncio.Task[None]]:
        functions = {chunk.function.sha256: chunk.function for chunk in batch}
        loop = asyncio.get_running_loop()
        return [
            loop.create_task(self._store_function(sha256, functions[sha256].parts))
            for sha256 in functions.keys() - self._stored
        ]

    async def _store_function(self, sha256: str, parts: Sequence[Buffer]) -> None:
        body = invocation.pack_parts(parts)
        await self._store.put(keys.blob_key(self._place.prefix, sha256), body)
        self._stored.add(sha256)


def _pack(name: str, arguments: list[Sequence[Buffer]]) -> tuple[bytes, list[StoredParts]]:
    """Return the arguments of many chunks as one object, and where in it each is."""
    pieces = []
    places = []
    start = 0
    for parts in arguments:
        packed = invocation.pack_parts(parts)
        # Of the copy: the user's buffers may change meanwhile.
        sha256 = blob.digest(invocation.unpack_parts(packed))
        places.append(StoredParts(name, start, len(packed), sha256))
        pieces.append(packed)
        start += len(packed)
    return b"".join(pieces), places
