"""Backups: a straggler is sent once more, and whichever ends first counts."""

from __future__ import annotations

import heapq
import itertools
import threading
from array import array
from collections.abc import Callable, Sequence

import pytest

from lambdafutures import BackupPolicy, LambdaPoolExecutor, RetryPolicy
from lambdafutures._engine.chunk import Attempt, CallOptions, Chunk, Function, Work, indices_of
from lambdafutures._engine.commands import Abandon, Command, Send, Settle, Wake
from lambdafutures._engine.scheduler import Scheduler
from lambdafutures._packed_future import ChunkFuture
from lambdafutures._wire import codec, outcome
from lambdafutures._wire.outcome import Entry, Fault, Outcome
from tests import calls
from tests.conftest import wait_until

FUNCTION = Function("0" * 64, (b"",))
POLICY = BackupPolicy()
HALF = BackupPolicy(done_share=0.5)


def chunks_of(sizes: Sequence[int], options: CallOptions) -> list[Chunk]:
    """Return chunks of so many calls each."""
    return [
        Chunk(number, size, FUNCTION, (b"",), False, ChunkFuture(), 0.0, options)
        for number, size in enumerate(sizes)
    ]


class Clockwork:
    """Run chunks through the scheduler on a manual clock.

    Args:
        workers: How many run at once.
        takes_s: Tells how long an attempt at a chunk takes, by the numbers of both.
        policy: When backups are sent; None for never.
    """

    def __init__(
        self,
        workers: int,
        takes_s: Callable[[int, int], float],
        policy: BackupPolicy | None = POLICY,
    ) -> None:
        self.scheduler = Scheduler(workers, lambda: 0.5)
        self.now_s = 0.0
        self.settled: list[Chunk] = []
        self.attempts: list[Attempt] = []
        self.abandoned: list[tuple[int, int]] = []
        self._takes_s = takes_s
        self._policy = policy
        self._count = itertools.count()
        self._events: list[tuple[float, int, Callable[[], list[Command]]]] = []

    def run(self, sizes: list[int]) -> float:
        """Run chunks of these sizes; return how long that took."""
        chunks = chunks_of(sizes, CallOptions(backup=self._policy))
        self._take(self.scheduler.on_submitted(chunks, 0.0))
        while len(self.settled) < len(chunks):
            self.now_s, _, happen = heapq.heappop(self._events)
            self._take(happen())
        return self.now_s

    def _take(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Send):
                attempt = command.attempt
                self.attempts.append(attempt)
                after_s = self._takes_s(*attempt.name)
                self._later(self.now_s + after_s, lambda a=attempt: self._answer(a))
            elif isinstance(command, Settle):
                self.settled.append(command.chunk)
            elif isinstance(command, Abandon):
                self.abandoned.append((command.chunk, command.attempt))
            elif isinstance(command, Wake):
                self._later(command.at_s, lambda: self.scheduler.on_tick(self.now_s))

    def _answer(self, attempt: Attempt) -> list[Command]:
        count = attempt.work.chunk.count
        answer = Outcome(
            *attempt.name,
            [Entry(0, count, outcome.OK, (b"",))],
            run_s=array("f", [0.0] * count),
        )
        return self.scheduler.on_outcome(answer, self.now_s)

    def _later(self, at_s: float, happen: Callable[[], list[Command]]) -> None:
        heapq.heappush(self._events, (at_s, next(self._count), happen))


def straggler(number: int) -> Callable[[int, int], float]:
    """Let calls take 0.1 s, but the first attempt at one of them 60 s."""
    return lambda chunk, attempt: 60.0 if (chunk, attempt) == (number, 1) else 0.1


@pytest.mark.parametrize("number", [0, 100, 180, 199])
def test_a_straggler_holds_up_nobody(number):
    clockwork = Clockwork(20, straggler(number))
    assert clockwork.run([1] * 200) < 2.0
    assert clockwork.abandoned == [(number, 1)]
    assert clockwork.scheduler.backups == 1
    assert len(clockwork.attempts) == 201
    assert Clockwork(20, straggler(number), None).run([1] * 200) >= 60.0


def test_a_backup_that_is_slower_is_abandoned():
    clockwork = Clockwork(
        20, lambda chunk, attempt: (2.0 if attempt == 1 else 60.0) if chunk == 7 else 0.1
    )
    assert clockwork.run([1] * 100) == pytest.approx(2.0)
    assert clockwork.abandoned == [(7, 2)]


def test_chunks_are_slow_for_their_size():
    # Twenty calls take twenty times as long as one; none of these is a straggler.
    clockwork = Clockwork(10, lambda chunk, attempt: 2.0 if chunk % 2 else 0.1)
    clockwork.run([20 if chunk % 2 else 1 for chunk in range(100)])
    assert clockwork.scheduler.backups == 0


def test_backups_are_few():
    clockwork = Clockwork(60, lambda chunk, attempt: 0.1 if chunk < 150 else 5.0)
    clockwork.run([1] * 200)
    assert 0 < clockwork.scheduler.backups <= 20


def test_backups_wait_until_most_is_done_and_nothing_else_is_to_be_sent():
    clockwork = Clockwork(20, straggler(0), BackupPolicy(done_share=0.9))
    clockwork.run([1] * 400)
    backup = next(attempt for attempt in clockwork.attempts if attempt.name == (0, 2))
    assert backup.sent_s >= 0.9 * 400 / 20 * 0.1 - 0.1
    assert clockwork.attempts.index(backup) == 400


def test_nothing_is_backed_up_where_there_is_no_room():
    clockwork = Clockwork(1, straggler(99))
    assert clockwork.run([1] * 100) >= 60.0
    assert clockwork.scheduler.backups == 0


@pytest.mark.parametrize("bad", [{"done_share": 0}, {"slow_factor": 1}, {"most_share": 0}])
def test_a_policy_is_checked(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        BackupPolicy(**bad)


# -------------------------------------------------------------------- what both leave


def sends(commands: list[Command]) -> list[Attempt]:
    return [command.attempt for command in commands if isinstance(command, Send)]


def with_backup() -> tuple[Scheduler, Attempt, Attempt, float]:
    """Return a scheduler, an attempt at six calls that is slow, and its backup."""
    scheduler = Scheduler(10, lambda: 0.5)
    chunks = chunks_of([6] * 8, CallOptions(backup=HALF))
    first, *others = sends(scheduler.on_submitted(chunks, 0.0))
    for attempt in others:
        scheduler.on_outcome(values(attempt, range(6)), 0.1)
    (backup,) = sends(scheduler.on_tick(2.0))
    assert backup.work is first.work
    return scheduler, first, backup, 2.5


def values(attempt: Attempt, which: range, fault: Fault | None = None) -> Outcome:
    """Return an outcome whose values tell call and attempt."""
    told = [(call, attempt.number) for call in which]
    entries = [Entry(which.start, len(which), outcome.OK, codec.dumps(told).parts)] if told else []
    return Outcome(*attempt.name, entries, run_s=array("f", [0.0] * len(told)), fault=fault)


def results(chunk: Chunk) -> list[object]:
    return [value for ending in chunk.endings for value in ending.unpack()[0]]


def test_calls_that_one_has_ended_are_not_taken_from_the_other():
    scheduler, first, backup, now_s = with_backup()
    died = Fault(outcome.DIED, "died", 2)
    assert sends(scheduler.on_outcome(values(first, range(2), died), now_s)) == []
    commands = scheduler.on_outcome(values(backup, range(6)), now_s)
    assert [command.chunk for command in commands if isinstance(command, Settle)]
    expected = [(call, 1 if call < 2 else 2) for call in range(6)]
    assert results(first.work.chunk) == expected


def test_a_work_is_judged_when_its_last_attempt_has_ended():
    scheduler, first, backup, now_s = with_backup()
    died = Fault(outcome.DIED, "died", 0)
    assert sends(scheduler.on_outcome(values(backup, range(0), died), now_s)) == []
    (again, rest) = sends(scheduler.on_outcome(values(first, range(0), died), now_s))
    assert sorted(map(len, [indices_of(each.work.calls) for each in (again, rest)])) == [1, 5]
    struck = next(each for each in (again, rest) if each.work.calls == [(0, 1)])
    assert struck.work.strikes == 2


def test_a_try_that_began_in_time_is_not_given_up_when_it_is_too_late_for_a_backup():
    scheduler = Scheduler(10, lambda: 0.0)
    chunks = chunks_of([1] * 8, CallOptions(RetryPolicy(total_s=5.0), backup=HALF))
    first, *others = sends(scheduler.on_submitted(chunks, 0.0))
    for attempt in others:
        scheduler.on_outcome(values(attempt, range(1)), 1.0)
    died = Fault(outcome.DIED, "died", 0)
    (second,) = sends(scheduler.on_outcome(values(first, range(0), died), 4.9))
    for tenth in range(50, 200):
        assert not sends(scheduler.on_tick(tenth / 10))
    scheduler.on_outcome(values(second, range(1)), 20.0)
    assert results(first.work.chunk) == [(0, 2)]
    assert scheduler.backups == 0


def test_what_comes_with_its_backup_from_an_earlier_client_gets_no_other():
    scheduler = Scheduler(10, lambda: 0.0)
    chunks = chunks_of([1] * 8, CallOptions(backup=HALF))
    work = Work(chunks[7], tries=2)
    chunks[7].sent, chunks[7].attempts = True, 2
    awaited = [Attempt(work, number, 0.0) for number in (1, 2)]
    scheduler.on_restored(chunks[7], [], awaited, [], 0.0)
    for attempt in sends(scheduler.on_submitted(chunks[:7], 0.0)):
        scheduler.on_outcome(values(attempt, range(1)), 0.1)
    assert not [each for tenth in range(2, 100) for each in sends(scheduler.on_tick(tenth / 10))]


def test_how_long_nobody_was_there_says_nothing_of_what_is_usual():
    scheduler = Scheduler(10, lambda: 0.0)
    chunks = chunks_of([1] * 9, CallOptions(backup=HALF))
    (slow, *others) = sends(scheduler.on_submitted(chunks[5:], 0.0))
    for chunk in chunks[:5]:  # sent an hour ago
        chunk.sent, chunk.attempts = True, 1
        old = Attempt(Work(chunk, tries=1), 1, -3600.0)
        scheduler.on_restored(chunk, [(old, values(old, range(1)))], [], [], 0.0)
    for attempt in others:
        scheduler.on_outcome(values(attempt, range(1)), 0.1)
    (backup,) = [each for tenth in range(2, 50) for each in sends(scheduler.on_tick(tenth / 10))]
    assert backup.work is slow.work


# -------------------------------------------------------------------- for real


def test_a_straggler_of_this_machine_is_ended_and_its_backup_counts(tmp_path, nothing_left):
    done: list[object] = []
    with LambdaPoolExecutor(3, backend="local", backup=BackupPolicy(least_s=0.3)) as ex:
        futures = [
            ex.submit(calls.wait_the_first_time, str(tmp_path), x, 5, str(tmp_path / "go"))
            for x in range(30)
        ]
        for future in futures:
            future.add_done_callback(done.append)
        assert [future.result(20) for future in futures] == list(range(30))
        assert futures[5].attempts == 2
        assert ex.statistics().backups == 1
        # What was abandoned is ended here: its worker is another one.
        wait_until(lambda: ex.statistics().workers_alive <= 3)
        assert ex.submit(calls.identity, 1).result(20) == 1
    assert len(done) == 30
    assert calls.runs(tmp_path, 5) == 2
    assert not [thread for thread in threading.enumerate() if "lambdafutures" in thread.name]
