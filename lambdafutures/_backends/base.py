"""The two ports: what a backend must be able to do, and what it reports.

A backend is an invoker and, where payloads are limited or outcomes outlive their client, a store.
The engine knows these protocols only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from lambdafutures._wire.outcome import Outcome
from lambdafutures._wire.payload import Payload, SessionHead

if TYPE_CHECKING:
    import asyncio


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Describe one object of a listing.

    Args:
        key: Its key.
        size_bytes: Its length in bytes.
    """

    key: str
    size_bytes: int


class Store(Protocol):
    """Keep bytes by key: S3, a folder, or memory.

    Writes are seen by every read and listing that starts after they returned.
    """

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> bool:
        """Store `body` under `key`; return False if `only_if_absent` and the key was taken."""

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the object's bytes from `start`, `length` of them or all.

        Raises:
            BlobMissing: If there is no such object.
        """

    async def head(self, key: str) -> StoredObject | None:
        """Return the object's description, or None if there is none."""

    def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[Sequence[StoredObject]]:
        """Yield pages of objects under `prefix`, in the order of their keys' bytes.

        Args:
            prefix: What the keys begin with.
            start_after: Only keys greater than this one are listed.
        """

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete the objects; keys that do not exist are no error."""

    async def close(self) -> None:
        """Release connections; the store is not used again."""


class AttemptSink(Protocol):
    """Receive what an invoker has to report. Called on the portal's loop only."""

    def on_outcome(self, outcome: Outcome) -> None:
        """Take what became of an attempt; the attempt is over."""

    def on_broken(self, error: Exception) -> None:
        """Take note that no call can run any more, and why."""


@dataclass(slots=True)
class InvokerStatistics:
    """Count what an invoker did.

    Args:
        workers_started: Workers that were started.
        workers_alive: Workers alive now.
        requests: Requests to AWS by operation.
    """

    workers_started: int = 0
    workers_alive: int = 0
    requests: dict[str, int] = field(default_factory=dict)


class StartRate(NamedTuple):
    """Say how quickly a backend starts workers.

    Args:
        at_once: How many in one moment.
        per_s: How many more per second from then on.
    """

    at_once: int
    per_s: float


class Invoker(Protocol):
    """Hand payloads to workers. Methods are called on the portal's loop, but `prestart`."""

    max_inline_bytes: int
    """Largest payload, in bytes, that `send` takes; the engine puts the rest into the store."""

    statistics: InvokerStatistics

    deadline_s: float | None
    """Seconds after which an attempt without an outcome is lost; None if it notices by itself."""

    start_rate: StartRate | None
    """How quickly it starts workers; None if that need not be minded."""

    @property
    def slots(self) -> int:
        """Attempts that it can make use of now; the engine has no more than these in flight."""

    def larger_mb(self, memory_mb: int | None) -> int | None:
        """Return the memory of the next larger workers, in MiB; None if they would be no help.

        Args:
            memory_mb: Memory of those that were too small; None for the usual ones.
        """

    def prestart(self, session: SessionHead) -> None:
        """Begin what takes long (starting a worker), on any thread, before `open`."""

    def discard(self) -> None:
        """Undo `prestart`, where `open` will never be called."""

    def open(self, loop: asyncio.AbstractEventLoop, sink: AttemptSink) -> None:
        """Begin to serve; reports go to `sink`, on `loop`."""

    def send(self, payload: Payload) -> None:
        """Start an attempt and return at once; what becomes of it is reported to the sink."""

    def abandon(self, chunk: int, attempt: int) -> None:
        """End an attempt whose outcome is of no interest any more, if that can be done."""

    def kill(self) -> None:
        """End all workers at once, what runs included."""

    async def close(self) -> None:
        """End the workers and release everything."""
