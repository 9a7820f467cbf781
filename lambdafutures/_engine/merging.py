"""From outcomes to the endings of calls: of several the first counts. Pure."""

from __future__ import annotations

import copy

from lambdafutures._endings import AttemptFacts, Ending
from lambdafutures._engine import retrying
from lambdafutures._engine.chunk import Chunk, Ranges, Work, ranges_of
from lambdafutures._wire import outcome
from lambdafutures._wire.outcome import Entry, Fault, Outcome


def merge(work: Work, answer: Outcome, facts: AttemptFacts) -> list[Entry]:
    """End the calls that an outcome tells of; return those that are to be tried again instead.

    Args:
        work: What was tried.
        answer: Its outcome.
        facts: What is known of the attempt.
    """
    again: list[Entry] = []
    position = 0
    for entry in answer.entries:
        if entry.status == outcome.NOT_LOADED:
            _end_not_loaded(work, entry, facts)
            continue
        run_s = answer.run_s[position : position + entry.count]
        position += entry.count
        # (Another attempt may have ended it meanwhile.)
        if retrying.should_retry_entry(work, entry) and work.chunk.is_open(entry.first):
            again.append(entry)
        else:
            end(work.chunk, Ending(entry, facts, run_s))
    return again


def lacking(work: Work, answer: Outcome) -> Fault | None:
    """Return a fault for an outcome that does not tell of all its calls: none may wait for ever.

    Args:
        work: What was tried.
        answer: Its outcome.
    """
    told = 0
    for entry in answer.entries:
        if entry.status == outcome.NOT_LOADED:
            return None
        told += entry.count
    if told >= work.count:
        return None
    message = f"are missing from an outcome that tells of {told} of {work.count} calls"
    return Fault(outcome.LOST, message)


def fail(chunk: Chunk, calls: Ranges, error: BaseException, facts: AttemptFacts) -> None:
    """End calls with an exception of the client's.

    Args:
        chunk: Their chunk.
        calls: Which.
        error: The exception.
        facts: What is known of their attempt.
    """
    for first, count in calls:
        # A copy for each: what is raised in several places must not share a traceback.
        end(
            chunk,
            Ending(Entry(first, count, outcome.RAISED, ()), facts, error=copy.copy(error)),
        )


def end(chunk: Chunk, ending: Ending) -> None:
    """Keep the ending of calls that had none.

    Args:
        chunk: Their chunk.
        ending: How they ended.
    """
    if chunk.open_calls is None:
        if ending.count == chunk.count:
            chunk.open_calls = set()
            chunk.endings.append(ending)
            return
        chunk.open_calls = set(range(chunk.count))
    calls = range(ending.first, ending.first + ending.count)
    still_open = chunk.open_calls.intersection(calls)
    chunk.open_calls -= still_open
    if len(still_open) == ending.count:
        chunk.endings.append(ending)
    else:  # another attempt has ended some of them
        parts = ranges_of(sorted(still_open))
        chunk.endings += [ending.part(first, count) for first, count in parts]


def _end_not_loaded(work: Work, entry: Entry, facts: AttemptFacts) -> None:
    """End all calls of a work: nobody could read their function or arguments."""
    for first, count in work.ranges:
        ended = Entry(first, count, entry.status, entry.parts, entry.error)
        end(work.chunk, Ending(ended, facts))
