"""What becomes of a chunk that an earlier client has left: pure, no store and no process."""

from __future__ import annotations

from array import array

from hypothesis import given, settings
from hypothesis import strategies as st

from lambdafutures import RetryPolicy
from lambdafutures._engine.chunk import CallOptions, Chunk, Function, indices_of
from lambdafutures._engine.commands import Send, Settle, Wake
from lambdafutures._engine.durable.records import ChunkRow, JobHead, LogEntry, SentRow
from lambdafutures._engine.durable.recovery import recover
from lambdafutures._engine.scheduler import Scheduler
from lambdafutures._packed_future import ChunkFuture
from lambdafutures._wire import outcome
from lambdafutures._wire.codec import Pickled
from lambdafutures._wire.invocation import StoredParts
from lambdafutures._wire.outcome import Entry, Fault, Outcome
from lambdafutures._wire.payload import SessionHead

NOW_S = 1000.0
SOON_S = 1060.0
PAST_S = 990.0


def make_chunk(count=4, attempts=3, **policy):
    options = CallOptions(RetryPolicy(attempts=attempts, **policy))
    return Chunk(7, count, Function("0" * 64, ()), (), False, ChunkFuture(), 0.0, options)


def sent(attempt, calls=None, deadline_s=SOON_S):
    return SentRow(7, attempt, calls, 900.0 + attempt, deadline_s)


def told(attempt, *entries, fault=None):
    """An outcome that tells of calls: a number is one that returned."""
    made = [each if isinstance(each, Entry) else Entry(each, 1, 0, (b"",)) for each in entries]
    calls = sum(entry.count for entry in made)
    return Outcome(7, attempt, made, run_s=array("f", range(calls)), fault=fault)


def raised(call, name="builtins.OSError"):
    return Entry(call, 1, outcome.RAISED, (), {"mro": [name], "message": "m"})


def judged(chunk, rows, outcomes=()):
    return recover(chunk, rows, {each.attempt: each for each in outcomes}, NOW_S)


def names(attempts):
    return [attempt.number for attempt in attempts]


def calls_of(works):
    return [indices_of(work.ranges) for work in works]


# -------------------------------------------------------------------- send, expect, done


def test_what_was_never_sent_is_sent():
    chunk = make_chunk()
    found = judged(chunk, [])
    assert not found.answered
    assert not found.awaited
    assert calls_of(found.waiting) == [[0, 1, 2, 3]]
    assert not chunk.sent
    assert (chunk.attempts, found.waiting[0].tries) == (0, 0)


def test_what_may_still_run_is_expected_until_its_deadline():
    chunk = make_chunk()
    found = judged(chunk, [sent(1)])
    assert names(found.awaited) == [1]
    assert not found.waiting
    assert chunk.sent
    assert chunk.attempts == 1
    assert judged(make_chunk(), [sent(1, deadline_s=NOW_S)]).awaited == []


def test_what_is_overdue_is_sent_again_and_its_try_counts():
    chunk = make_chunk()
    found = judged(chunk, [sent(1, deadline_s=0.0), sent(2, deadline_s=0.0)])
    assert not found.awaited
    (work,) = found.waiting
    assert indices_of(work.ranges) == [0, 1, 2, 3]
    assert (work.tries, work.strikes, chunk.attempts) == (2, 0, 2)


def test_what_has_an_outcome_is_done():
    found = judged(make_chunk(), [sent(1)], [told(1, 0, 1, 2, 3)])
    assert [attempt.number for attempt, _ in found.answered] == [1]
    assert not found.awaited
    assert not found.waiting


def test_an_overdue_outcome_counts_all_the_same():
    rows = [sent(1, deadline_s=PAST_S), sent(2, deadline_s=PAST_S)]
    found = judged(make_chunk(), rows, [told(1, 0, 1, 2, 3)])
    assert [attempt.number for attempt, _ in found.answered] == [1]
    assert not found.waiting


# -------------------------------------------------------------------- parts of chunks


def test_each_call_is_judged_by_its_latest_attempt():
    died = Fault(outcome.DIED, "died", 1)
    rows = [sent(1), sent(2, [(1, 1)]), sent(3, [(2, 2)], PAST_S)]
    chunk = make_chunk()
    found = judged(chunk, rows, [told(1, 0, fault=died)])
    ((first, _),) = found.answered
    assert indices_of(first.work.ranges) == [0]
    assert names(found.awaited) == [2]
    assert calls_of(found.waiting) == [[2, 3]]
    # The call that ran has a strike; those that waited behind it have none.
    assert [found.awaited[0].work.strikes, found.waiting[0].strikes] == [1, 0]
    assert found.waiting[0].tries == 2
    assert chunk.attempts == 3


def test_calls_that_ended_are_not_sent_again_with_the_others():
    died = Fault(outcome.DIED, "died", 3)
    rows = [sent(1), sent(2, deadline_s=PAST_S)]
    found = judged(make_chunk(), rows, [told(1, 0, 2, fault=died)])
    assert calls_of(found.waiting) == [[1, 3]]


def test_a_backup_is_expected_beside_what_it_backs_up():
    found = judged(make_chunk(), [sent(1), sent(2)])
    assert names(found.awaited) == [1, 2]
    first, second = found.awaited
    # What one of them leaves open is left to the other.
    assert first.work is second.work
    assert calls_of([first.work]) == [[0, 1, 2, 3]]
    died = Fault(outcome.DIED, "died", 1)
    found = judged(make_chunk(), [sent(1), sent(2)], [told(2, 0, fault=died)])
    assert found.answered[0][0].work is found.awaited[0].work


def test_nothing_is_expected_of_attempts_whose_calls_have_all_ended():
    assert judged(make_chunk(), [sent(1), sent(2)], [told(1, 0, 1, 2, 3)]).awaited == []


def test_a_call_that_no_attempt_names_is_sent():
    found = judged(make_chunk(), [sent(1, [(0, 2)])], [told(1, 0, 1)])
    assert calls_of(found.waiting) == [[2, 3]]


# -------------------------------------------------------------------- exceptions and faults


def test_an_exception_that_was_retried_is_not_the_last_word():
    chunk = make_chunk(on_exceptions=(OSError,))
    rows = [sent(1), sent(2, [(1, 1)])]
    found = judged(chunk, rows, [told(1, 0, raised(1), 2, 3)])
    ((_, answer),) = found.answered
    assert [entry.first for entry in answer.entries] == [0, 2, 3]
    assert list(answer.run_s) == [0, 2, 3]
    assert names(found.awaited) == [2]
    # Before its retry was written down, it is the scheduler's to retry.
    found = judged(make_chunk(on_exceptions=(OSError,)), [sent(1)], [told(1, 0, raised(1), 2, 3)])
    ((_, answer),) = found.answered
    assert [entry.first for entry in answer.entries] == [0, 1, 2, 3]


def test_an_exception_of_the_last_try_is_the_last_word():
    chunk = make_chunk(count=1, attempts=2, on_exceptions=(OSError,))
    rows = [sent(1), sent(2)]
    found = judged(chunk, rows, [told(1, raised(0)), told(2, raised(0))])
    assert [len(answer.entries) for _, answer in found.answered] == [0, 1]
    assert not found.awaited
    assert not found.waiting


def test_strikes_of_outcomes_count_and_lost_attempts_do_not():
    died = Fault(outcome.DIED, "died", 0)
    rows = [sent(1), sent(2, deadline_s=PAST_S), sent(3)]
    found = judged(make_chunk(count=1), rows, [told(1, fault=died), told(3, fault=died)])
    assert found.answered[-1][0].work.strikes == 1
    assert found.answered[-1][0].work.tries == 3


def test_what_could_not_be_loaded_is_done():
    unread = Entry(0, 0, outcome.NOT_LOADED, (), {})
    found = judged(make_chunk(), [sent(1)], [told(1, unread)])
    ((_, answer),) = found.answered
    assert answer.fault is None
    assert not found.waiting


def test_an_initializer_that_failed_gets_another_chance():
    failed = Fault(outcome.INITIALIZER, "raised")
    found = judged(make_chunk(), [sent(1, deadline_s=PAST_S)], [told(1, fault=failed)])
    assert not found.answered
    assert calls_of(found.waiting) == [[0, 1, 2, 3]]


def test_what_an_outcome_does_not_tell_of_is_lost():
    found = judged(make_chunk(), [sent(1)], [told(1, 0, 1)])
    ((_, answer),) = found.answered
    assert answer.fault is not None
    assert answer.fault.kind == outcome.LOST


def test_what_does_not_come_by_its_deadline_is_sent_again():
    scheduler = Scheduler(3, lambda: 0.0, 0.0, 60.0)
    # Of another chunk, sent now: it must not hide the deadline of what was sent long ago.
    other = Chunk(8, 1, Function("0" * 64, ()), (), False, ChunkFuture(), 0.0, CallOptions())
    scheduler.on_submitted([other], NOW_S)
    row = SentRow(7, 1, None, NOW_S - 50, NOW_S + 10)
    commands = scheduler.on_restored(*recover(make_chunk(), [row], {}, NOW_S), NOW_S)
    assert [command.at_s for command in commands if isinstance(command, Wake)] == [NOW_S + 10]
    assert scheduler.attempts_in_flight == 2
    commands = scheduler.on_tick(NOW_S + 10)
    (again,) = [command.attempt for command in commands if isinstance(command, Send)]
    assert (again.name, again.work.tries) == ((7, 2), 2)


def test_a_total_deadline_counts_anew_for_who_attaches():
    scheduler = Scheduler(3, lambda: 0.0)
    chunk = make_chunk(total_s=5.0)
    rows = [sent(1, deadline_s=0.0)]
    commands = scheduler.on_restored(*recover(chunk, rows, {}, NOW_S), NOW_S)
    assert [command.attempt.number for command in commands if isinstance(command, Send)] == [2]


# -------------------------------------------------------------------- from a crash to the end


class Crash:
    """A client that is killed, and the one that takes its job up."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.rows: list[SentRow] = []
        self.stored: dict[int, Outcome] = {}
        self.settled = 0
        self.now_s = NOW_S

    def carry_out(self, commands, lasts_s):
        """Write down what is sent; return the attempts."""
        found = []
        for command in commands:
            if isinstance(command, Settle):
                self.settled += 1
            elif isinstance(command, Send):
                attempt = command.attempt
                calls = attempt.work.calls
                deadline_s = self.now_s + lasts_s
                self.rows.append(SentRow(7, attempt.number, calls, self.now_s, deadline_s))
                found.append(attempt)
        return found


def ended(chunk: Chunk) -> set[int]:
    """Calls of whose end the chunk's endings tell, each once."""
    calls = [call for each in chunk.endings for call in range(each.first, each.first + each.count)]
    assert len(calls) == len(set(calls))
    return set(calls)


def answers(draw, attempt):
    """Any outcome of an attempt: some calls return, one may raise, the runner may die."""
    calls = indices_of(attempt.work.ranges)
    done = draw(st.integers(0, len(calls)))
    entries = [Entry(call, 1, 0, (b"",)) for call in calls[:done]]
    if done and draw(st.booleans()):
        entries[-1] = raised(calls[done - 1])
    fault = None
    if done < len(calls):
        kind = draw(st.sampled_from([outcome.DIED, outcome.CUT, outcome.WORKER_ENDED]))
        fault = Fault(kind, "died", calls[done])
    return Outcome(7, attempt.number, entries, run_s=array("f", [0.0] * done), fault=fault)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), outlives=st.booleans())
def test_after_any_crash_every_call_ends_once_and_what_ended_is_not_sent_again(data, outlives):
    draw = data.draw
    count = draw(st.integers(1, 5))
    crash = Crash(make_chunk(count, attempts=4, on_exceptions=(OSError,), backoff_s=0.0))
    lasts_s = 60.0 if outlives else 0.0
    # The first client lives for a while, some of its outcomes are stored though it never saw them.
    scheduler = Scheduler(3, lambda: 0.0, 0.0, 60.0 if outlives else None)
    under_way = crash.carry_out(scheduler.on_submitted([crash.chunk], crash.now_s), lasts_s)
    for _ in range(draw(st.integers(0, 6))):
        if not under_way or crash.settled:
            break
        attempt = under_way.pop(draw(st.integers(0, len(under_way) - 1)))
        answer = crash.stored[attempt.number] = answers(draw, attempt)
        crash.now_s += 1
        commands = scheduler.on_outcome(answer, crash.now_s)
        under_way += crash.carry_out(commands, lasts_s)
        if draw(st.integers(0, 3)) == 0:  # what is under way now counts as lost, and comes late
            crash.now_s += 61
            under_way += crash.carry_out(scheduler.on_tick(crash.now_s), lasts_s)
    for attempt in under_way:
        if draw(st.booleans()):
            crash.stored[attempt.number] = answers(draw, attempt)
    # The second one comes soon, or when all deadlines are past.
    crash.now_s += draw(st.sampled_from([0.5, 100.0]))
    crash.settled = 0
    chunk = crash.chunk = make_chunk(count, attempts=4, on_exceptions=(OSError,), backoff_s=0.0)
    first = len(crash.rows)
    returned = {
        call
        for answer in crash.stored.values()
        for entry in answer.entries
        if entry.status == outcome.OK
        for call in range(entry.first, entry.first + entry.count)
    }
    scheduler = Scheduler(3, lambda: 0.0, 0.0, 60.0 if outlives else None)
    found = recover(chunk, crash.rows, crash.stored, crash.now_s)
    under_way = list(found.awaited)
    commands = scheduler.on_restored(*found, crash.now_s)
    under_way += crash.carry_out(commands, lasts_s)
    for _ in range(200):
        if crash.settled:
            break
        assert under_way, "nothing is under way, and nothing has ended"
        attempt = under_way.pop(0)
        crash.now_s += 1
        under_way += crash.carry_out(
            scheduler.on_outcome(answers(draw, attempt), crash.now_s), lasts_s
        )
        under_way += crash.carry_out(scheduler.on_tick(crash.now_s), lasts_s)
    assert crash.settled == 1
    assert scheduler.is_idle
    assert ended(chunk) == set(range(count))
    numbers = [row.attempt for row in crash.rows]
    assert len(numbers) == len(set(numbers))
    again = {call for row in crash.rows[first:] for call in indices_of(row.calls or [(0, count)])}
    assert not again & returned


# -------------------------------------------------------------------- records


def test_a_log_entry_comes_back_as_it_was():
    entry = LogEntry(
        "c1",
        12.5,
        [ChunkRow(3, 2, "ab" * 32, StoredParts("name", 5, 6, "cd" * 32), True, 1.5, 1)],
        [b"options", b"others"],
        [SentRow(3, 1, None, 2.5, 0.0), SentRow(3, 2, [(1, 1)], 3.5, 9.0, 1769)],
        [4],
        [5],
        True,
    )
    again = LogEntry.decode(entry.encode())
    assert again.encode() == entry.encode()
    assert again.sent == entry.sent
    assert again.options == entry.options
    assert again.chunks[0]._replace(arguments=None) == entry.chunks[0]._replace(arguments=None)
    place, expected = again.chunks[0].arguments, entry.chunks[0].arguments
    assert (place.key, place.start, place.length) == (expected.key, 5, 6)
    assert place.sha256 == expected.sha256


def test_a_head_comes_back_as_it_was():
    head = JobHead(
        SessionHead("s", "3.12", "dill", Pickled(b"init", [b"b1"]), {"A": "b"}, ["/x"], 20, 2),
        1769,
        None,
    )
    again = JobHead.decode(head.encode())
    assert again.encode() == head.encode()
    assert (again.session.session, again.memory_mb, again.limit_mb) == ("s", 1769, None)
