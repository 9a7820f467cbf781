"""How far a durable job has come, and its removal."""

from __future__ import annotations

from typing import NamedTuple

from lambdafutures._backends.base import Store
from lambdafutures._engine.durable.place import JobPlace
from lambdafutures._engine.durable.reader import JobReader
from lambdafutures._wire import keys


class JobState(NamedTuple):
    """Tell how far a job has come.

    Args:
        calls: How many calls it has.
        done: How many of them are of chunks that have ended, or of which an outcome is there.
        is_finished: All have ended, and the client has shut down in good order.
    """

    calls: int
    done: int
    is_finished: bool


async def look(store: Store, place: JobPlace) -> JobState:
    """Return how far a job has come; nothing is changed by it.

    Args:
        store: The job's store.
        place: Its keys and seal.

    Raises:
        JobNotFound: If it is not there, or not all of it.
        WireError: If an object is not ours, or of another version.
    """
    reader = JobReader(store, place)
    await reader.head()
    record = await reader.record()
    over = record.cancelled | record.ended | (await reader.outcomes()).keys()
    return JobState(
        calls=sum(row.calls for row, _ in record.chunks),
        done=sum(row.calls for row, _ in record.chunks if row.number in over),
        is_finished=record.is_finished,
    )


async def remove(store: Store, place: JobPlace) -> int:
    """Delete a job's objects, and no others; return how many there were.

    Functions stay, which other sessions may use as well: the bucket's lifecycle rule removes them.

    Args:
        store: The job's store.
        place: Its keys.
    """
    deleted = 0
    # First, so that a worker that is late leaves nothing behind.
    await store.delete([keys.alive_key(place.prefix, place.session)])
    async for page in store.list(keys.session_prefix(place.prefix, place.session)):
        await store.delete([stored.key for stored in page])
        deleted += len(page)
    return deleted
