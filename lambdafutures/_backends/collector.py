"""Find outcomes in the store: ask for each while few are expected, list while many are.

All outcomes of a session lie under one prefix, so the cost does not grow with the number of submits
and maps. Nothing is asked while nothing is expected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from lambdafutures._backends import pacing
from lambdafutures._backends.base import Store
from lambdafutures._backends.pacing import Pacing
from lambdafutures._wire import keys
from lambdafutures.exceptions import BlobMissing

# Outcomes fetched at once: the store's connections are shared with the uploads.
FETCHES_AT_ONCE = 32


class OutcomeTaker(Protocol):
    """What is told of the outcomes that were found."""

    def on_found(self, chunk: int, attempt: int, sealed: bytes) -> None:
        """Take an outcome."""

    def on_broken(self, error: Exception) -> None:
        """Take note that the store cannot be read any more."""


class Collector:
    """Look for the outcomes of attempts until they are found or not expected any more.

    Args:
        store: Where they appear.
        prefix: Prefix of the deployment's keys.
        session: The session's id.
        taker: Told of what is found.
        clock: Gives the time, in seconds.
        pace: How often to look.
    """

    def __init__(
        self,
        store: Store,
        prefix: str,
        session: str,
        taker: OutcomeTaker,
        clock: Callable[[], float],
        pace: Pacing | None = None,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._session = session
        self._taker = taker
        self._clock = clock
        self._pace = pace or Pacing()
        self._expected: dict[tuple[int, int], float] = {}
        self._task: asyncio.Task[None] | None = None
        self._fetches = asyncio.Semaphore(FETCHES_AT_ONCE)

    def expect(self, chunk: int, attempt: int) -> None:
        """Begin to look for an outcome.

        Args:
            chunk: Number of its chunk.
            attempt: Its number.
        """
        self._expected[chunk, attempt] = self._clock()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    def forget(self, chunk: int, attempt: int) -> None:
        """Stop looking for an outcome.

        Args:
            chunk: Number of its chunk.
            attempt: Its number.
        """
        self._expected.pop((chunk, attempt), None)

    async def close(self) -> None:
        """Stop looking."""
        self._expected.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._expected:
                newest_age_s = self._clock() - max(self._expected.values())
                is_listing = bool(pacing.plan(sorted(self._expected)).windows)
                await asyncio.sleep(self._pace.delay_s(newest_age_s, is_listing))
                if self._expected:
                    await self._look()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing will be found any more
            self._taker.on_broken(error)

    async def _look(self) -> None:
        plan = pacing.plan(sorted(self._expected))
        found = [self._fetch(*name) for name in plan.probes]
        listed = [self._fetch_listed(*window) for window in plan.windows]
        await asyncio.gather(*found, *listed)

    async def _fetch_listed(self, first: int, last: int) -> None:
        """Take the expected outcomes that a listing shows, from one chunk to another."""
        found = []
        start_after = keys.out_key(self._prefix, self._session, first, 0)
        pages = self._store.list(
            keys.out_prefix(self._prefix, self._session), start_after=start_after
        )
        async for page in pages:
            names = [keys.parse_out_key(stored.key) for stored in page]
            found += [name for name in names if name in self._expected and name[0] <= last]
            if names[-1][0] >= last:
                break
        await asyncio.gather(*(self._fetch(*name) for name in found))

    async def _fetch(self, chunk: int, attempt: int) -> None:
        key = keys.out_key(self._prefix, self._session, chunk, attempt)
        try:
            async with self._fetches:
                sealed = await self._store.get(key)
        except BlobMissing:
            return
        sent_s = self._expected.pop((chunk, attempt), None)
        if sent_s is not None:
            self._pace.on_outcome(self._clock() - sent_s)
            self._taker.on_found(chunk, attempt, sealed)
