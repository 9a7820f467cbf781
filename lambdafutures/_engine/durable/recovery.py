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

_LOST = Fault(outcome.LOST, "gave no sign of life, and neither did the client that had sent it")


class Recovered(NamedTuple):
    """Say what the scheduler is to do with a chunk.

    Args:
        chunk: The chunk.
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
        chunk: The chunk, as it was stored; it gets the number of its newest attempt.
        sent: Its attempts that were written down.
        outcomes: Outcomes that are in the store, by attempt.
        now_s: The time, in seconds since the epoch, as all times of `sent`.
        epoch_s: What to add to the scheduler's times for those.
    """
    if not sent:
        return Recovered(chunk, [], [], [Work(chunk)])
    past = _Past(chunk, sent, outcomes)
    chunk.attempts = past.rows[-1].attempt
    chunk.sent = True
    recovered = Recovered(chunk, [], [], [])
    untried = [call for call in range(chunk.count) if call not in past.latest]
    if untried:
        recovered.waiting.append(Work(chunk, ranges_of(untried)))
    for row in past.rows:
        work = past.works[row.attempt]
        sent_s = min(row.sent_s, now_s) - epoch_s
        answer = past.told.get(row.attempt)
        if answer is not None:
            last_word = past.last_word(answer)
            recovered.answered.append((Attempt(work, row.attempt, sent_s), last_word))
        elif now_s < row.deadline_s and row.attempt not in outcomes:  # else it has ended
            if not past.done.issuperset(past.calls[row.attempt]):
                work = past.shared_work(row)
                recovered.awaited.append(Attempt(work, row.attempt, sent_s))
        elif lost := [call for call in indices_of(work.ranges) if call not in past.done]:
            work.calls = ranges_of(lost)
            work.why = _LOST
            recovered.waiting.append(work)
    return recovered


class _Past:
    """Put together what is known of a chunk's attempts.

    Attributes:
        rows: The attempts, in the order of their numbers.
        calls: Calls that each of them was to run.
        latest: The latest attempt at each call.
        told: Outcomes that count.
        works: For each attempt the calls of which it is the latest, as far as they had been tried.
        done: Calls of whose end some outcome tells.
    """

    def __init__(
        self, chunk: Chunk, sent: Sequence[SentRow], outcomes: Mapping[int, Outcome]
    ) -> None:
        self.chunk = chunk
        self.rows = sorted(sent, key=lambda row: row.attempt)
        self.calls = {row.attempt: indices_of(row.calls or [(0, chunk.count)]) for row in self.rows}
        self.latest = {call: row.attempt for row in self.rows for call in self.calls[row.attempt]}
        # An initializer that failed gets another chance.
        self.told = {
            number: answer
            for number, answer in outcomes.items()
            if answer.fault is None or answer.fault.kind != outcome.INITIALIZER
        }
        self.works = {row.attempt: self._work(row) for row in self.rows}
        self.done = self._done()

    def _work(self, row: SentRow) -> Work:
        calls = self.calls[row.attempt]
        earlier = [
            other.attempt
            for other in self.rows
            if other.attempt < row.attempt and calls[0] in self.calls[other.attempt]
        ]
        strikes = sum(self._struck(number, calls[0]) for number in earlier)
        own = [call for call in calls if self.latest[call] == row.attempt]
        work = Work(self.chunk, ranges_of(own), len(earlier) + 1, strikes)
        work.memory_mb = row.memory_mb
        return work

    def _struck(self, number: int, call: int) -> bool:
        """Tell whether an attempt failed through a fault, or an exception, of a call's own."""
        answer = self.told.get(number)
        if answer is None:
            return False
        fault = answer.fault
        if fault is not None and retrying.counts(fault) and fault.call in (None, call):
            return True
        policy = self.chunk.options.retry
        return any(
            entry.first == call and retrying.names_exception(policy, entry.error)
            for entry in answer.entries
        )

    def shared_work(self, row: SentRow) -> Work:
        """Return the work of an attempt that may still run: it has that of its backup."""
        calls = self.calls[row.attempt]
        same = [other.attempt for other in self.rows if self.calls[other.attempt] == calls]
        return self.works[same[-1]]

    def _done(self) -> set[int]:
        done: set[int] = set()
        for number in self.told.keys() & self.works.keys():
            for entry in self.told[number].entries:
                if entry.status == outcome.NOT_LOADED:
                    done.update(indices_of(self.works[number].ranges))
                elif not self._was_retried(number, entry):
                    done.update(range(entry.first, entry.first + entry.count))
        return done

    def _was_retried(self, number: int, entry: Entry) -> bool:
        """Tell whether a call's own exception led to another attempt."""
        is_retryable = retrying.should_retry_entry(self.works[number], entry)
        return is_retryable and self.latest.get(entry.first) != number

    def last_word(self, answer: Outcome) -> Outcome:
        """Leave out what another attempt has been sent for, and name what is missing."""
        entries = []
        run_s = array("f")
        position = 0
        for entry in answer.entries:
            until = position + entry.count
            if not self._was_retried(answer.attempt, entry):
                entries.append(entry)
                run_s.extend(answer.run_s[position:until])
            position = until
        answer.entries = entries
        answer.run_s = run_s
        ended = {call for each in entries for call in range(each.first, each.first + each.count)}
        is_read = not any(entry.status == outcome.NOT_LOADED for entry in entries)
        expected = indices_of(self.works[answer.attempt].ranges)
        if is_read and answer.fault is None and not ended.issuperset(expected):
            answer.fault = Fault(outcome.LOST, "are missing from an outcome that was stored")
        return answer
