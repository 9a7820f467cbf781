"""Read back what a durable session has written down. Every object's seal is checked first."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from lambdafutures._backends.base import Store
from lambdafutures._engine.durable.ledger import new_client
from lambdafutures._engine.durable.place import JobPlace
from lambdafutures._engine.durable.records import HEAD_NAME, ChunkRow, JobHead, LogEntry, SentRow
from lambdafutures._wire import keys
from lambdafutures._wire.bundle import Bundle
from lambdafutures._wire.outcome import Outcome
from lambdafutures.exceptions import BlobMissing, JobNotFound

T = TypeVar("T")
R = TypeVar("R")

# Objects read at once: as many as the store has connections for, more or less.
READS_AT_ONCE = 32


@dataclass(slots=True)
class JobRecord:
    """Hold what a job's log tells, all of it.

    Args:
        chunks: Chunks with their pickled options, in the order of their numbers.
        sent: Attempts that were about to be sent, by chunk.
        cancelled: Chunks that were cancelled.
        ended: Chunks that are known to have ended.
        bundles: What chunks need on a worker's import path, where they need anything.
        next_number: Number of the log's next object; 0 if nothing was ever stored.
        is_closed: The last client has shut down in good order.
    """

    chunks: list[tuple[ChunkRow, bytes]] = field(default_factory=list)
    sent: defaultdict[int, list[SentRow]] = field(default_factory=lambda: defaultdict(list))
    cancelled: set[int] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)
    bundles: dict[int, tuple[Bundle, ...]] = field(default_factory=dict)
    next_number: int = 0
    is_closed: bool = False

    def add(self, entry: LogEntry) -> None:
        """Take the next object of the log.

        Args:
            entry: What it tells.
        """
        self.chunks += [(row, entry.options[row.options]) for row in entry.chunks]
        needed = [tuple(map(Bundle.of_fields, each)) for each in entry.bundles]
        self.bundles |= {row.number: needed[row.options] for row in entry.chunks}
        for row in entry.sent:
            self.sent[row.chunk].append(row)
        self.cancelled.update(entry.cancelled)
        self.ended.update(entry.ended)
        self.is_closed = entry.is_closed
        self.next_number += 1

    @property
    def is_finished(self) -> bool:
        """Whether all calls have ended and no client goes on."""
        over = self.cancelled | self.ended
        return self.is_closed and all(row.number in over for row, _ in self.chunks)


class JobReader:
    """Read one job.

    Args:
        store: Where it is.
        place: Its keys and seal.
    """

    def __init__(self, store: Store, place: JobPlace) -> None:
        self._store = store
        self._place = place
        self._slots = asyncio.Semaphore(READS_AT_ONCE)

    async def head(self) -> JobHead:
        """Return the head.

        Raises:
            JobNotFound: If there is none.
            WireError: If it is not ours, or of another version.
        """
        try:
            sealed = await self._store.get(self._place.head_key)
        except BlobMissing:
            raise JobNotFound(
                f"job {self._place.session} has nothing in its store: its client ended before "
                "anything was stored, or it has expired, or was removed by `lambdafutures clean`"
            ) from None
        return JobHead.decode(self._place.unseal(HEAD_NAME, sealed))

    async def record(self) -> JobRecord:
        """Return what the log tells.

        Raises:
            JobNotFound: If a part of the log is missing.
            WireError: If an object is not ours, or of another version.
        """
        record = JobRecord()
        await self._read_on(record)
        return record

    async def claim(self, record: JobRecord) -> None:
        """Take the job over: whoever was its client until now can write nothing more.

        Args:
            record: What was read; it is brought up to date.

        Raises:
            JobNotFound: If a part of the log is missing.
            WireError: If an object is not ours, or of another version.
        """
        while True:
            entry = LogEntry(new_client(), time.time())
            number = record.next_number
            sealed = self._place.seal_entry(number, entry)
            key = self._place.log_key(number)
            if await self._store.put(key, sealed, only_if_absent=True):
                record.add(entry)
                return
            await self._read_on(record)

    async def _read_on(self, record: JobRecord) -> None:
        """Read the log from where it was left."""
        prefix = keys.log_prefix(self._place.prefix, self._place.session)
        after = self._place.log_key(record.next_number - 1) if record.next_number else ""
        numbers: list[int] = []
        async for page in self._store.list(prefix, start_after=after):
            numbers += keys.parse_log_keys(stored.key for stored in page)
        expected = range(record.next_number, record.next_number + len(numbers))
        missing = set(expected) - set(numbers)
        if missing:
            raise JobNotFound(
                f"object {min(missing)} of the log of job {self._place.session} is missing: it "
                "has expired, or somebody has deleted it; the job cannot be taken up again"
            )
        for entry in await self._side_by_side(self._entry, numbers):
            record.add(entry)

    async def _entry(self, number: int) -> LogEntry:
        sealed = await self._store.get(self._place.log_key(number))
        return self._place.open_entry(number, sealed)

    async def outcomes(self) -> dict[int, list[int]]:
        """Return of which attempts there are outcomes, by chunk."""
        found: dict[int, list[int]] = {}
        async for page in self._store.list(
            keys.out_prefix(self._place.prefix, self._place.session)
        ):
            for chunk, attempt in keys.parse_out_keys(stored.key for stored in page):
                found.setdefault(chunk, []).append(attempt)
        return found

    async def outcome(self, chunk: int, attempt: int) -> Outcome | None:
        """Return an outcome; None if it has gone meanwhile.

        Args:
            chunk: Number of its chunk.
            attempt: Number of its attempt.
        """
        try:
            async with self._slots:
                sealed = await self._store.get(self._place.out_key(chunk, attempt))
        except BlobMissing:
            return None
        return self._place.open_outcome(chunk, attempt, sealed)

    async def _side_by_side(self, read: Callable[[T], Awaitable[R]], names: Iterable[T]) -> list[R]:
        async def one(name: T) -> R:
            async with self._slots:
                return await read(name)

        return await asyncio.gather(*map(one, names))
