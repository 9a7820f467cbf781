"""Lambda's queue of asynchronous invocations: throttles hidden, errors re-run, age limited."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from .invocation import Invocation, Outcome
from .latency import Duration, draw
from .limits import EVENT_RETRY_DELAYS_S, EVENT_THROTTLE_DELAYS_S
from .messages import AwsError


@dataclass(slots=True)
class EventSettings:
    """How the queue behaves; a test may change it at any time. All before scaling of time.

    Attributes:
        retry_delays_s: Waits before the re-runs of an Event that ended in a function error.
        throttle_delays_s: First and longest back-off of a throttled Event.
        delivery_delay_s: How long every Event stays in the queue, or a distribution of it.
    """

    retry_delays_s: tuple[float, ...] = EVENT_RETRY_DELAYS_S
    throttle_delays_s: tuple[float, float] = EVENT_THROTTLE_DELAYS_S
    delivery_delay_s: Duration = 0.0


@dataclass(slots=True)
class Event:
    """An accepted asynchronous invocation, for tests to look at.

    Attributes:
        invocation: The invocation.
        status: `queued`, `running`, `done`, `failed` (all runs ended in errors), `expired` (too
            old) or `lost` (by a script).
        runs: How often the function ran.
        throttles: How often it was put back for want of concurrency.
        is_duplicate: Whether it is the second delivery that a script asked for.
        errors: The error bodies of its failed runs.
    """

    invocation: Invocation
    status: str = "queued"
    runs: int = 0
    throttles: int = 0
    is_duplicate: bool = False
    errors: list[bytes] = field(default_factory=list)


Runner = Callable[[Invocation], Awaitable[Outcome]]


class EventQueue:
    """Delivers Events, each in an asyncio task of its own.

    Attributes:
        settings: The delays.
        events: All Events ever accepted, in order.
    """

    def __init__(
        self, settings: EventSettings, run: Runner, time_scale: Callable[[], float]
    ) -> None:
        self.settings = settings
        self.events: list[Event] = []
        self._run = run
        self._time_scale = time_scale
        # Seeded: back-off with jitter, and yet the same in every run.
        self._random = random.Random(0)

    async def deliver(self, event: Event, delay_s: float = 0.0) -> None:
        """Run an Event until it succeeds, is out of attempts, or is too old.

        Args:
            event: The Event.
            delay_s: Wait before the first delivery, before scaling of time.
        """
        function = event.invocation.function
        loop = asyncio.get_running_loop()
        await self._sleep(delay_s + draw(self.settings.delivery_delay_s, self._random))
        accepted_at = loop.time()
        failures = 0
        while True:
            age_s = (loop.time() - accepted_at) / (self._time_scale() or 1.0)
            if age_s > function.max_event_age_s:
                event.status = "expired"
                return
            try:
                outcome = await self._run(event.invocation)
            except AwsError as exc:
                if exc.status != 429:
                    event.status = "failed"  # the function is gone
                    return
                await self._back_off(event)
                continue
            event.runs += 1
            if not outcome.error:
                event.status = "done"
                return
            event.errors.append(outcome.body)
            # A script kills one run, not the re-runs after it.
            event.invocation.kill_after_s = None
            if failures >= function.max_retries:
                event.status = "failed"
                return
            delays = self.settings.retry_delays_s
            await self._sleep(delays[min(failures, len(delays) - 1)])
            failures += 1

    async def _back_off(self, event: Event) -> None:
        first_s, longest_s = self.settings.throttle_delays_s
        delay_s = min(first_s * 2.0**event.throttles, longest_s)
        event.throttles = min(event.throttles + 1, 60)
        await self._sleep(delay_s * self._random.uniform(0.5, 1.0))

    async def _sleep(self, delay_s: float) -> None:
        if delay_s:
            await asyncio.sleep(delay_s * self._time_scale())
