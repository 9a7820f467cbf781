"""What becomes of a chunk that an earlier client has left: done, expected, or to be sent. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lambdafutures._engine import retrying
from lambdafutures._engine.chunk import Attempt, Chunk, Work, indices_of, ranges_of
from lambdafutures._engine.durable.records import SentRow
from lambdafutures._wire import outcome
from lambdafutures._wire.outcome import Entry, Fault, Outcome


class Recovered(NamedTuple):
    """Say what the scheduler is to do with a chunk.

    Args:
        chunk: The chunk; its future is running if it was sent.
        answered: Attempts whose outcomes are there, with them, in the order of their numbers.
        awaited: Attempts that may still run: their outcomes are expected until their deadlines.
        waiting: Calls that were never sent, or whose attempts are lost.
    """

    chunk: Chunk
    answered: list[tuple[Attempt, Outcome]]
    awaited: list[Attempt]
    waiting: list[Work]


def recover(
    chunk: Chunk,
    sent: Sequence[SentRow],
    outcomes: Mapping[int, Outcome],
    now_s: float,
    epoch_s: float = 0.0,
) -> Recovered:
    """Decide what becomes of a chunk.

    A call is done if any outcome tells of its end. Otherwise its latest attempt counts: what that
    answered is judged as it would have been by the client that sent it; if its deadline has not
    come, it is waited for; else it is lost. What is lost or was never sent is sent.

    Args:
        chunk: The chunk, as it was stored; the number of its newest attempt is set.
        sent: Its attempts that were written down.
        outcomes: Outcomes that are in the store, by attempt.
        now_s: The time, in seconds since the epoch, as all times of `sent`.
        epoch_s: What to add to the scheduler's times for those.
    """
    if not sent:
        return Recovered(chunk, [], [], [Work(chunk)])
    sent = sorted(sent, key=lambda row: row.attempt)
    chunk.attempts = sent[-1].attempt
    chunk.sent = True
    tried = {row.attempt: set(_calls_of(chunk, row)) for row in sent}
    latest = {call: row.attempt for row in sent for call in tried[row.attempt]}
    told = {number: answer for number, answer in outcomes.items() if _tells(answer)}
    works = {row.attempt: _work(chunk, row, sent, latest, tried, told) for row in sent}
    done = _done(works, told, latest)
    recovered = Recovered(chunk, [], [], [])
    untried = [call for call in range(chunk.count) if call not in latest]
    if untried:
        recovered.waiting.append(Work(chunk, ranges_of(untried)))
    for row in sent:
        work = works[row.attempt]
        attempt = Attempt(work, row.attempt, min(row.sent_s, now_s) - epoch_s)
        answer = told.get(row.attempt)
        lost = [call for call in indices_of(work.ranges) if call not in done]
        if answer is not None:
            recovered.answered.append((attempt, _last_word(answer, work, latest)))
        elif now_s < row.deadline_s:
            if not done.issuperset(tried[row.attempt]):
                recovered.awaited.append(attempt)
        elif lost:
            work.calls = ranges_of(lost)
            recovered.waiting.append(work)
    return recovered


def _calls_of(chunk: Chunk, row: SentRow) -> list[int]:
    return indices_of(row.calls or [(0, chunk.count)])


def _tells(answer: Outcome) -> bool:
    """Tell whether an outcome counts; an initializer that failed gets another chance."""
    return answer.fault is None or answer.fault.kind != outcome.INITIALIZER


def _work(
    chunk: Chunk,
    row: SentRow,
    sent: Sequence[SentRow],
    latest: Mapping[int, int],
    tried: Mapping[int, set[int]],
    told: Mapping[int, Outcome],
) -> Work:
    """Return the calls whose latest attempt this is, as far as they had been tried by then."""
    calls = sorted(tried[row.attempt])
    earlier = [
        other.attempt
        for other in sent
        if other.attempt < row.attempt and calls[0] in tried[other.attempt]
    ]
    strikes = sum(_is_strike(told[number], calls[0]) for number in earlier if number in told)
    own = [call for call in calls if latest[call] == row.attempt]
    return Work(chunk, ranges_of(own), len(earlier) + 1, strikes)


def _is_strike(answer: Outcome, call: int) -> bool:
    """Tell whether an attempt counts against a call that was tried again."""
    if answer.fault is not None and retrying.counts(answer.fault):
        return True
    return any(entry.first == call and entry.status == outcome.RAISED for entry in answer.entries)


def _done(
    works: Mapping[int, Work],
    told: Mapping[int, Outcome],
    latest: Mapping[int, int],
) -> set[int]:
    """Return the calls of whose end some outcome tells."""
    done: set[int] = set()
    for number in told.keys() & works.keys():
        work = works[number]
        for entry in told[number].entries:
            if entry.status == outcome.NOT_LOADED:
                done.update(indices_of(work.ranges))
            elif not _was_retried(entry, number, work, latest):
                done.update(range(entry.first, entry.first + entry.count))
    return done


def _was_retried(entry: Entry, number: int, work: Work, latest: Mapping[int, int]) -> bool:
    """Tell whether a call's own exception led to another attempt."""
    is_retryable = retrying.should_retry_entry(work, entry)
    return is_retryable and latest.get(entry.first) != number


def _last_word(answer: Outcome, work: Work, latest: Mapping[int, int]) -> Outcome:
    """Leave out what another attempt has been sent for, and name what is missing."""
    entries = []
    run_s = array("f")
    position = 0
    for entry in answer.entries:
        until = position + entry.count
        if not _was_retried(entry, answer.attempt, work, latest):
            entries.append(entry)
            run_s.extend(answer.run_s[position:until])
        position = until
    answer.entries = entries
    answer.run_s = run_s
    ended = {call for each in entries for call in range(each.first, each.first + each.count)}
    is_read = not any(entry.status == outcome.NOT_LOADED for entry in entries)
    if is_read and answer.fault is None and not ended.issuperset(indices_of(work.ranges)):
        answer.fault = Fault(outcome.LOST, "are missing from an outcome that was stored")
    return answer
