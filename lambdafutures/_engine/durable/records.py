"""What a durable session writes down of itself, to bytes and back. Nothing is unpickled."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from lambdafutures._wire import frames
from lambdafutures._wire.invocation import StoredParts
from lambdafutures._wire.payload import FORMAT_VERSION, SessionHead, check_version
from lambdafutures.exceptions import WireError

if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer


class ChunkRow(NamedTuple):
    """Tell of a chunk that was stored: everything but its function and arguments themselves.

    Args:
        number: Its number in the session.
        calls: How many calls it has.
        function: SHA-256 of its function.
        arguments: Where its arguments are; `key` is the name of their object.
        has_kwargs: Each item is `(args, kwargs)` rather than `args`.
        submitted_s: When it was submitted, in seconds since the epoch.
        options: Which of its log object's options it has.
    """

    number: int
    calls: int
    function: str
    arguments: StoredParts
    has_kwargs: bool
    submitted_s: float
    options: int


class SentRow(NamedTuple):
    """Tell of an attempt that is about to be sent.

    Args:
        chunk: Number of its chunk.
        attempt: Its number.
        calls: Which calls of the chunk it runs; None for all.
        sent_s: When it was sent, in seconds since the epoch.
        deadline_s: Until when its outcome may come, likewise; 0 if it ends with its client.
        memory_mb: Memory of the worker that it was sent to, in MiB; None for the usual one.
    """

    chunk: int
    attempt: int
    calls: list[tuple[int, int]] | None
    sent_s: float
    deadline_s: float
    memory_mb: int | None = None


@dataclass(slots=True)
class LogEntry:
    """Hold what one object of the log tells.

    Args:
        client: Names the client that wrote it.
        time_s: When, in seconds since the epoch.
        chunks: Chunks whose functions and arguments are stored.
        options: Options of chunks, pickled.
        sent: Attempts that are about to be sent.
        cancelled: Numbers of chunks that were cancelled.
        ended: Numbers of chunks all of whose calls have ended.
        is_closed: The client has shut down in good order, and writes no more.
        bundles: What chunks with each of the options need on a worker's import path, as
            `Bundle.to_fields` has it.
    """

    client: str
    time_s: float
    chunks: list[ChunkRow] = field(default_factory=list)
    options: list[bytes] = field(default_factory=list)
    sent: list[SentRow] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    is_closed: bool = False
    bundles: list[list[Any]] = field(default_factory=list)

    def encode(self) -> bytes:
        """Return it as bytes."""
        head = {
            "lambdafutures": FORMAT_VERSION,
            "client": self.client,
            "time_s": self.time_s,
            "chunks": [_flat(row) for row in self.chunks],
            "bundles": self.bundles,
            "sent": self.sent,
            "cancelled": self.cancelled,
            "ended": self.ended,
            "is_closed": self.is_closed,
        }
        return frames.pack(frames.CHUNK, json.dumps(head).encode(), self.options)

    @classmethod
    def decode(cls, body: Buffer) -> LogEntry:
        """Read what `encode` returned.

        Args:
            body: Its bytes, whose seal was checked.

        Raises:
            WireError: If it was written by another version, or is damaged.
        """
        fields, parts = _parse(body)
        try:
            return cls(
                client=fields["client"],
                time_s=fields["time_s"],
                chunks=[_chunk_row(*row) for row in fields["chunks"]],
                options=[bytes(part) for part in parts],
                bundles=fields["bundles"],
                sent=[_sent_row(*row) for row in fields["sent"]],
                cancelled=fields["cancelled"],
                ended=fields["ended"],
                is_closed=fields["is_closed"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise WireError(f"a damaged object of a job's log: {error!r}") from error


@dataclass(frozen=True, slots=True)
class JobHead:
    """Hold what a durable session's first client settled for all that come after it.

    Args:
        session: What its workers are told.
        memory_mb: Which of the deployment's functions runs its calls; None for the smallest.
        limit_mb: Memory that a call may use, in MiB; None for what there is.
    """

    session: SessionHead
    memory_mb: int | None = None
    limit_mb: int | None = None

    def encode(self) -> bytes:
        """Return it as bytes."""
        head = {
            "lambdafutures": FORMAT_VERSION,
            "memory_mb": self.memory_mb,
            "limit_mb": self.limit_mb,
        }
        return frames.pack(frames.HELLO, json.dumps(head).encode(), self.session.encode())

    @classmethod
    def decode(cls, body: Buffer) -> JobHead:
        """Read what `encode` returned.

        Args:
            body: Its bytes, whose seal was checked.

        Raises:
            WireError: If it was written by another version, or is damaged.
        """
        fields, parts = _parse(body)
        try:
            session = SessionHead.decode(parts)
            return cls(session, fields["memory_mb"], fields["limit_mb"])
        except (KeyError, IndexError) as error:
            raise WireError(f"a damaged head of a job: {error!r}") from error


def log_name(number: int) -> str:
    """Return the name under which an object of the log is sealed."""
    return f"log/{number}"


HEAD_NAME = "head"


def _parse(body: Buffer) -> tuple[dict[str, Any], Sequence[Buffer]]:
    try:
        frame = frames.parse(body)
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise WireError(f"a damaged object of a job: {error!r}") from error
    return check_version(frame.head), frame.parts


def _flat(row: ChunkRow) -> list[object]:
    place = row.arguments
    return [
        row.number,
        row.calls,
        row.function,
        [place.key, place.start, place.length, place.sha256],
        row.has_kwargs,
        row.submitted_s,
        row.options,
    ]


def _chunk_row(
    number: int,
    calls: int,
    function: str,
    place: Iterable[Any],
    has_kwargs: bool,
    submitted_s: float,
    options: int,
) -> ChunkRow:
    arguments = StoredParts(*place)
    return ChunkRow(number, calls, function, arguments, has_kwargs, submitted_s, options)


def _sent_row(
    chunk: int,
    attempt: int,
    calls: list[Any] | None,
    sent_s: float,
    deadline_s: float,
    memory_mb: int | None,
) -> SentRow:
    ranges = None if calls is None else [(first, count) for first, count in calls]
    return SentRow(chunk, attempt, ranges, sent_s, deadline_s, memory_mb)
