"""What a session's invocations say, and what their outcomes hold. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lambdafutures._backends.server_clock import ServerClock
from lambdafutures._wire import invocation, keys, outcome, seal
from lambdafutures._wire.invocation import Invocation
from lambdafutures._wire.outcome import Fault, Outcome
from lambdafutures._wire.payload import Payload, SessionHead
from lambdafutures.exceptions import WireError

if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer
    from lambdafutures.deployment import Deployment


class Envelopes:
    """Write invocations and open outcomes, under the session's key.

    Args:
        deployment: Where things are.
        session: What holds for all calls.
        key: The session's signing key.
        clock: Gives the time, in seconds since the epoch.
        deadline_s: Seconds after which nobody waits for an attempt any more.
        store_after_s: Seconds after which an outcome is stored even if it is answered.
        limit_mb: Memory that a call may use, in MiB.
    """

    def __init__(
        self,
        deployment: Deployment,
        session: SessionHead,
        key: bytes,
        clock: Callable[[], float],
        deadline_s: float,
        store_after_s: float,
        limit_mb: int | None,
    ) -> None:
        self._key = key
        self._deployment = deployment
        self._session = session
        self._time = clock
        self._server_clock = ServerClock()
        self._deadline_s = deadline_s
        self._store_after_s = store_after_s
        self._limit_mb = limit_mb
        self._needs_proof = True
        self._accepted_s: dict[tuple[int, int], float] = {}

    def write(self, payload: Payload, reply: str) -> Invocation:
        """Return the invocation for an attempt.

        Args:
            payload: What to run.
            reply: How its outcome is to come home.
        """
        prefix, session = self._deployment.prefix, self._session.session
        written = Invocation(
            self._session,
            payload,
            bucket=self._deployment.bucket,
            prefix=prefix,
            reply=reply,
            out_key=self.out_key(payload.chunk, payload.attempt),
            key=self._key,
            # Checked by the worker's clock, which is AWS's.
            deadline_s=self._server_clock.latest_s(self._time()) + self._deadline_s,
            memory_mb=self._limit_mb,
            store_after_s=self._store_after_s,
        )
        if reply == invocation.POLL and self._needs_proof:
            # The first one is waited for: Events say nothing of a function that cannot store, or
            # that another Python or version of us serves.
            self._needs_proof = False
            written.proof_key = keys.proof_key(prefix, session)
        return written

    def earliest_s(self) -> float:
        """Return the earliest that it can be on AWS's clock, in seconds since the epoch."""
        return self._server_clock.earliest_s(self._time())

    def on_unproven(self, sent: Invocation) -> None:
        """Take note that an invocation has not shown whether the function can store.

        Args:
            sent: The invocation.
        """
        if sent.proof_key is not None:
            self._needs_proof = True

    def out_key(self, chunk: int, attempt: int) -> str:
        """Return the key of an attempt's outcome in the store.

        Args:
            chunk: Number of its chunk.
            attempt: Its number.
        """
        return keys.out_key(self._deployment.prefix, self._session.session, chunk, attempt)

    def on_accepted(self, sent: Invocation, date: str | None, sent_s: float) -> None:
        """Take note of Lambda's answer to an Event or another invocation.

        Args:
            sent: The invocation.
            date: The answer's `Date`.
            sent_s: When the request was sent, in seconds since the epoch.
        """
        made_s = self._server_clock.on_answer(date, sent_s, self._time())
        if made_s is not None and sent.is_event:
            self._accepted_s[sent.payload.chunk, sent.payload.attempt] = made_s

    def forget(self, chunk: int, attempt: int) -> None:
        """Take note that an attempt is not waited for any more.

        Args:
            chunk: Number of its chunk.
            attempt: Its number.
        """
        self._accepted_s.pop((chunk, attempt), None)

    def open(self, chunk: int, attempt: int, sealed: Buffer) -> Outcome:
        """Return what is in a sealed outcome; what is not ours is a fault, and is not read.

        Args:
            chunk: Number of its chunk.
            attempt: Its number.
            sealed: What was answered or found.
        """
        accepted_s = self._accepted_s.pop((chunk, attempt), None)
        try:
            found = seal.open_outcome(self._key, self._session.session, chunk, attempt, sealed)
        except WireError as error:
            return Outcome(chunk, attempt, fault=Fault(outcome.REFUSED, str(error)))
        if accepted_s is not None and found.received_s:
            # The latest that it can have been accepted: at first that is up to a second too late.
            found.waited_s = max(0.0, found.received_s - accepted_s)
        return found
