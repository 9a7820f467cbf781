"""What refusals say of a backend's room, on a manual clock."""

from __future__ import annotations

import pytest

from lambdafutures._engine.chunk import Attempt, CallOptions, Chunk, Function, Work
from lambdafutures._engine.room import SILENCE_S, Room
from lambdafutures._packed_future import ChunkFuture
from lambdafutures._wire import outcome
from lambdafutures._wire.outcome import Fault, Outcome

PATIENCE_S = 120.0
FUNCTION = Function("0" * 64, (b"",))


def attempt_at(number: int, sent_s: float) -> Attempt:
    chunk = Chunk(number, 1, FUNCTION, (b"",), False, ChunkFuture(), 0.0, CallOptions())
    return Attempt(Work(chunk), 1, sent_s)


def throttled(wait_s: float = 0.0) -> Outcome:
    return Outcome(0, 1, fault=Fault(outcome.THROTTLED, "was not accepted", wait_s=wait_s))


def salvos(room: Room, wait_s: float, *, runs_on: bool = False) -> float | None:
    """Have every attempt refused, for ten minutes; return when there was no hope any more."""
    now_s = 1000.0
    while now_s < 1600.0:
        allowed = room.allowed(now_s)
        for left in range(allowed - 1, -1, -1):
            sent = attempt_at(left, now_s)
            hopeless = room.on_outcome(sent, throttled(wait_s), left + runs_on, now_s + 0.05)
            if hopeless is not None:
                return now_s - 1000.0
        now_s = min(now_s + 10.0, max(now_s + 0.1, room.more_at_s(now_s + 0.05)))
    return None


@pytest.mark.parametrize("ceiling", [1, 2, 50])
@pytest.mark.parametrize("wait_s", [0.0, 1.0, 3.0])
def test_where_all_is_refused_for_long_there_is_no_hope(ceiling, wait_s):
    given_up_s = salvos(Room(ceiling, PATIENCE_S), wait_s)
    assert given_up_s is not None
    assert PATIENCE_S - 1 <= given_up_s <= PATIENCE_S + 10


def test_as_long_as_something_runs_there_is_hope():
    assert salvos(Room(50, PATIENCE_S), 1.0, runs_on=True) is None


def test_after_a_silence_one_more_is_allowed_and_no_sooner():
    room = Room(10, PATIENCE_S)
    for left in range(9, 3, -1):
        room.on_outcome(attempt_at(left, 1000.0), throttled(2.0), left, 1000.1)
    assert room.allowed(1000.2) == 0
    assert room.more_at_s(1000.2) == pytest.approx(1002.1)
    had = room.allowed(1002.2)
    assert had == room.allowed(1002.1 + SILENCE_S - 0.1)
    assert room.more_at_s(1002.2) == pytest.approx(1002.1 + SILENCE_S)
    assert room.allowed(1002.2 + SILENCE_S) == had + 1
    # And another one after as long again, not at once.
    assert room.allowed(1002.3 + SILENCE_S) == had + 1
