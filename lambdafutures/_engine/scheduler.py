"""What to send when, and what each report means. Pure: events in, commands out, time passed in.

Every chunk ends exactly once, with `Settle` or `Cancelled`; nothing is sent after that, nor more
than `max_in_flight` attempts at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from math import inf

from lambdafutures._backends.base import StartRate
from lambdafutures._endings import AttemptFacts, Ending
from lambdafutures._engine import merging, retrying
from lambdafutures._engine.agenda import Agenda
from lambdafutures._engine.backups import Backups
from lambdafutures._engine.chunk import Attempt, Chunk, Work, ranges_of
from lambdafutures._engine.commands import Abandon, Cancelled, Command, Send, Settle, Wake
from lambdafutures._engine.room import NO_PROGRESS_S, Room
from lambdafutures._wire import outcome
from lambdafutures._wire.outcome import Entry, Fault, Outcome


class Scheduler:
    """Decide. Each method takes an event and returns the commands that follow from it.

    Args:
        max_in_flight: Attempts under way at once.
        jitter: Gives a number from 0 to 1; random in earnest, scripted in tests.
        epoch_s: What to add to the clock's readings for seconds since the epoch.
        deadline_s: Seconds after which an attempt counts as lost, its queueing included; None if
            the backend notices every loss by itself.
        patience_s: Seconds without any progress after which everything fails.
        larger_mb: Gives the memory of the next larger workers than those of some memory (None:
            the usual ones), in MiB; None if there are none.
        start_rate: How quickly the backend starts workers; None if that need not be minded.
    """

    def __init__(
        self,
        max_in_flight: int,
        jitter: Callable[[], float],
        epoch_s: float = 0.0,
        deadline_s: float | None = None,
        patience_s: float = NO_PROGRESS_S,
        larger_mb: Callable[[int | None], int | None] = lambda _: None,
        start_rate: StartRate | None = None,
    ) -> None:
        self._room = Room(max_in_flight, patience_s, start_rate)
        self._jitter = jitter
        self._epoch_s = epoch_s
        self._deadline_s = deadline_s
        self._larger_mb = larger_mb
        self._waiting: deque[Work] = deque()
        self._delayed: Agenda[Work] = Agenda()
        self._backups = Backups()
        # In the order in which they were sent.
        self._in_flight: dict[tuple[int, int], Attempt] = {}
        self._open: dict[int, Chunk] = {}
        self._broken: BaseException | None = None
        self._wake_s = inf
        self.retries = 0

    @property
    def max_in_flight(self) -> int:
        """The most attempts that are ever under way at once."""
        return self._room.ceiling

    @max_in_flight.setter
    def max_in_flight(self, ceiling: int) -> None:
        self._room.ceiling = ceiling

    @property
    def is_broken(self) -> bool:
        """Whether no call can run any more."""
        return self._broken is not None

    @property
    def is_idle(self) -> bool:
        """Whether every chunk has ended."""
        return not self._open

    @property
    def open_chunks(self) -> int:
        """Chunks that have not ended."""
        return len(self._open)

    @property
    def attempts_in_flight(self) -> int:
        """Attempts under way."""
        return len(self._in_flight)

    @property
    def backups(self) -> int:
        """Attempts that were sent beside one that was slow."""
        return self._backups.sent

    # ---------------------------------------------------------------- events

    def on_submitted(self, chunks: Iterable[Chunk], now_s: float) -> list[Command]:
        """Take new chunks.

        Args:
            chunks: In the order in which they are to be sent.
            now_s: The time.
        """
        commands: list[Command] = []
        for chunk in chunks:
            self._open[chunk.number] = chunk
            self._backups.on_submitted(chunk)
            if self._broken is not None:
                self._fail(chunk, self._broken, now_s, commands)
            else:
                self._waiting.append(Work(chunk))
        return self._go_on(commands, now_s)

    def on_restored(
        self,
        chunk: Chunk,
        answered: Iterable[tuple[Attempt, Outcome]],
        awaited: Iterable[Attempt],
        waiting: Iterable[Work],
        now_s: float,
    ) -> list[Command]:
        """Take a chunk that an earlier client of its session has left.

        Args:
            chunk: The chunk, with the number of its newest attempt.
            answered: Attempts with their outcomes.
            awaited: Attempts that may still run, sent when they say.
            waiting: Calls to be tried.
            now_s: The time.
        """
        commands: list[Command] = []
        self._open[chunk.number] = chunk
        self._backups.on_submitted(chunk)
        if self._broken is not None:
            self._fail(chunk, self._broken, now_s, commands)
            return commands
        for attempt in awaited:
            self._restore(attempt, now_s)
        self._waiting.extend(waiting)
        for attempt, answer in answered:
            self._take(attempt, answer, now_s, commands, is_old=True)
        self._wake_s = inf  # the oldest deadline may be a new one
        return self._go_on(commands, now_s)

    def _restore(self, attempt: Attempt, now_s: float) -> None:
        """Count an attempt as under way that was sent earlier than others."""
        last = next(reversed(self._in_flight.values()), attempt)
        attempt.work.is_backed_up = bool(attempt.work.attempts)
        attempt.work.attempts.append(attempt)
        self._in_flight[attempt.name] = attempt
        self._backups.on_sent(attempt, now_s)
        if last.sent_s > attempt.sent_s:
            in_order = sorted(self._in_flight.items(), key=lambda item: item[1].sent_s)
            self._in_flight = dict(in_order)

    def on_cancelled(self, chunk: Chunk, now_s: float) -> list[Command]:
        """Drop a chunk whose future was cancelled.

        Args:
            chunk: The chunk; ignored if it has been sent or has ended.
            now_s: The time.
        """
        if chunk.sent or chunk.number not in self._open:
            return []
        # Its work stays in the queue until its turn, then it is skipped: that is cheaper than to
        # search for it, and the chunk holds nothing any more.
        self._drop(chunk, now_s)
        return [Cancelled(chunk)]

    def on_refused(self, attempt: Attempt, now_s: float) -> list[Command]:
        """Drop a chunk whose future turned out to be cancelled when it was to be sent.

        Args:
            attempt: The attempt that was not sent.
            now_s: The time.
        """
        self._end_attempt(attempt)
        self._drop(attempt.work.chunk, now_s)
        return self._go_on([], now_s)

    def on_outcome(self, answer: Outcome, now_s: float) -> list[Command]:
        """Take what became of an attempt; one that is not under way is of no interest any more.

        Args:
            answer: The outcome.
            now_s: The time.
        """
        attempt = self._in_flight.get((answer.chunk, answer.attempt))
        if attempt is not None:
            self._end_attempt(attempt)
        hopeless = self._room.on_outcome(attempt, answer, len(self._in_flight), now_s)
        if hopeless is not None:
            return self.on_broken(hopeless, now_s)
        commands: list[Command] = []
        if attempt is not None:
            self._take(attempt, answer, now_s, commands)
        return self._go_on(commands, now_s)

    def on_broken(self, error: BaseException, now_s: float) -> list[Command]:
        """Fail everything: no call can run any more, now or later.

        Args:
            error: What every call that has not ended gets.
            now_s: The time.
        """
        commands: list[Command] = []
        self._broken = error
        for chunk in list(self._open.values()):
            self._fail(chunk, error, now_s, commands)
        self._waiting.clear()
        self._delayed.clear()
        self._backups.clear()
        self._in_flight.clear()
        return commands

    def on_cancel_waiting(self, now_s: float) -> list[Command]:
        """Cancel every chunk that has not been sent.

        Args:
            now_s: The time.
        """
        commands: list[Command] = []
        for chunk in list(self._open.values()):
            commands += self.on_cancelled(chunk, now_s)
        return commands

    def on_tick(self, now_s: float) -> list[Command]:
        """Look again at what was waiting for its time.

        Args:
            now_s: The time.
        """
        commands: list[Command] = []
        self._wake_s = inf
        for attempt in self._overdue(now_s):
            self._end_attempt(attempt)
            commands.append(Abandon(*attempt.name))
            message = f"gave no sign of life within {self._deadline_s:g} s"
            lost = Outcome(*attempt.name, fault=Fault(outcome.LOST, message))
            self._take(attempt, lost, now_s, commands)
        return self._go_on(commands, now_s)

    # ---------------------------------------------------------------- sending

    def _go_on(self, commands: list[Command], now_s: float) -> list[Command]:
        """Send what there is room for, and see to being woken for the rest."""
        if self._delayed.next_s <= now_s:
            self._waiting.extendleft(self._delayed.take_due(now_s))
        allowed = self._room.allowed(now_s)
        waiting = self._waiting
        while waiting and len(self._in_flight) < allowed:
            self._send(waiting.popleft(), now_s, commands)
        room = 0 if waiting else allowed - len(self._in_flight)
        if room > 0 and self._backups.next_s <= now_s:
            for work in list(self._backups.due(now_s, room)):
                self._send(work, now_s, commands)
        self._room.on_sent(len(self._in_flight), now_s)
        self._see_to_waking(room, now_s, commands)
        return commands

    def _send(self, work: Work, now_s: float, commands: list[Command]) -> None:
        chunk = work.chunk
        if chunk.number not in self._open:
            return  # cancelled
        if retrying.is_over(work, now_s):
            self._give_up(work, now_s, commands)
            return
        chunk.attempts += 1
        work.tries += 1
        if work.begun_s is None:
            work.begun_s = now_s
        attempt = Attempt(work, chunk.attempts, now_s, not self._in_flight)
        work.attempts.append(attempt)
        self._in_flight[attempt.name] = attempt
        self._backups.on_sent(attempt, now_s)
        commands.append(Send(attempt))

    def _see_to_waking(self, room: int, now_s: float, commands: list[Command]) -> None:
        at_s = self._delayed.next_s
        if room > 0:  # else an outcome comes first, or the end of a pause
            at_s = min(at_s, self._backups.next_s)
        elif self._waiting or self._backups.next_s < inf:
            at_s = min(at_s, self._room.more_at_s(now_s))
        if self._deadline_s is not None and self._in_flight:
            # Once a wake is due before the oldest's deadline, only what is sent now may need one.
            sent_s = now_s if self._wake_s < inf else next(iter(self._in_flight.values())).sent_s
            at_s = min(at_s, sent_s + self._deadline_s)
        if at_s < self._wake_s:
            self._wake_s = at_s
            commands.append(Wake(at_s))

    def _overdue(self, now_s: float) -> list[Attempt]:
        """Return the attempts whose time is over, those that were sent first."""
        overdue: list[Attempt] = []
        if self._deadline_s is not None:
            for attempt in self._in_flight.values():
                if attempt.sent_s + self._deadline_s > now_s:
                    break
                overdue.append(attempt)
        return overdue

    def _again(self, work: Work, wait_s: float, now_s: float, commands: list[Command]) -> None:
        if retrying.is_over(work, now_s + wait_s):
            self._give_up(work, now_s, commands)
            return
        self.retries += 1
        if wait_s > 0:
            self._delayed.add(now_s + wait_s, work)
        else:
            self._waiting.appendleft(work)

    # ---------------------------------------------------------------- outcomes

    def _take(
        self,
        attempt: Attempt,
        answer: Outcome,
        now_s: float,
        commands: list[Command],
        *,
        is_old: bool = False,
    ) -> None:
        work = attempt.work
        facts = self._facts(work, now_s, attempt.sent_s)
        facts.add(answer)
        raised = merging.merge(work, answer, facts)
        fault = answer.fault or merging.lacking(work, answer)
        if work.attempts:
            # It has a backup, or is one: what it has left undone is left to the other.
            if raised or (fault is not None and retrying.counts(fault)):
                work.strikes += 1
            if not work.unfinished():
                self._abandon(work, commands)
        else:
            for entry in raised:
                wait_s = retrying.wait_after_raise_s(work, self._jitter)
                again = work.rest([(entry.first, 1)], entry, struck=1)
                self._again(again, wait_s, now_s, commands)
            if fault is not None:
                verdict = retrying.judge(self._case(work, fault, raised, answer))
                for ranges, error in verdict.failed:
                    merging.fail(work.chunk, ranges, error, facts)
                for again, wait_s in verdict.again:
                    self._again(again, wait_s, now_s, commands)
        if fault is None and not is_old:  # when an old one ended nobody knows
            self._backups.on_ended(attempt, now_s)
        self._settle_if_done(work.chunk, now_s, commands)

    def _case(
        self, work: Work, fault: Fault, raised: Sequence[Entry], answer: Outcome
    ) -> retrying.Case:
        taken = {entry.first for entry in raised}
        unfinished = [call for call in work.unfinished() if call not in taken]
        larger_mb = self._larger_mb(work.memory_mb) if fault.kind == outcome.MEMORY else None
        return retrying.Case(work, unfinished, fault, self._jitter, answer.is_first, larger_mb)

    # ---------------------------------------------------------------- endings

    def _end_attempt(self, attempt: Attempt) -> None:
        """Count an attempt as under way no more."""
        del self._in_flight[attempt.name]
        attempt.work.attempts.remove(attempt)
        self._backups.on_over(attempt)

    def _abandon(self, work: Work, commands: list[Command]) -> None:
        """Wait no longer for the other attempts at a work: one has ended all its calls."""
        for other in list(work.attempts):
            self._end_attempt(other)
            commands.append(Abandon(*other.name))

    def _give_up(self, work: Work, now_s: float, commands: list[Command]) -> None:
        """End calls for which it is too late to be tried again as their last try has ended."""
        facts = self._facts(work, now_s)
        if isinstance(work.why, Entry):
            merging.end(work.chunk, Ending(work.why, facts))
        elif work.why is not None:
            calls = work.unfinished()
            error = retrying.error_of(work, calls, work.why, is_over=True)
            merging.fail(work.chunk, ranges_of(calls), error, facts)
        self._settle_if_done(work.chunk, now_s, commands)

    def _facts(self, work: Work, now_s: float, sent_s: float | None = None) -> AttemptFacts:
        at_s = now_s + self._epoch_s
        sent_at_s = at_s if sent_s is None else sent_s + self._epoch_s
        return AttemptFacts(work.tries, work.chunk.submitted_s, sent_at_s, at_s)

    def _settle_if_done(self, chunk: Chunk, now_s: float, commands: list[Command]) -> None:
        if chunk.is_done and chunk.number in self._open:
            if len(chunk.endings) > 1:
                chunk.endings.sort(key=lambda ending: ending.first)
            del self._open[chunk.number]
            self._backups.on_gone(chunk, now_s)
            commands.append(Settle(chunk))

    def _drop(self, chunk: Chunk, now_s: float) -> None:
        del self._open[chunk.number]
        self._backups.on_gone(chunk, now_s)
        chunk.release()

    def _fail(
        self, chunk: Chunk, error: BaseException, now_s: float, commands: list[Command]
    ) -> None:
        facts = self._facts(Work(chunk, tries=chunk.attempts), now_s)
        merging.fail(chunk, chunk.still_open(), error, facts)
        self._settle_if_done(chunk, now_s, commands)
