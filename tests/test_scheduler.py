"""The scheduler and its policies, on a manual clock: no process, no sleep."""

from __future__ import annotations

import itertools
import weakref
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdafutures import RetryPolicy
from lambdafutures._backends.lookahead import DEPTH, LookAhead
from lambdafutures._engine import chunking, retrying
from lambdafutures._engine.chunk import CallOptions, Chunk, Function, Work, indices_of, ranges_of
from lambdafutures._engine.commands import Abandon, Cancelled, Send, Settle, Wake
from lambdafutures._engine.scheduler import Scheduler
from lambdafutures._packed_future import ChunkFuture
from lambdafutures._wire import outcome
from lambdafutures._wire.outcome import Entry, Fault, Outcome
from lambdafutures.exceptions import CallTimeout, LambdaFuturesError, OutOfMemory, WorkerDied

FUNCTION = Function("0" * 64, (b"",))


def make_chunk(number=0, count=1, attempts=3, **policy):
    options = CallOptions(RetryPolicy(attempts=attempts, **policy))
    return Chunk(number, count, FUNCTION, (b"",), False, ChunkFuture(), 0.0, options)


def make_scheduler(limit=2):
    return Scheduler(limit, lambda: 0.5)


def sends(commands):
    return [command.attempt for command in commands if isinstance(command, Send)]


def settled(commands):
    return [command.chunk for command in commands if isinstance(command, Settle)]


def answer(attempt, entries=None, fault=None):
    chunk = attempt.work.chunk
    if entries is None:
        ranges = attempt.work.calls or [(0, chunk.count)]
        entries = [Entry(first, count, outcome.OK, (b"",)) for first, count in ranges]
    ended = sum(entry.count for entry in entries)
    return Outcome(
        chunk.number, attempt.number, entries, run_s=array("f", [0.0] * ended), fault=fault
    )


def ok(first, count=1):
    return Entry(first, count, outcome.OK, (b"",))


def raised(call, *lineage):
    return Entry(call, 1, outcome.RAISED, (), {"mro": list(lineage), "message": "m"})


def test_no_more_attempts_are_in_flight_than_allowed():
    scheduler = make_scheduler(limit=2)
    chunks = [make_chunk(number) for number in range(5)]
    first = sends(scheduler.on_submitted(chunks, 0.0))
    assert [attempt.work.chunk for attempt in first] == chunks[:2]
    commands = scheduler.on_outcome(answer(first[1]), 1.0)
    assert settled(commands) == [chunks[1]]
    assert [attempt.work.chunk for attempt in sends(commands)] == [chunks[2]]
    assert scheduler.attempts_in_flight == 2


def test_a_cancelled_chunk_is_never_sent():
    scheduler = make_scheduler(limit=1)
    chunks = [make_chunk(number) for number in range(3)]
    (running,) = sends(scheduler.on_submitted(chunks, 0.0))
    chunks[0].sent = True
    assert scheduler.on_cancelled(chunks[1], 0.0) == [Cancelled(chunks[1])]
    assert scheduler.on_cancelled(chunks[1], 0.0) == []
    assert scheduler.on_cancelled(chunks[0], 0.0) == []
    (next_,) = sends(scheduler.on_outcome(answer(running), 1.0))
    assert next_.work.chunk is chunks[2]


def test_a_late_or_second_outcome_changes_nothing():
    scheduler = make_scheduler()
    chunk = make_chunk()
    (attempt,) = sends(scheduler.on_submitted([chunk], 0.0))
    lost = Fault(outcome.LOST, "was lost")
    assert sends(scheduler.on_outcome(answer(attempt, [], lost), 0.0)) == []
    (again,) = sends(scheduler.on_tick(10.0))
    assert again.number == 2
    assert settled(scheduler.on_outcome(answer(attempt), 10.0)) == []
    assert settled(scheduler.on_outcome(answer(again), 11.0)) == [chunk]
    assert scheduler.on_outcome(answer(again), 12.0) == []
    assert chunk.endings[0].facts.attempts == 2


def test_an_attempt_that_stays_away_beyond_its_deadline_is_lost_and_tried_again():
    scheduler = Scheduler(2, lambda: 0.5, deadline_s=60.0)
    slow, quick = make_chunk(0), make_chunk(1)
    commands = scheduler.on_submitted([slow, quick], 0.0)
    assert [command.at_s for command in commands if isinstance(command, Wake)] == [60.0]
    first, second = sends(commands)
    assert settled(scheduler.on_outcome(answer(second), 1.0)) == [quick]
    assert scheduler.on_tick(59.0) == [Wake(60.0)]
    assert scheduler.on_tick(60.0)[0] == Abandon(0, 1)
    (again,) = sends(scheduler.on_tick(60.2))  # after its back-off
    assert (again.work.chunk, again.number) == (slow, 2)
    assert scheduler.on_outcome(answer(first), 61.0) == []
    assert settled(scheduler.on_outcome(answer(again), 61.0)) == [slow]


def test_what_has_ended_is_not_kept_until_its_deadline():
    scheduler = Scheduler(1, lambda: 0.5, deadline_s=960.0)
    futures = []
    for number in range(50):
        chunk = make_chunk(number)
        futures.append(weakref.ref(chunk.future))
        (attempt,) = sends(scheduler.on_submitted([chunk], float(number)))
        scheduler.on_outcome(answer(attempt), number + 0.5)
        del chunk, attempt
    assert not any(future() for future in futures)


def test_an_outcome_that_lacks_calls_is_a_fault_and_nobody_waits_for_ever():
    scheduler = make_scheduler(limit=1)
    chunk = make_chunk(count=4, attempts=1)
    (attempt,) = sends(scheduler.on_submitted([chunk], 0.0))
    commands = scheduler.on_outcome(answer(attempt, [ok(0, 2)]), 1.0)
    while not settled(commands):
        (again,) = sends(commands)
        commands = scheduler.on_outcome(answer(again, []), 1.0)
    kinds = [(ending.first, ending.count, ending.failed) for ending in chunk.endings]
    assert kinds == [(0, 2, False), (2, 1, True), (3, 1, True)]
    assert "an outcome that tells of 0 of 1 calls" in str(chunk.endings[-1].unpack()[1])


def test_the_call_that_ran_is_tried_apart_and_blamed_alone():
    scheduler = make_scheduler(limit=1)
    chunk = make_chunk(count=5, attempts=2)
    (attempt,) = sends(scheduler.on_submitted([chunk], 0.0))
    died = Fault(outcome.DIED, "killed its worker", 2)
    commands = scheduler.on_outcome(answer(attempt, [ok(0, 2)], died), 1.0)
    tried = {}
    while not settled(commands):
        (again,) = sends(commands)
        calls = indices_of(again.work.calls)
        tried[tuple(calls)] = tried.get(tuple(calls), 0) + 1
        if calls == [2]:
            commands = scheduler.on_outcome(answer(again, [], died), 2.0)
        else:
            commands = scheduler.on_outcome(answer(again), 2.0)
    assert tried == {(2,): 1, (3, 4): 1}
    assert [(e.first, e.count, e.failed) for e in chunk.endings] == [
        (0, 2, False),
        (2, 1, True),
        (3, 2, False),
    ]
    error = chunk.endings[1].unpack()[1]
    assert type(error) is WorkerDied
    assert str(error) == "call 2 of chunk 0 killed its worker (tried 2 times)"


def test_when_nobody_knows_which_call_it_was_halves_are_tried():
    scheduler = make_scheduler(limit=1)
    chunk = make_chunk(count=8, attempts=2)
    commands = scheduler.on_submitted([chunk], 0.0)
    while not settled(commands):
        (attempt,) = sends(commands)
        calls = indices_of(attempt.work.calls or [(0, 8)])
        fault = Fault(outcome.DIED, "vanished") if 5 in calls else None
        commands = scheduler.on_outcome(answer(attempt, [] if fault else None, fault), 1.0)
    failed = [indices_of([(e.first, e.count)]) for e in chunk.endings if e.failed]
    assert failed == [[5]]


@pytest.mark.parametrize(
    ("kind", "error"),
    [(outcome.TIME, CallTimeout), (outcome.MEMORY, OutOfMemory), (outcome.DIED, WorkerDied)],
)
def test_each_fault_has_its_exception(kind, error):
    scheduler = make_scheduler()
    chunk = make_chunk(attempts=1)
    (attempt,) = sends(scheduler.on_submitted([chunk], 0.0))
    scheduler.on_outcome(answer(attempt, [], Fault(kind, "did it", 0)), 1.0)
    assert type(chunk.endings[0].unpack()[1]) is error


def test_a_time_limit_is_not_retried_unless_it_is_named():
    for named, tries in (((), 1), ((TimeoutError,), 3)):
        scheduler = make_scheduler()
        commands = scheduler.on_submitted([make_chunk(on_exceptions=named)], 0.0)
        seen = 0
        while not settled(commands):
            (attempt,) = sends(commands)
            seen += 1
            slow = Fault(outcome.TIME, "was slow", 0)
            commands = scheduler.on_outcome(answer(attempt, [], slow), 1.0)
        assert seen == tries


def test_a_named_exception_is_retried_after_a_wait():
    scheduler = make_scheduler()
    chunk = make_chunk(count=3, on_exceptions=(OSError,), backoff_s=2.0)
    (attempt,) = sends(scheduler.on_submitted([chunk], 0.0))
    entries = [ok(0), raised(1, "builtins.ConnectionError", "builtins.OSError"), ok(2)]
    commands = scheduler.on_outcome(answer(attempt, entries), 10.0)
    assert commands == [Wake(11.0)]
    assert sends(scheduler.on_tick(10.9)) == []
    (again,) = sends(scheduler.on_tick(11.0))
    assert again.work.calls == [(1, 1)]
    assert settled(scheduler.on_outcome(answer(again), 12.0)) == [chunk]
    assert [ending.facts.attempts for ending in chunk.endings] == [1, 2, 1]
    other = make_chunk(1)
    (attempt,) = sends(scheduler.on_submitted([other], 20.0))
    assert settled(scheduler.on_outcome(answer(attempt, [raised(0, "builtins.ValueError")]), 21.0))


def test_what_was_never_begun_costs_no_try_but_not_for_ever():
    scheduler = make_scheduler()
    chunk = make_chunk(attempts=1)
    commands = scheduler.on_submitted([chunk], 0.0)
    sent = 0
    while not settled(commands):
        (attempt,) = sends(commands)
        sent += 1
        missing = Fault(outcome.BLOB_MISSING, "the function is gone")
        commands = scheduler.on_outcome(answer(attempt, [], missing), 1.0)
    assert sent == retrying.MAX_RESENDS + 1
    error = chunk.endings[0].unpack()[1]
    assert type(error) is LambdaFuturesError
    assert "the function is gone (sent 6 times)" in str(error)


def test_what_cannot_be_loaded_ends_all_calls_of_the_attempt():
    scheduler = make_scheduler()
    chunk = make_chunk(count=3)
    (attempt,) = sends(scheduler.on_submitted([chunk], 0.0))
    entry = Entry(0, 0, outcome.NOT_LOADED, (), {"what": "function", "type": "T", "message": "m"})
    assert settled(scheduler.on_outcome(answer(attempt, [entry]), 1.0)) == [chunk]
    assert [(e.first, e.count, e.failed) for e in chunk.endings] == [(0, 3, True)]


def test_a_broken_backend_fails_everything_now_and_later():
    scheduler = make_scheduler(limit=1)
    chunks = [make_chunk(number) for number in range(3)]
    (attempt,) = sends(scheduler.on_submitted(chunks, 0.0))
    error = RuntimeError("gone")
    assert settled(scheduler.on_broken(error, 1.0)) == chunks
    failures = [chunk.endings[0].unpack()[1] for chunk in chunks]
    assert [repr(failure) for failure in failures] == [repr(error)] * 3
    assert len(set(map(id, failures))) == 3
    late = make_chunk(9)
    assert settled(scheduler.on_submitted([late], 2.0)) == [late]
    assert scheduler.on_outcome(answer(attempt), 3.0) == []
    assert scheduler.is_idle


@given(st.sets(st.integers(0, 60)))
def test_ranges_and_indices_are_inverse(calls):
    ordered = sorted(calls)
    assert indices_of(ranges_of(ordered)) == ordered


@given(st.integers(1, 40), st.floats(0, 1), st.floats(0, 10), st.floats(0, 100))
def test_the_wait_grows_to_its_ceiling(tries, jitter, first_s, ceiling_s):
    policy = RetryPolicy(backoff_s=first_s, backoff_ceiling_s=ceiling_s)
    wait_s = retrying.backoff_s(policy, tries, lambda: jitter)
    assert 0 <= wait_s <= min(ceiling_s, first_s * 2 ** (tries - 1))


@given(
    st.sets(st.integers(0, 30), min_size=1),
    st.none() | st.integers(-1, 40),
    st.sampled_from([outcome.DIED, outcome.LOST, outcome.TIME, outcome.MEMORY]),
    st.integers(1, 5),
    st.integers(1, 4),
)
def test_a_verdict_accounts_for_every_call_once(calls, running, kind, tries, attempts):
    unfinished = sorted(calls)
    work = Work(make_chunk(count=31, attempts=attempts), tries=tries, strikes=tries - 1)
    fault = Fault(kind, "happened", running)
    verdict = retrying.judge(retrying.Case(work, unfinished, fault, lambda: 1.0))
    told = [call for again, _ in verdict.again for call in indices_of(again.calls)]
    told += [call for ranges, _ in verdict.failed for call in indices_of(ranges)]
    assert sorted(told) == unfinished


# -------------------------------------------------------------------- chunk sizes


@given(st.integers(0, 5000), st.integers(1, 64))
@settings(deadline=None)
def test_automatic_chunks_cover_everything_and_end_small(length, workers):
    chunks = list(chunking.split(iter(range(length)), "auto", workers, length))
    assert [item for chunk in chunks for item in chunk] == list(range(length))
    assert all(1 <= len(chunk) <= chunking.MAX_AUTO_CHUNKSIZE for chunk in chunks)
    if chunks:
        assert len(chunks[0]) == 1
        assert len(chunks[-1]) == 1
    if length >= 4 * workers:
        assert len(chunks) >= 4 * workers


def test_automatic_chunks_pay_for_many_calls():
    assert len(list(chunking.split(iter(range(100_000)), "auto", 2, 100_000))) < 150
    chunks = chunking.split(iter(range(10**6)), "auto", 2, None)
    sizes = [len(chunk) for chunk in itertools.islice(chunks, 30)]
    assert sizes == sorted(sizes)


@given(st.lists(st.integers(), max_size=50), st.integers(1, 9))
def test_fixed_chunks(items, size):
    chunks = list(chunking.split(iter(items), size, 2, None))
    assert [item for chunk in chunks for item in chunk] == items
    assert all(len(chunk) == size for chunk in chunks[:-1])


def test_lengths_are_known_where_they_are_told():
    assert chunking.known_length(([1, 2], "abc")) == 2
    assert chunking.known_length(([1, 2], iter("abc"))) is None
    assert chunking.known_length(()) == 0


def test_only_short_attempts_are_handed_ahead():
    ahead = LookAhead()
    assert ahead.depth == 0
    ahead.on_attempt(0.00001)
    assert ahead.depth == DEPTH
    ahead.on_attempt(1.0)
    assert ahead.depth == 0
    for _ in range(60):
        ahead.on_attempt(0.00001)
    assert ahead.depth == DEPTH
