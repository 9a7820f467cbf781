"""The scheduler under whatever can happen, in any order: every call ends once, and nobody waits."""

from __future__ import annotations

from array import array
from collections import Counter
from math import inf

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lambdafutures import BackupPolicy, RetryPolicy
from lambdafutures._engine.chunk import Attempt, CallOptions, Chunk, Function, indices_of
from lambdafutures._engine.commands import Abandon, Cancelled, Command, Send, Settle, Wake
from lambdafutures._engine.scheduler import Scheduler
from lambdafutures._packed_future import ChunkFuture
from lambdafutures._wire import outcome
from lambdafutures._wire.outcome import Entry, Fault, Outcome

FUNCTIONS = [Function(digit * 64, (b"",)) for digit in "01"]
BACKUP = BackupPolicy(done_share=0.3, slow_factor=1.5, least_s=0.1, most_share=1.0)
LIMIT = 4
DEADLINE_S = 20.0
SIZES_MB = {None: 1024, 1024: 2048, 2048: None}
FAULTS = [
    outcome.DIED,
    outcome.LOST,
    outcome.TIME,
    outcome.MEMORY,
    outcome.CUT,
    outcome.REFUSED,
    outcome.NOT_RUN,
    outcome.THROTTLED,
    outcome.BLOB_MISSING,
]
NOTHING_RAN = {outcome.NOT_RUN, outcome.THROTTLED, outcome.BLOB_MISSING}

PLAIN = [
    CallOptions(),
    CallOptions(RetryPolicy(attempts=1)),
    CallOptions(RetryPolicy(attempts=2, on_exceptions=(OSError,), backoff_s=0.0), memory_mb=2048),
    CallOptions(RetryPolicy(on_exceptions=(OSError,), backoff_s=1.0, total_s=30.0)),
    CallOptions(RetryPolicy(attempts=2, total_s=10.0), backup=BACKUP),
]
BACKED_UP = [
    CallOptions(backup=BACKUP),
    CallOptions(RetryPolicy(attempts=2, on_exceptions=(OSError,)), backup=BACKUP),
]


class AnyOrder(RuleBasedStateMachine):
    """Drive the scheduler as a session does, with a backend that does what it likes."""

    options = PLAIN

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.wake_s = inf
        self.scheduler = Scheduler(
            LIMIT, lambda: 0.5, deadline_s=DEADLINE_S, larger_mb=SIZES_MB.__getitem__
        )
        self.open: dict[int, Chunk] = {}
        self.in_flight: dict[tuple[int, int], Attempt] = {}
        self.over: list[Attempt] = []
        self.ended: set[int] = set()
        self.unwanted: set[int] = set()
        self.number = 0

    # ---------------------------------------------------------------- as the session does

    def take(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Send):
                self.send(command.attempt)
            elif isinstance(command, Settle | Cancelled):
                self.end(command.chunk, is_settled=isinstance(command, Settle))
            elif isinstance(command, Abandon):
                self.over.append(self.in_flight.pop((command.chunk, command.attempt)))
            elif isinstance(command, Wake):
                self.wake_s = min(self.wake_s, command.at_s)

    def send(self, attempt: Attempt) -> None:
        chunk = attempt.work.chunk
        assert chunk.number not in self.ended, "sent after its end"
        assert attempt.name not in self.in_flight
        if chunk.number in self.unwanted and not chunk.sent:
            self.ended.add(chunk.number)
            self.open.pop(chunk.number)
            self.take(self.scheduler.on_refused(attempt, self.now_s))
            return
        chunk.sent = True
        self.in_flight[attempt.name] = attempt

    def end(self, chunk: Chunk, *, is_settled: bool) -> None:
        assert chunk.number not in self.ended, "ended twice"
        self.ended.add(chunk.number)
        self.open.pop(chunk.number)
        if is_settled:
            told = [call for e in chunk.endings for call in range(e.first, e.first + e.count)]
            assert told == list(range(chunk.count)), "each call ends once"
            assert not any(each.work.chunk is chunk for each in self.in_flight.values())

    def tick(self) -> None:
        self.wake_s = inf
        self.take(self.scheduler.on_tick(self.now_s))

    # ---------------------------------------------------------------- what can happen

    @rule(
        counts=st.lists(st.integers(1, 6), min_size=1, max_size=4),
        which=st.integers(0, 100),
        function=st.sampled_from(FUNCTIONS),
    )
    def submit(self, counts: list[int], which: int, function: Function) -> None:
        chosen = self.options[which % len(self.options)]
        chunks = []
        for count in counts:
            future = ChunkFuture()
            chunk = Chunk(self.number, count, function, (b"",), False, future, 0.0, chosen)
            chunks.append(chunk)
            self.open[self.number] = chunk
            self.number += 1
        self.take(self.scheduler.on_submitted(chunks, self.now_s))

    @precondition(lambda self: self.in_flight)
    @rule(
        which=st.integers(0, 100),
        kind=st.sampled_from([None, None, "raised", "lacking", "not loaded", *FAULTS]),
        done=st.integers(0, 6),
        is_known=st.booleans(),
        is_first=st.booleans(),
        waited_s=st.none() | st.floats(0, 10),
    )
    def end_attempt(self, which, kind, done, is_known, is_first, waited_s) -> None:
        attempt = self.in_flight.pop(sorted(self.in_flight)[which % len(self.in_flight)])
        self.over.append(attempt)
        found = self.outcome(attempt, kind, done, is_known)
        found.is_first = is_first
        found.waited_s = waited_s
        self.take(self.scheduler.on_outcome(found, self.now_s))

    def outcome(self, attempt: Attempt, kind: str | None, done: int, is_known: bool) -> Outcome:
        calls = indices_of(attempt.work.calls or [(0, attempt.work.chunk.count)])
        done = {None: len(calls), "not loaded": 0}.get(kind, done)
        if kind == outcome.CUT:
            done = max(1, done)  # a worker that is cut has ended one call at least
        if kind in NOTHING_RAN:
            done = 0
        # Values of consecutive calls come in one entry.
        first, rest = calls[0], calls[done:]
        entries = []
        for call in calls[:done]:
            if entries and sum((entries[-1].first, entries[-1].count)) == call:
                entries[-1].count += 1
            else:
                entries.append(Entry(call, 1, outcome.OK, (b"",)))
        fault = None
        if kind == "raised":
            error = {"mro": ["builtins.OSError"], "message": "m", "type": "OSError"}
            entries += [Entry(call, 1, outcome.RAISED, (), error) for call in rest]
        elif kind == "not loaded":
            entries = [Entry(0, 0, outcome.NOT_LOADED, (), {"type": "T", "message": "m"})]
        elif kind in FAULTS and rest:
            running = rest[0] if is_known and kind not in NOTHING_RAN else None
            fault = Fault(kind, "happened", running, wait_s=2.0 if first % 2 else 0.0)
        run_s = array("f", [0.0] * sum(entry.count for entry in entries))
        return Outcome(*attempt.name, entries, run_s=run_s, fault=fault)

    @precondition(lambda self: self.over)
    @rule(which=st.integers(0, 100), kind=st.sampled_from([None, "raised", *FAULTS]))
    def come_late(self, which, kind) -> None:
        attempt = self.over[which % len(self.over)]
        chunk = attempt.work.chunk
        had = sum(not ending.failed for ending in chunk.endings)
        self.take(self.scheduler.on_outcome(self.outcome(attempt, kind, 0, False), self.now_s))
        assert sum(not ending.failed for ending in chunk.endings) == had, "taken too late"

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 100), is_noticed=st.booleans())
    def cancel(self, which, is_noticed) -> None:
        chunk = list(self.open.values())[which % len(self.open)]
        if is_noticed:
            self.take(self.scheduler.on_cancelled(chunk, self.now_s))
        else:  # only found out when it is to be sent
            self.unwanted.add(chunk.number)

    @rule(seconds=st.floats(0, 15))
    def pass_time(self, seconds) -> None:
        until_s = self.now_s + seconds
        while self.wake_s <= until_s:
            self.now_s = max(self.now_s, self.wake_s)
            self.tick()
        self.now_s = until_s

    @rule()
    def wake_for_nothing(self) -> None:
        self.tick()

    @rule()
    def cancel_waiting(self) -> None:
        self.take(self.scheduler.on_cancel_waiting(self.now_s))

    @rule(slots=st.integers(1, LIMIT))
    def change_slots(self, slots) -> None:
        if len(self.in_flight) <= slots:
            self.scheduler.max_in_flight = slots

    @rule()
    @precondition(lambda self: self.number > 15)
    def break_down(self) -> None:
        self.over += self.in_flight.values()
        self.in_flight.clear()
        self.take(self.scheduler.on_broken(RuntimeError("gone"), self.now_s))
        assert not self.open

    # ---------------------------------------------------------------- what always holds

    @invariant()
    def limits_are_respected(self) -> None:
        assert len(self.in_flight) == self.scheduler.attempts_in_flight
        assert len(self.in_flight) <= self.scheduler.max_in_flight <= LIMIT
        assert self.scheduler.open_chunks == len(self.open)

    @invariant()
    def a_call_has_one_backup_at_the_most(self) -> None:
        tried: Counter[tuple[int, int]] = Counter()
        for attempt in self.in_flight.values():
            work = attempt.work
            for call in indices_of(work.calls or [(0, work.chunk.count)]):
                tried[work.chunk.number, call] += 1
            most = 1 if work.chunk.options.backup is None else 2
            assert len(work.attempts) <= most
        assert max(tried.values(), default=0) <= 2

    def teardown(self) -> None:
        """Whatever happened, what is open comes to an end, if it is but woken when it asked."""
        for _ in range(10_000):
            if self.in_flight:
                attempt = self.in_flight.pop(min(self.in_flight))
                found = self.outcome(attempt, None, 0, False)
                self.take(self.scheduler.on_outcome(found, self.now_s))
            elif self.open:
                assert self.wake_s < inf, "waits for nothing"
                self.now_s = max(self.now_s, self.wake_s)
                self.tick()
        assert not self.open
        assert self.scheduler.is_idle
        self.now_s += 1000.0
        assert self.scheduler.on_tick(self.now_s) == [], "something is left to do after the end"


class WithBackups(AnyOrder):
    """The same where every call may be backed up."""

    options = BACKED_UP

    def __init__(self) -> None:
        super().__init__()
        # A job of which three attempts have told how long calls take, and others are under way.
        self.submit([1, 1, 1, 6, 6, 6], 0, FUNCTIONS[0])
        self.now_s = 0.05
        for _ in range(3):
            self.end_attempt(0, None, 0, False, False, None)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestWithBackups = WithBackups.TestCase
TestWithBackups.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
