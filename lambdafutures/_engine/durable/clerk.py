"""What the client does for workers that do not reach the store: local ones."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lambdafutures._backends.base import Store
from lambdafutures._engine.durable.place import JobPlace
from lambdafutures._wire import blob, invocation, keys, outcome
from lambdafutures._wire.invocation import StoredParts
from lambdafutures._wire.outcome import Fault, Outcome
from lambdafutures._wire.payload import Payload
from lambdafutures.exceptions import BlobMissing, WireError

if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer

# Functions kept in memory: a map calls one, and a few run side by side.
KEPT_FUNCTIONS = 64
# Sealing more than this takes longer than to hand it to another thread (100 us or so).
SEAL_ON_LOOP_BYTES = 64 * 1024
# Faults that tell something of the calls; after any other they have simply not run.
_TELLING = (outcome.DIED, outcome.MEMORY, outcome.TIME, outcome.CUT)


class Clerk:
    """Fetch what a payload lacks, and keep outcomes.

    Args:
        store: The job's store.
        place: Its keys and seal.
    """

    def __init__(self, store: Store, place: JobPlace) -> None:
        self._store = store
        self._place = place
        self._functions: OrderedDict[str, Sequence[Buffer]] = OrderedDict()

    def has_to_fetch(self, payload: Payload) -> bool:
        """Tell whether a payload's function or arguments are in the store alone.

        Args:
            payload: The payload.
        """
        return not (payload.function_parts and payload.arguments)

    async def fetch(self, payload: Payload) -> Outcome | None:
        """Complete a payload; return an outcome if that cannot be done.

        Args:
            payload: What is about to be sent.
        """
        try:
            if not payload.function_parts:
                payload.function_parts = await self._function(payload.function)
            if not payload.arguments and payload.place is not None:
                payload.arguments = await self._checked(payload.place)
        except BlobMissing as missing:
            fault = Fault(outcome.BLOB_MISSING, str(missing))
        except WireError as error:
            fault = Fault(outcome.REFUSED, str(error))
        else:
            return None
        return Outcome(payload.chunk, payload.attempt, fault=fault)

    async def _function(self, sha256: str) -> Sequence[Buffer]:
        parts = self._functions.get(sha256)
        if parts is None:
            data = await self._store.get(keys.blob_key(self._place.prefix, sha256))
            parts = invocation.unpack_parts(data)
            blob.check(parts, sha256)
            self._functions[sha256] = parts
            if len(self._functions) > KEPT_FUNCTIONS:
                self._functions.popitem(last=False)
        return parts

    async def _checked(self, stored: StoredParts) -> Sequence[Buffer]:
        data = await self._store.get(stored.key, start=stored.start, length=stored.length)
        parts = invocation.unpack_parts(data)
        blob.check(parts, stored.sha256)
        return parts

    async def keep(self, answer: Outcome) -> None:
        """Store an outcome before it is delivered.

        Args:
            answer: What a worker has answered.

        Raises:
            BackendError: If the store does not take it.
        """
        if not answer.entries and (answer.fault is None or answer.fault.kind not in _TELLING):
            return
        if sum(len(part) for entry in answer.entries for part in entry.parts) > SEAL_ON_LOOP_BYTES:
            sealed = await asyncio.to_thread(self._place.seal_outcome, answer)
        else:
            sealed = self._place.seal_outcome(answer)
        # The first one counts, should there ever be two: it may have been delivered.
        key = self._place.out_key(answer.chunk, answer.attempt)
        await self._store.put(key, sealed, only_if_absent=True)
