"""What to send when, and what each report means. Pure: events in, commands out, time passed in.

Every chunk ends exactly once, with `Settle` or `Cancelled`; nothing is sent after that, nor more
than `max_in_flight` attempts at once.
"""

from __future__ import annotations

import copy
import heapq
from collections import deque
from collections.abc import Callable, Iterable

from lambdafutures._endings import AttemptFacts, Ending
from lambdafutures._engine import retrying
from lambdafutures._engine.chunk import Attempt, Chunk, Work, indices_of
from lambdafutures._engine.commands import Abandon, Cancelled, Command, Send, Settle, Wake
from lambdafutures._engine.concurrency import Concurrency
from lambdafutures._wire import outcome
from lambdafutures._wire.outcome import Entry, Fault, Outcome

# When every attempt is refused for this long there is no room for any: the function's reserved
# concurrency is 0, or calls that wait for calls hold it all. Lambda refills its rates every second
# and starts 1,000 sandboxes in 10 s, so mere overload passes sooner.
NO_PROGRESS_S = 120.0


class Scheduler:
    """Decide. Each method takes an event and returns the commands that follow from it.

    Args:
        max_in_flight: Attempts under way at once.
        jitter: Gives a number from 0 to 1; random in earnest, scripted in tests.
        epoch_s: What to add to the clock's readings for seconds since the epoch.
        deadline_s: Seconds after which an attempt counts as lost, its queueing included; None if
            the backend notices every loss by itself.
        patience_s: Seconds without any progress after which everything fails.
    """

    def __init__(
        self,
        max_in_flight: int,
        jitter: Callable[[], float],
        epoch_s: float = 0.0,
        deadline_s: float | None = None,
        patience_s: float = NO_PROGRESS_S,
    ) -> None:
        self._concurrency = Concurrency(max_in_flight)
        self._deadline_s = deadline_s
        # By name: to hold attempts here would keep the results of all that have long ended.
        self._deadlines: deque[tuple[float, tuple[int, int]]] = deque()
        self._patience_s = patience_s
        self._throttled_since_s: float | None = None
        self._jitter = jitter
        self._epoch_s = epoch_s
        self._waiting: deque[Work] = deque()
        self._delayed: list[tuple[float, int, Work]] = []
        self._delays = 0
        self._in_flight: dict[tuple[int, int], Attempt] = {}
        self._open: dict[int, Chunk] = {}
        self._broken: BaseException | None = None
        self.retries = 0

    @property
    def max_in_flight(self) -> int:
        """The most attempts that are ever under way at once."""
        return self._concurrency.ceiling

    @max_in_flight.setter
    def max_in_flight(self, ceiling: int) -> None:
        if ceiling != self._concurrency.ceiling:
            self._concurrency = Concurrency(ceiling)

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

    def on_submitted(self, chunks: Iterable[Chunk], now_s: float) -> list[Command]:
        """Take new chunks.

        Args:
            chunks: In the order in which they are to be sent.
            now_s: The time.
        """
        commands: list[Command] = []
        for chunk in chunks:
            self._open[chunk.number] = chunk
            if self._broken is not None:
                self._fail(chunk, self._broken, now_s, commands)
            else:
                self._waiting.append(Work(chunk))
        return self._fill(commands, now_s)

    def on_cancelled(self, chunk: Chunk, now_s: float) -> list[Command]:
        """Drop a chunk whose future was cancelled.

        Args:
            chunk: The chunk; ignored if it has been sent or has ended.
            now_s: The time.
        """
        if chunk.sent or self._open.pop(chunk.number, None) is None:
            return []
        # Its work stays in the queue until its turn, then it is skipped: that is cheaper than to
        # search for it, and the chunk holds nothing any more.
        chunk.release()
        return [Cancelled(chunk)]

    def on_refused(self, attempt: Attempt, now_s: float) -> list[Command]:
        """Drop a chunk whose future turned out to be cancelled when it was to be sent.

        Args:
            attempt: The attempt that was not sent.
            now_s: The time.
        """
        chunk = attempt.work.chunk
        self._in_flight.pop((chunk.number, attempt.number), None)
        self._open.pop(chunk.number, None)
        chunk.release()
        return self._fill([], now_s)

    def on_outcome(self, answer: Outcome, now_s: float) -> list[Command]:
        """Take what became of an attempt; one that is not under way is of no interest any more.

        Args:
            answer: The outcome.
            now_s: The time.
        """
        attempt = self._in_flight.pop((answer.chunk, answer.attempt), None)
        commands: list[Command] = []
        if answer.fault is None or answer.fault.kind != outcome.THROTTLED:
            self._throttled_since_s = None
            # Of one that was lost nobody knows whether there was room for it.
            if answer.fault is None or answer.fault.kind != outcome.LOST:
                self._concurrency.on_success()
        elif attempt is not None and self._is_stuck(attempt, answer.fault, now_s):
            return self.on_broken(_stuck(self._patience_s, answer.fault), now_s)
        if attempt is not None and attempt.work.chunk.number in self._open:
            self._take(attempt, answer, now_s, commands)
        return self._fill(commands, now_s)

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
        if self._deadline_s is not None:
            self._end_overdue(self._deadline_s, commands, now_s)
        return self._fill(commands, now_s)

    # ---------------------------------------------------------------- sending

    def _fill(self, commands: list[Command], now_s: float) -> list[Command]:
        if self._delayed:
            self._wake_delayed(commands, now_s)
        waiting = self._waiting
        allowed = self._concurrency.allowed(now_s)
        if waiting and not allowed:
            commands.append(Wake(self._concurrency.held_until_s))
        while waiting and len(self._in_flight) < allowed:
            work = waiting.popleft()
            chunk = work.chunk
            if chunk.number not in self._open:
                continue  # cancelled, or ended by another attempt
            chunk.attempts += 1
            work.tries += 1
            attempt = Attempt(work, chunk.attempts, now_s)
            self._in_flight[chunk.number, chunk.attempts] = attempt
            commands.append(Send(attempt))
            if self._deadline_s is not None:
                self._drop_ended()
                if not self._deadlines:
                    commands.append(Wake(now_s + self._deadline_s))
                self._deadlines.append((now_s, (chunk.number, chunk.attempts)))
        return commands

    def _drop_ended(self) -> None:
        while self._deadlines and self._deadlines[0][1] not in self._in_flight:
            self._deadlines.popleft()

    def _end_overdue(self, deadline_s: float, commands: list[Command], now_s: float) -> None:
        """Count attempts as lost whose time is over."""
        overdue = self._deadlines
        while overdue and overdue[0][0] + deadline_s <= now_s:
            _, name = overdue.popleft()
            attempt = self._in_flight.pop(name, None)
            if attempt is not None:
                commands.append(Abandon(*name))
                message = f"gave no sign of life within {deadline_s:g} s of being sent"
                self._take(
                    attempt, Outcome(*name, fault=Fault(outcome.LOST, message)), now_s, commands
                )
        self._drop_ended()
        if overdue:
            commands.append(Wake(overdue[0][0] + deadline_s))

    def _is_stuck(self, attempt: Attempt, fault: Fault, now_s: float) -> bool:
        """Take note of a throttle; tell whether there has been nothing else for too long."""
        self._concurrency.on_throttled(len(self._in_flight), fault.wait_s, attempt.sent_s, now_s)
        if self._in_flight:
            self._throttled_since_s = None
        elif self._throttled_since_s is None:
            self._throttled_since_s = now_s
        since_s = self._throttled_since_s
        return since_s is not None and now_s - since_s >= self._patience_s

    def _wake_delayed(self, commands: list[Command], now_s: float) -> None:
        while self._delayed and self._delayed[0][0] <= now_s:
            self._waiting.appendleft(heapq.heappop(self._delayed)[2])
        if self._delayed:
            commands.append(Wake(self._delayed[0][0]))

    def _again(self, work: Work, wait_s: float, now_s: float) -> None:
        self.retries += 1
        if wait_s > 0:
            self._delays += 1
            heapq.heappush(self._delayed, (now_s + wait_s, self._delays, work))
        else:
            self._waiting.appendleft(work)

    # ---------------------------------------------------------------- outcomes

    def _take(
        self, attempt: Attempt, answer: Outcome, now_s: float, commands: list[Command]
    ) -> None:
        work = attempt.work
        chunk = work.chunk
        facts = self._facts(work, attempt.sent_s, now_s)
        facts.received_s = answer.received_s
        facts.setup_s = answer.setup_s
        facts.packing_s = answer.packing_s
        facts.peak_memory_bytes = answer.peak_memory_bytes
        facts.output = answer.output or None
        retry = chunk.options.retry
        retried: list[int] = []
        position = 0
        for entry in answer.entries:
            if entry.status == outcome.NOT_LOADED:
                self._end_not_loaded(work, entry, facts)
                continue
            run_s = answer.run_s[position : position + entry.count]
            position += entry.count
            if retrying.should_retry_entry(retry, work, entry):
                retried.append(entry.first)
            else:
                self._end(chunk, Ending(entry, facts, run_s))
        for call in retried:
            wait_s = retrying.backoff_s(retry, work.tries, self._jitter)
            self._again(Work(chunk, [(call, 1)], work.tries, work.strikes), wait_s, now_s)
        fault = answer.fault or _lacking(work, answer)
        if fault is not None:
            self._judge(work, fault, retried, facts, now_s)
        if chunk.is_done:
            self._settle(chunk, commands)

    def _judge(
        self,
        work: Work,
        fault: Fault,
        retried: list[int],
        facts: AttemptFacts,
        now_s: float,
    ) -> None:
        chunk = work.chunk
        tried = indices_of(work.calls or [(0, chunk.count)])
        unfinished = [
            call
            for call in tried
            if (chunk.open_calls is None or call in chunk.open_calls) and call not in retried
        ]
        verdict = retrying.judge(work, unfinished, fault, self._jitter)
        for again, wait_s in verdict.again:
            self._again(again, wait_s, now_s)
        for ranges, error in verdict.failed:
            for first, count in ranges:
                entry = Entry(first, count, outcome.RAISED, ())
                self._end(chunk, Ending(entry, facts, error=error))

    def _end_not_loaded(self, work: Work, entry: Entry, facts: AttemptFacts) -> None:
        """End all calls of a work: nobody could read their function or arguments."""
        for first, count in work.calls or [(0, work.chunk.count)]:
            ended = Entry(first, count, entry.status, entry.parts, entry.error)
            self._end(work.chunk, Ending(ended, facts))

    def _end(self, chunk: Chunk, ending: Ending) -> None:
        """Keep the ending of calls that had none: of several, the first one counts."""
        if chunk.open_calls is None:
            if ending.count == chunk.count:
                chunk.open_calls = set()
                chunk.endings.append(ending)
                return
            chunk.open_calls = set(range(chunk.count))
        calls = range(ending.first, ending.first + ending.count)
        if chunk.open_calls.issuperset(calls):
            chunk.open_calls.difference_update(calls)
            chunk.endings.append(ending)

    def _facts(self, work: Work, sent_s: float, now_s: float) -> AttemptFacts:
        epoch_s = self._epoch_s
        return AttemptFacts(work.tries, work.chunk.submitted_s, sent_s + epoch_s, now_s + epoch_s)

    def _settle(self, chunk: Chunk, commands: list[Command]) -> None:
        if len(chunk.endings) > 1:
            chunk.endings.sort(key=lambda ending: ending.first)
        del self._open[chunk.number]
        commands.append(Settle(chunk))

    def _fail(
        self, chunk: Chunk, error: BaseException, now_s: float, commands: list[Command]
    ) -> None:
        facts = self._facts(Work(chunk, tries=chunk.attempts), now_s, now_s)
        for first, count in chunk.still_open():
            entry = Entry(first, count, outcome.RAISED, ())
            # A copy for each: what is raised in several places must not share a traceback.
            self._end(chunk, Ending(entry, facts, error=copy.copy(error)))
        self._settle(chunk, commands)


def _lacking(work: Work, answer: Outcome) -> Fault | None:
    """Return a fault for an outcome that does not tell of all its calls: none may wait for ever."""
    told = 0
    for entry in answer.entries:
        if entry.status == outcome.NOT_LOADED:
            return None
        told += entry.count
    asked = work.chunk.count if work.calls is None else sum(count for _, count in work.calls)
    if told >= asked:
        return None
    return Fault(outcome.LOST, f"are missing from an outcome that tells of {told} of {asked} calls")


def _stuck(patience_s: float, fault: Fault) -> BaseException:
    from lambdafutures.exceptions import BackendError

    return BackendError(
        f"the backend has accepted nothing for {patience_s:g} s ({fault.message}): the function's "
        "reserved concurrency may be 0, or calls that wait for other calls hold it all; see "
        "`lambdafutures doctor`"
    )
