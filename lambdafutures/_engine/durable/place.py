"""Where the objects of one job are, and the key that they are sealed with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lambdafutures._engine.durable import records
from lambdafutures._wire import frames, keys, outcome, seal
from lambdafutures._wire.invocation import StoredParts
from lambdafutures._wire.outcome import Fault, Outcome
from lambdafutures.exceptions import WireError

if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer


@dataclass(frozen=True, slots=True)
class JobPlace:
    """Name and seal the objects of one job.

    Args:
        prefix: Prefix of all keys of its store.
        session: The job's id.
        key: Its signing key.
    """

    prefix: str
    session: str
    key: bytes = field(repr=False)

    @property
    def head_key(self) -> str:
        """Key of the head."""
        return keys.head_key(self.prefix, self.session)

    def log_key(self, number: int) -> str:
        """Return the key of an object of the log."""
        return keys.log_key(self.prefix, self.session, number)

    def out_key(self, chunk: int, attempt: int) -> str:
        """Return the key of an attempt's outcome."""
        return keys.out_key(self.prefix, self.session, chunk, attempt)

    def arguments(self, stored: StoredParts) -> StoredParts:
        """Return where arguments are, given the name of their object instead of its key."""
        key = keys.arguments_key(self.prefix, self.session, stored.key)
        return StoredParts(key, stored.start, stored.length, stored.sha256)

    def seal(self, name: str, body: bytes) -> bytes:
        """Return an object's bytes with their seal.

        Args:
            name: The object's own name.
            body: Its bytes.
        """
        return seal.seal_object(self.key, self.session, name, body)

    def unseal(self, name: str, sealed: Buffer) -> memoryview:
        """Return an object's bytes.

        Args:
            name: The object's own name.
            sealed: What `seal` returned.

        Raises:
            WireError: If the seal is not ours.
        """
        return seal.unseal_object(self.key, self.session, name, sealed)

    def seal_head(self, head: records.JobHead) -> bytes:
        """Return the bytes of the head's object."""
        return self.seal(records.HEAD_NAME, head.encode())

    def seal_entry(self, number: int, entry: records.LogEntry) -> bytes:
        """Return the bytes of an object of the log."""
        return self.seal(records.log_name(number), entry.encode())

    def open_entry(self, number: int, sealed: Buffer) -> records.LogEntry:
        """Read an object of the log.

        Raises:
            WireError: If its seal is not ours, or it is of another version.
        """
        return records.LogEntry.decode(self.unseal(records.log_name(number), sealed))

    def seal_outcome(self, answer: Outcome) -> bytes:
        """Return the bytes of an outcome's object."""
        body = frames.pack(frames.OUTCOME, *answer.encode())
        return seal.seal(self.key, self.session, answer.chunk, answer.attempt, body)

    def open_outcome(self, chunk: int, attempt: int, sealed: Buffer) -> Outcome:
        """Read an outcome; one that is not ours tells of a refusal instead.

        Args:
            chunk: Number of the chunk that it is to answer.
            attempt: Number of the attempt.
            sealed: The object's bytes.
        """
        try:
            return seal.open_outcome(self.key, self.session, chunk, attempt, sealed)
        except WireError as error:
            return Outcome(chunk, attempt, fault=Fault(outcome.REFUSED, str(error)))
