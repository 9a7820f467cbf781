"""Write a durable session's log ahead of what it tells of.

What is told while an object of the log is on its way goes into the next one together, so that a
thousand attempts cost a few writes. Each write is conditional: who finds the next number taken
knows that another process has attached to the job, and ends. So a job has one client at a time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence

from lambdafutures._backends.base import Store
from lambdafutures._engine.durable.place import JobPlace
from lambdafutures._engine.durable.records import ChunkRow, JobHead, LogEntry, SentRow

_log = logging.getLogger("lambdafutures")

# How long the end may take to be written down: it is only told by it that a job is finished.
CLOSE_S = 30.0


class Ledger:
    """Keep a session's log. All but making one is done on the portal's loop.

    Args:
        store: Where the log is.
        place: The job's keys and seal.
        head: To be stored before anything else; None if it is there.
        next_number: Number of the next object of the log.
    """

    def __init__(
        self, store: Store, place: JobPlace, head: JobHead | None = None, next_number: int = 0
    ) -> None:
        self.client = new_client()
        self._store = store
        self._place = place
        self._head = head
        self._next = next_number
        self._entry = self._new_entry()
        self._thens: list[Callable[[], object]] = []
        self._is_due = False
        self._is_stopped = False
        self._task: asyncio.Task[None] | None = None
        self._on_broken: Callable[[Exception], object] = lambda error: None

    def watch(self, on_broken: Callable[[Exception], object]) -> None:
        """Say who is told that nothing can be written any more.

        Args:
            on_broken: Called with the reason.
        """
        self._on_broken = on_broken

    def add_chunks(
        self,
        rows: Sequence[ChunkRow],
        options: Sequence[bytes],
        bundles: Sequence[Sequence[object]],
        then: Callable[[], object],
    ) -> None:
        """Write down chunks whose functions and arguments are stored.

        Args:
            rows: The chunks; their options are indices into `options`.
            options: Pickled options.
            bundles: For each of these, what else chunks with them need.
            then: Called once that is in the store.
        """
        first = len(self._entry.options)
        self._entry.options += options
        self._entry.bundles += map(list, bundles)
        self._entry.chunks += [row._replace(options=row.options + first) for row in rows]
        self._write_soon(then)

    def add_sent(self, row: SentRow, then: Callable[[], object]) -> None:
        """Write down an attempt.

        Args:
            row: The attempt.
            then: Called once that is in the store: sends it.
        """
        self._entry.sent.append(row)
        self._write_soon(then)

    def note_cancelled(self, chunk: int) -> None:
        """Write down that a chunk was cancelled.

        Args:
            chunk: Its number.
        """
        self._entry.cancelled.append(chunk)
        self._write_soon(None)

    def note_ended(self, chunk: int) -> None:
        """Write down that a chunk has ended, with whatever is written next: its outcome says so.

        Args:
            chunk: Its number.
        """
        self._entry.ended.append(chunk)

    def stop(self) -> None:
        """Write nothing more: the job stays as it is in the store."""
        self._is_stopped = True
        self._thens.clear()

    async def close(self, *, is_complete: bool) -> None:
        """Write down what is left.

        Args:
            is_complete: Every chunk has ended.
        """
        if self._task is not None:
            if self._is_stopped:
                self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._is_stopped or not self._next:
            return
        self._entry.is_closed = is_complete
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._write(self._entry)
        except Exception as error:  # noqa: BLE001 - the job itself is safe
            _log.warning("the end of job %s was not written down: %s", self._place.session, error)

    # ---------------------------------------------------------------- writing

    def _write_soon(self, then: Callable[[], object] | None) -> None:
        if self._is_stopped:
            return
        self._is_due = True
        if then is not None:
            self._thens.append(then)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        # What else is told in this turn of the loop goes into the same object.
        await asyncio.sleep(0)
        try:
            while self._is_due and not self._is_stopped:
                entry, self._entry = self._entry, self._new_entry()
                thens, self._thens = self._thens, []
                self._is_due = False
                await self._write(entry)
                for then in thens:
                    if not self._is_stopped:
                        then()
        except Exception as error:  # noqa: BLE001 - whatever it is, no more can be written
            self.stop()
            self._on_broken(error)

    async def _write(self, entry: LogEntry) -> None:
        if self._head is not None:
            await self._store.put(self._place.head_key, self._place.seal_head(self._head))
            self._head = None
        entry.time_s = time.time()
        number = self._next
        key = self._place.log_key(number)
        sealed = self._place.seal_entry(number, entry)
        if not await self._store.put(key, sealed, only_if_absent=True):
            # (Refused, if whoever it was lacks the key.)
            self._place.open_entry(number, await self._store.get(key))
            from lambdafutures.exceptions import BackendError

            raise BackendError(
                f"another process has attached to job {self._place.session} and goes on with it: "
                "this executor has ended"
            )
        self._next += 1

    def _new_entry(self) -> LogEntry:
        return LogEntry(self.client, time.time())


def new_client() -> str:
    """Return a name for a client."""
    return os.urandom(4).hex()
