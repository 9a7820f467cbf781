"""What the scheduler asks for; the session carries it out."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from lambdafutures._engine.chunk import Attempt, Chunk


class Send(NamedTuple):
    """Hand an attempt to the backend."""

    attempt: Attempt


class Settle(NamedTuple):
    """Give a chunk's future its endings."""

    chunk: Chunk


class Cancelled(NamedTuple):
    """Tell those who wait for a chunk's future that it was cancelled."""

    chunk: Chunk


class Wake(NamedTuple):
    """Call `on_tick` at that time."""

    at_s: float


class Abandon(NamedTuple):
    """Stop waiting for an attempt."""

    chunk: int
    attempt: int


Command: TypeAlias = Send | Settle | Cancelled | Wake | Abandon
