"""The nouns of the engine: function, chunk, work and attempt. Data only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from lambdafutures._endings import Ending
from lambdafutures._packed_future import ChunkFuture
from lambdafutures.futures import LambdaFuture
from lambdafutures.options import BackupPolicy, RetryPolicy

if TYPE_CHECKING:
    from lambdafutures._wire.bundle import Bundle
    from lambdafutures._wire.codec import Buffer
    from lambdafutures._wire.invocation import StoredParts
    from lambdafutures._wire.outcome import Entry, Fault

Ranges: TypeAlias = list[tuple[int, int]]
"""Calls of a chunk as `(first, count)`, in order."""


class CallOptions(NamedTuple):
    """Say how calls are to be run.

    Args:
        retry: How often they are tried.
        time_s: Seconds that each may run; None for no limit but the backend's.
        memory_mb: Memory of the worker that runs them, in MiB, where there are several sizes.
        backup: When a slow attempt is given a second one; None for never.
    """

    retry: RetryPolicy = RetryPolicy()
    time_s: float | None = None
    memory_mb: int | None = None
    backup: BackupPolicy | None = None


class Function:
    """A function's blob.

    Args:
        sha256: Its hash, in hexadecimal: its name.
        parts: The pickle stream and its buffers.
    """

    __slots__ = ("parts", "sha256")

    def __init__(self, sha256: str, parts: Sequence[Buffer]) -> None:
        self.sha256 = sha256
        self.parts = parts


class Chunk:
    """Consecutive calls of one job that travel together.

    Args:
        number: Its number in the session.
        count: How many calls it has.
        function: What they call.
        arguments: Parts of the pickled list of their arguments.
        has_kwargs: Each item is `(args, kwargs)` rather than `args`.
        future: What waits for their endings.
        submitted_s: When it was submitted, in seconds since the epoch.
        options: How its calls are to be run.
        bundles: What they need on a worker's import path.
    """

    __slots__ = (
        "arguments",
        "attempts",
        "bundles",
        "count",
        "endings",
        "function",
        "future",
        "has_kwargs",
        "number",
        "open_calls",
        "options",
        "place",
        "sent",
        "submitted_s",
    )

    def __init__(
        self,
        number: int,
        count: int,
        function: Function,
        arguments: Sequence[Buffer],
        has_kwargs: bool,
        future: LambdaFuture[Any] | ChunkFuture,
        submitted_s: float,
        options: CallOptions,
        bundles: Sequence[Bundle] = (),
    ) -> None:
        self.number = number
        self.count = count
        self.function = function
        self.arguments = arguments
        self.has_kwargs = has_kwargs
        self.future = future
        self.submitted_s = submitted_s
        self.options = options
        self.place: StoredParts | None = None  # where its arguments are in a durable job's store
        self.bundles = bundles
        self.sent = False  # an attempt has been handed over: it cannot be cancelled any more
        self.attempts = 0  # the number of the newest attempt
        self.open_calls: set[int] | None = None  # which have not ended, once some have
        self.endings: list[Ending] = []

    @property
    def is_done(self) -> bool:
        """Whether all calls have ended."""
        return self.open_calls is not None and not self.open_calls

    def is_open(self, call: int) -> bool:
        """Tell whether a call has not ended.

        Args:
            call: Its index.
        """
        return self.open_calls is None or call in self.open_calls

    def still_open(self) -> Ranges:
        """Return the calls that have not ended."""
        if self.open_calls is None:
            return [(0, self.count)]
        return ranges_of(sorted(self.open_calls))

    def release(self) -> None:
        """Let go of what only further attempts would need."""
        self.arguments = ()
        self.endings = []


class Work:
    """Calls of a chunk that wait to be tried, together.

    Args:
        chunk: Their chunk.
        calls: Which, or None for all of the chunk.
        tries: How often they have been tried.
        strikes: How many of those tries failed through a fault that may be theirs.
    """

    __slots__ = (
        "attempts",
        "begun_s",
        "calls",
        "chunk",
        "is_backed_up",
        "memory_mb",
        "resends",
        "strikes",
        "tries",
        "why",
    )

    def __init__(
        self, chunk: Chunk, calls: Ranges | None = None, tries: int = 0, strikes: int = 0
    ) -> None:
        self.chunk = chunk
        self.calls = calls
        self.tries = tries
        self.strikes = strikes
        self.resends = 0  # how often it came back untried
        self.begun_s: float | None = None  # when it was first sent, by the scheduler's clock
        self.memory_mb = chunk.options.memory_mb  # of the worker that is to run it
        self.why: Fault | Entry | None = None  # what ended the try before
        self.attempts: list[Attempt] = []  # under way: with a backup there are two
        self.is_backed_up = False

    def rest(
        self, calls: Ranges, why: Fault | Entry, *, struck: int = 0, is_untried: bool = False
    ) -> Work:
        """Return some of the calls, to be tried again.

        Args:
            calls: Which.
            why: What ended this try.
            struck: Strikes to add.
            is_untried: They were sent, but did not run.
        """
        rest = Work(self.chunk, calls, self.tries - is_untried, self.strikes + struck)
        rest.resends = self.resends if is_untried else 0
        rest.begun_s = self.begun_s
        rest.memory_mb = self.memory_mb
        rest.why = why
        return rest

    @property
    def count(self) -> int:
        """How many calls it has."""
        return sum(count for _, count in self.ranges)

    def unfinished(self) -> list[int]:
        """Return the calls that have not ended, ascending."""
        calls = indices_of(self.ranges)
        still_open = self.chunk.open_calls
        return calls if still_open is None else [call for call in calls if call in still_open]

    @property
    def ranges(self) -> Ranges:
        """Its calls; none if all of them are tried by later attempts."""
        return [(0, self.chunk.count)] if self.calls is None else self.calls


class Attempt:
    """One try at a work.

    Args:
        work: What is tried.
        number: Number of the attempt in its chunk, from 1.
        sent_s: When it was sent, by the scheduler's clock.
        was_alone: No other attempt of the session was under way then.
    """

    __slots__ = ("name", "number", "sent_s", "was_alone", "work")

    def __init__(self, work: Work, number: int, sent_s: float, was_alone: bool = False) -> None:
        self.work = work
        self.number = number
        self.sent_s = sent_s
        self.was_alone = was_alone
        self.name = work.chunk.number, number


def ranges_of(calls: Sequence[int]) -> Ranges:
    """Return ascending call indices as ranges.

    Args:
        calls: Indices in ascending order, none twice.
    """
    ranges: Ranges = []
    for call in calls:
        if ranges and sum(ranges[-1]) == call:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
        else:
            ranges.append((call, 1))
    return ranges


def indices_of(ranges: Ranges) -> list[int]:
    """Return the call indices in ranges, ascending.

    Args:
        ranges: As `ranges_of` gives them.
    """
    return [call for first, count in ranges for call in range(first, first + count)]
