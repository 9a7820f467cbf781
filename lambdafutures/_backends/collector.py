"""Find outcomes in the store: ask for each while few are expected, list while many are.

All outcomes of a session lie under one prefix, so the cost does not grow with the number of submits
and maps. Nothing is asked while nothing is expected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from lambdafutures._backends.base import Store
from lambdafutures._backends.lookout import Lookout
from lambdafutures._backends.pacing import Pacing, Plan
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
        self._lookout = Lookout(pace or Pacing())
        self._sooner = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # Apart from the looks: a large outcome holds up only itself.
        self._fetches: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._fetch_slots = asyncio.Semaphore(FETCHES_AT_ONCE)

    def expect(self, chunk: int, attempt: int) -> None:
        """Begin to look for an outcome.

        Args:
            chunk: Number of its chunk.
            attempt: Its number.
        """
        next_s = self._lookout.next_s
        self._lookout.expect((chunk, attempt), self._clock())
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        elif self._lookout.next_s < next_s:
            self._sooner.set()

    def forget(self, chunk: int, attempt: int) -> None:
        """Stop looking for an outcome.

        Args:
            chunk: Number of its chunk.
            attempt: Its number.
        """
        self._lookout.forget((chunk, attempt))

    async def close(self) -> None:
        """Stop looking."""
        self._lookout.clear()
        tasks = [*self._fetches.values(), *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._lookout:
                plan = self._lookout.due(self._clock())
                if plan.probes or plan.windows:
                    await self._look(plan)
                else:
                    await self._wait(self._lookout.next_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing will be found any more
            self._taker.on_broken(error)

    async def _wait(self, until_s: float) -> None:
        """Wait, but no longer than until something is to be looked for sooner."""
        self._sooner.clear()
        try:
            async with asyncio.timeout(until_s - self._clock()):
                await self._sooner.wait()
        except TimeoutError:
            pass

    async def _look(self, plan: Plan) -> None:
        for name in plan.probes:
            self._begin_fetch(name)
        await asyncio.gather(*(self._list(*window) for window in plan.windows))

    async def _list(self, first: int, last: int) -> None:
        """Take the expected outcomes that a listing shows, from one chunk to another."""
        start_after = keys.out_key(self._prefix, self._session, first, 0)
        pages = self._store.list(
            keys.out_prefix(self._prefix, self._session), start_after=start_after
        )
        async for page in pages:
            names = keys.parse_out_keys(stored.key for stored in page)
            for name in names:
                if name in self._lookout and name[0] <= last:
                    self._begin_fetch(name)
            if names and names[-1][0] >= last:
                break

    def _begin_fetch(self, name: tuple[int, int]) -> None:
        if name not in self._fetches:
            task = self._fetches[name] = asyncio.get_running_loop().create_task(self._fetch(name))
            task.add_done_callback(lambda _: self._fetches.pop(name))

    async def _fetch(self, name: tuple[int, int]) -> None:
        try:
            async with self._fetch_slots:
                if name not in self._lookout:
                    return
                sealed = await self._store.get(keys.out_key(self._prefix, self._session, *name))
            if self._lookout.on_found(name, self._clock()):
                self._taker.on_found(*name, sealed)
        except BlobMissing:
            return
        except Exception as error:  # noqa: BLE001 - as above
            self._taker.on_broken(error)
