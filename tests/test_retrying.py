"""What is tried again, where, and until when; on a manual clock."""

from __future__ import annotations

from array import array

import pytest

from lambdafutures import RetryPolicy
from lambdafutures._engine import retrying
from lambdafutures._engine.chunk import Attempt, CallOptions, Chunk, Function
from lambdafutures._engine.commands import Command, Send, Settle
from lambdafutures._engine.scheduler import Scheduler
from lambdafutures._packed_future import ChunkFuture
from lambdafutures._wire import outcome
from lambdafutures._wire.outcome import Entry, Fault, Outcome
from lambdafutures.exceptions import LambdaFuturesError, OutOfMemory, RemoteError, WorkerDied

FUNCTION = Function("0" * 64, (b"",))
SIZES_MB = {None: 2048, 1024: 2048, 2048: 4096, 4096: None}


def chunk_of(count: int = 1, memory_mb: int | None = None, **policy: object) -> Chunk:
    options = CallOptions(RetryPolicy(**policy), memory_mb=memory_mb)  # type: ignore[arg-type]
    return Chunk(0, count, FUNCTION, (b"",), False, ChunkFuture(), 0.0, options)


def sends(commands: list[Command]) -> list[Attempt]:
    return [command.attempt for command in commands if isinstance(command, Send)]


def is_settled(commands: list[Command]) -> bool:
    return any(isinstance(command, Settle) for command in commands)


def ended_by(attempt: Attempt, kind: str, call: int | None = 0, **fields: bool) -> Outcome:
    return Outcome(*attempt.name, fault=Fault(kind, "had a fault", call), **fields)


def error_of(chunk: Chunk) -> BaseException:
    error = chunk.endings[-1].unpack()[1]
    assert error is not None
    return error


# -------------------------------------------------------------------- what surely did not run


def test_what_was_not_run_costs_no_try_and_is_sent_again_ever_later():
    scheduler = Scheduler(1, lambda: 1.0)
    chunk = chunk_of(attempts=1)
    commands = scheduler.on_submitted([chunk], 0.0)
    now_s, waits_s = 0.0, []
    while not is_settled(commands):
        (attempt,) = sends(commands)
        commands = scheduler.on_outcome(ended_by(attempt, outcome.NOT_RUN, None), now_s)
        if not is_settled(commands):
            began_s = now_s
            while not sends(commands):
                now_s += 0.1
                commands = scheduler.on_tick(now_s)
            waits_s.append(now_s - began_s)
    assert len(waits_s) == retrying.MAX_REFUSALS
    assert waits_s == sorted(waits_s)
    assert sum(waits_s) > 30
    assert type(error_of(chunk)) is LambdaFuturesError
    assert "could not be started: had a fault (sent 9 times)" in str(error_of(chunk))


def test_a_run_between_refusals_begins_their_count_anew():
    scheduler = Scheduler(1, lambda: 0.0)
    chunk = chunk_of(attempts=3)
    commands = scheduler.on_submitted([chunk], 0.0)
    for _ in range(2):
        for _ in range(retrying.MAX_REFUSALS):
            (attempt,) = sends(commands)
            commands = scheduler.on_outcome(ended_by(attempt, outcome.NOT_RUN, None), 0.0)
        (attempt,) = sends(commands)
        commands = scheduler.on_outcome(ended_by(attempt, outcome.DIED), 0.0)
    assert not is_settled(commands)


# -------------------------------------------------------------------- until when


def test_after_its_total_time_a_call_is_not_tried_again():
    scheduler = Scheduler(1, lambda: 1.0)
    chunk = chunk_of(attempts=9, total_s=10.0, backoff_s=4.0)
    (attempt,) = sends(scheduler.on_submitted([chunk], 100.0))
    scheduler.on_outcome(ended_by(attempt, outcome.LOST, None), 103.0)
    (attempt,) = sends(scheduler.on_tick(107.0))
    # The next try would begin at 115 s, five seconds too late.
    assert is_settled(scheduler.on_outcome(ended_by(attempt, outcome.LOST, None), 107.0))
    assert type(error_of(chunk)) is WorkerDied
    assert str(error_of(chunk)) == (
        "call 0 had a fault (tried 2 times; it is too late for more, total_s=10)"
    )


def test_its_total_time_includes_what_it_waits_for_room():
    scheduler = Scheduler(1, lambda: 1.0)
    chunk = chunk_of(total_s=10.0)
    (attempt,) = sends(scheduler.on_submitted([chunk], 0.0))
    throttled = ended_by(attempt, outcome.THROTTLED, None)
    throttled.fault.wait_s = 11.0
    assert not is_settled(scheduler.on_outcome(throttled, 5.0))
    assert is_settled(scheduler.on_tick(16.0))
    assert "(never begun; it is too late for more, total_s=10)" in str(error_of(chunk))


def test_a_call_that_waits_for_its_first_try_is_not_late():
    scheduler = Scheduler(1, lambda: 1.0)
    first, second = chunk_of(total_s=10.0), chunk_of(total_s=10.0)
    second.number = 1
    (attempt,) = sends(scheduler.on_submitted([first, second], 0.0))
    assert sends(scheduler.on_outcome(ended_by(attempt, outcome.DIED), 60.0)) != []


def test_an_exception_that_is_too_late_to_be_retried_is_the_calls_own():
    scheduler = Scheduler(1, lambda: 1.0)
    chunk = chunk_of(attempts=9, on_exceptions=(OSError,), total_s=3.0, backoff_s=4.0)
    (attempt,) = sends(scheduler.on_submitted([chunk], 0.0))
    described = {"mro": ["builtins.OSError"], "type": "OSError", "message": "no disk"}
    raised = Entry(0, 1, outcome.RAISED, (), described)
    assert is_settled(
        scheduler.on_outcome(Outcome(*attempt.name, [raised], run_s=array("f", [0.0])), 1.0)
    )
    assert type(error_of(chunk)) is RemoteError
    assert str(error_of(chunk)) == "OSError: no disk"


# -------------------------------------------------------------------- with more memory


def test_what_was_too_large_goes_to_larger_workers():
    scheduler = Scheduler(1, lambda: 0.0, larger_mb=SIZES_MB.__getitem__)
    chunk = chunk_of(count=3, memory_mb=1024, attempts=9)
    commands = scheduler.on_submitted([chunk], 0.0)
    tried = []
    while not is_settled(commands):
        (attempt,) = sends(commands)
        work = attempt.work
        tried.append((work.memory_mb, work.count))
        if work.calls in (None, [(1, 1)]):
            commands = scheduler.on_outcome(
                ended_by(attempt, outcome.MEMORY, 1, is_first=True), 0.0
            )
        else:
            entries = [Entry(first, count, outcome.OK, (b"",)) for first, count in work.calls]
            done = Outcome(*attempt.name, entries, run_s=array("f", [0.0] * work.count))
            commands = scheduler.on_outcome(done, 0.0)
    # Its neighbours stay where they were; in the largest another try could not help.
    assert sorted(tried) == [(1024, 2), (1024, 3), (2048, 1), (4096, 1)]
    assert type(chunk.endings[1].unpack()[1]) is OutOfMemory
    assert "(tried 3 times)" in str(chunk.endings[1].unpack()[1])


def test_attempts_bound_the_sizes_that_are_tried():
    scheduler = Scheduler(1, lambda: 0.0, larger_mb=SIZES_MB.__getitem__)
    chunk = chunk_of(attempts=2)
    (attempt,) = sends(scheduler.on_submitted([chunk], 0.0))
    (attempt,) = sends(scheduler.on_outcome(ended_by(attempt, outcome.MEMORY), 0.0))
    assert attempt.work.memory_mb == 2048
    assert is_settled(scheduler.on_outcome(ended_by(attempt, outcome.MEMORY), 0.0))


@pytest.mark.parametrize(
    ("count", "call", "is_first", "again"),
    [(1, 0, True, False), (1, 0, False, True), (3, 1, True, True), (3, None, True, True)],
)
def test_in_one_size_only_what_may_help_is_tried(count, call, is_first, again):
    """Not in a new worker that had nothing else to hold: it would take as much again."""
    scheduler = Scheduler(1, lambda: 0.0)
    chunk = chunk_of(count=count)
    (attempt,) = sends(scheduler.on_submitted([chunk], 0.0))
    commands = scheduler.on_outcome(ended_by(attempt, outcome.MEMORY, call, is_first=is_first), 0.0)
    assert bool(sends(commands)) is again
    if not again:
        assert type(error_of(chunk)) is OutOfMemory
