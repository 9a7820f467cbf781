"""Lambda's queue of Events, simulated on a manual clock: what is throttled waits where nobody sees.

The scheduler is the real one. What has no room is tried again by the queue after a second, then
two, up to five minutes, as Lambda does; nobody tells the client.
"""

from __future__ import annotations

import heapq
import itertools
import random
from array import array
from collections.abc import Callable

from lambdafutures._engine.chunk import Attempt, CallOptions, Chunk, Function
from lambdafutures._engine.commands import Command, Send, Settle, Wake
from lambdafutures._engine.scheduler import Scheduler
from lambdafutures._packed_future import ChunkFuture
from lambdafutures._wire import outcome
from lambdafutures._wire.outcome import Entry, Outcome

FUNCTION = Function("0" * 64, (b"",))
DELIVERY_S = 0.03
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 1.0, 300.0


class HiddenQueue:
    """Run calls of one attempt each through the scheduler and a queue with few environments.

    Args:
        capacity: Environments at once; it may be changed while calls run.
        ran_s: Draws how long a call runs, in seconds.
        max_in_flight: The scheduler's ceiling.
        cold_s: What the start of an environment takes.
        skew_s: How far the environments' clocks are ahead of the client's.
    """

    def __init__(
        self,
        capacity: int,
        ran_s: Callable[[random.Random], float],
        max_in_flight: int,
        cold_s: float = 2.0,
        skew_s: float = 0.0,
    ) -> None:
        self.capacity = capacity
        self.skew_s = skew_s
        self.is_told = True
        self.deliver_s: Callable[[random.Random], float] = lambda _: DELIVERY_S
        self.now_s = 0.0
        self.settled = 0
        self.throttles = 0
        self.in_flight: list[tuple[float, int]] = []
        """When the number of attempts under way changed, and to what."""
        self._ran_s = ran_s
        self._cold_s = cold_s
        self._random = random.Random(0)
        self._running = 0
        self._warm = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._numbers = itertools.count()
        self.scheduler = Scheduler(max_in_flight, self._random.random)

    def run(self, calls: int) -> float:
        """Run calls and return how long that took, in seconds."""
        began_s = self.now_s
        chunks = [
            Chunk(
                next(self._numbers), 1, FUNCTION, (b"",), False, ChunkFuture(), 0.0, CallOptions()
            )
            for _ in range(calls)
        ]
        wanted = self.settled + calls
        self._take(self.scheduler.on_submitted(chunks, self.now_s))
        while self.settled < wanted:
            self.now_s, _, happen = heapq.heappop(self._events)
            happen()
        return self.now_s - began_s

    def mean_in_flight(self, since_s: float) -> float:
        """Return how many attempts were under way on average, from some time until the end."""
        area, before_s, before = 0.0, since_s, 0
        for at_s, number in [*self.in_flight, (self.now_s, 0)]:
            area += before * max(0.0, at_s - before_s)
            before_s, before = max(at_s, since_s), number
        return area / (self.now_s - since_s)

    def _take(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Send):
                deliver_s = self.deliver_s(self._random)
                self._later(deliver_s, self._arrival(command.attempt, self.now_s, 0))
            elif isinstance(command, Settle):
                assert not any(ending.failed for ending in command.chunk.endings)
                self.settled += 1
            elif isinstance(command, Wake):
                self._later(command.at_s - self.now_s, self._tick)
        self.in_flight.append((self.now_s, self.scheduler.attempts_in_flight))

    def _tick(self) -> None:
        self._take(self.scheduler.on_tick(self.now_s))

    def _arrival(self, attempt: Attempt, sent_s: float, throttles: int) -> Callable[[], None]:
        def arrive() -> None:
            if self._running >= self.capacity:
                self.throttles += 1
                bound_s = min(LONGEST_BACK_OFF_S, FIRST_BACK_OFF_S * 2.0**throttles)
                wait_s = bound_s * self._random.uniform(0.5, 1.0)
                self._later(wait_s, self._arrival(attempt, sent_s, throttles + 1))
                return
            self._running += 1
            is_first = self._running > self._warm
            if is_first:
                self._warm = self._running
            start_s = self._cold_s if is_first else 0.0
            received_s = self.now_s + start_s
            ran_s = self._ran_s(self._random)
            answer = Outcome(
                attempt.work.chunk.number,
                attempt.number,
                [Entry(0, 1, outcome.OK, (b"",))],
                received_s=received_s + self.skew_s,
                run_s=array("f", [ran_s]),
                is_first=is_first,
            )
            answer.waited_s = received_s + self.skew_s - sent_s if self.is_told else None
            self._later(start_s + ran_s, lambda: self._end(answer))

        return arrive

    def _end(self, answer: Outcome) -> None:
        self._running -= 1
        # Found by the next look.
        poll_s = self._random.uniform(0.0, max(0.1, 0.05 * answer.ran_s))
        self._later(poll_s, lambda: self._take(self.scheduler.on_outcome(answer, self.now_s)))

    def _later(self, seconds: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_s + max(0.0, seconds), next(self._count), happen))
