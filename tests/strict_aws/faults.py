"""Faults, scripted per test: which requests they hit, and what they do to them.

    aws.script.on("PutObject", key="*/out/*", nth=3).status(503, "SlowDown")
    aws.script.on("Invoke", invocation_type="Event", rate=0.03, seed=7).lose_event()

A rule counts the requests it matches, in the order of their arrival, and picks some of them: by
number, by rate with a seeded source, or all. So which requests of a rule are hit is the same in
every run, though which of several concurrent calls sends them may differ.
"""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from .http_server import Cut
from .latency import Duration, draw
from .messages import AwsError
from .record import Record
from .scaling import throttle_error

_DEFAULT_CODES = {
    ("s3", 500): ("InternalError", "We encountered an internal error. Please try again."),
    ("s3", 503): ("SlowDown", "Please reduce your request rate."),
    ("s3", 409): (
        "ConditionalRequestConflict",
        "The conditional request cannot succeed due to a conflicting operation against this "
        "resource.",
    ),
    ("lambda", 500): ("ServiceException", "The service encountered an internal error."),
    ("lambda", 502): ("EC2UnexpectedException", "Unexpected error while processing the request."),
    ("lambda", 503): ("ServiceUnavailableException", "Service unavailable, try again later."),
    ("lambda", 409): ("ResourceConflictException", "The resource is being updated."),
    ("sts", 503): ("ServiceUnavailable", "Service unavailable."),
}


@dataclass(slots=True)
class Effects:
    """What the rules that hit a request do to it, together.

    Attributes:
        delay_s: Wait before it is applied, before scaling of time.
        late_s: Wait before the answer, after it was applied, before scaling of time.
        error: Answered instead of applying it.
        is_reset: Whether the connection is cut before it is applied.
        cut: How the answer is withheld after it was applied.
        loses_event: Whether an accepted Event never runs.
        duplicate_after_s: When an Event runs once more; None for never.
        event_delay_s: How long an accepted Event stays in the queue, before scaling of time.
        kill_after_s: When the runtime that serves it is killed; None for never.
        kills_children: Whether only the runtime's children are killed.
        names: What was done, for the request log.
    """

    delay_s: float = 0.0
    late_s: float = 0.0
    error: AwsError | None = None
    is_reset: bool = False
    cut: Cut | None = None
    loses_event: bool = False
    duplicate_after_s: float | None = None
    event_delay_s: float = 0.0
    kill_after_s: float | None = None
    kills_children: bool = False
    names: list[str] = field(default_factory=list)


Action = Callable[[Effects, Record, random.Random], None]


class Rule:
    """One line of a script: a condition, and the fault it brings.

    Attributes:
        matched: Requests that met the condition.
        fired: Requests that were hit.
    """

    def __init__(self, script: "Script", matches: Callable[[Record], bool], pick: "Pick") -> None:
        self._script = script
        self._matches = matches
        self._pick = pick
        self._action: Action | None = None
        self._name = ""
        self.matched = 0
        self.fired = 0

    def apply(self, record: Record, effects: Effects) -> None:
        """Count a request and, if it is picked, add the fault.

        Args:
            record: The request.
            effects: What happens to it, added to.
        """
        if self._action is None or not self._matches(record):
            return
        self.matched += 1
        if self._pick.is_picked(self.matched, self.fired):
            self.fired += 1
            effects.names.append(self._name)
            self._action(effects, record, self._pick.source)

    def remove(self) -> None:
        """Take the rule out of the script."""
        self._script.rules.remove(self)

    # -- what happens ------------------------------------------------------------------------

    def status(self, status: int, code: str = "", message: str = "") -> "Rule":
        """Answer with an error instead of applying the request.

        Args:
            status: The HTTP status.
            code: AWS's error code; by default the usual one of the service and status.
            message: AWS's message.
        """

        def act(effects: Effects, record: Record, _: random.Random) -> None:
            name, text = _DEFAULT_CODES.get((record.service, status), ("InternalError", "Fault"))
            effects.error = AwsError(status, code or name, message or text)

        return self._does("status", act)

    def throttle(
        self, retry_after: float = 1, reason: str = "ConcurrentInvocationLimitExceeded"
    ) -> "Rule":
        """Answer 429 (Lambda) or 503 SlowDown (S3) with a `Retry-After`.

        Args:
            retry_after: Seconds that the header names.
            reason: Lambda's ThrottleReason.
        """

        def act(effects: Effects, record: Record, _: random.Random) -> None:
            if record.service == "lambda":
                effects.error = throttle_error(reason, retry_after)
            else:
                code, message = _DEFAULT_CODES["s3", 503]
                headers = {"Retry-After": f"{retry_after:g}"}
                effects.error = AwsError(503, code, message, headers=headers)

        return self._does("throttle", act)

    def reset(self) -> "Rule":
        """Reset the connection; the request is not applied."""

        def act(effects: Effects, _: Record, __: random.Random) -> None:
            effects.is_reset = True

        return self._does("reset", act)

    def lose_response(self) -> "Rule":
        """Apply the request, then reset the connection without an answer."""

        def act(effects: Effects, _: Record, __: random.Random) -> None:
            effects.cut = Cut(None)

        return self._does("lose_response", act)

    def cut_response(self, after_bytes: int = 0) -> "Rule":
        """Apply the request, then end the connection within the answer's body.

        Args:
            after_bytes: Bytes of the body that are sent.
        """

        def act(effects: Effects, _: Record, __: random.Random) -> None:
            effects.cut = Cut(after_bytes)

        return self._does("cut_response", act)

    def delay(self, duration: Duration) -> "Rule":
        """Apply the request later.

        Args:
            duration: Seconds, or a distribution of them, before scaling of time.
        """

        def act(effects: Effects, _: Record, source: random.Random) -> None:
            effects.delay_s += draw(duration, source)

        return self._does("delay", act)

    def delay_response(self, duration: Duration) -> "Rule":
        """Apply the request at once and answer later.

        Args:
            duration: Seconds, or a distribution of them, before scaling of time.
        """

        def act(effects: Effects, _: Record, source: random.Random) -> None:
            effects.late_s += draw(duration, source)

        return self._does("delay_response", act)

    def lose_event(self) -> "Rule":
        """Accept an Event with 202 and never run it."""

        def act(effects: Effects, _: Record, __: random.Random) -> None:
            effects.loses_event = True

        return self._does("lose_event", act)

    def duplicate_event(self, delay_s: Duration = 0.0) -> "Rule":
        """Run an Event twice.

        Args:
            delay_s: Seconds from the first delivery to the second, before scaling of time.
        """

        def act(effects: Effects, _: Record, source: random.Random) -> None:
            effects.duplicate_after_s = draw(delay_s, source)

        return self._does("duplicate_event", act)

    def delay_event(self, duration: Duration) -> "Rule":
        """Accept an Event at once and run it later.

        Args:
            duration: Seconds, or a distribution of them, before scaling of time.
        """

        def act(effects: Effects, _: Record, source: random.Random) -> None:
            effects.event_delay_s += draw(duration, source)

        return self._does("delay_event", act)

    def kill_runtime(self, after_s: Duration = 0.0) -> "Rule":
        """Kill the environment's process while it serves this invocation.

        Args:
            after_s: Seconds from the hand-over to the kill; not scaled, as the function's own time.
        """

        def act(effects: Effects, _: Record, source: random.Random) -> None:
            effects.kill_after_s = draw(after_s, source)

        return self._does("kill_runtime", act)

    def kill_children(self, after_s: Duration = 0.0) -> "Rule":
        """Kill the processes that the runtime has started, such as a worker's runner.

        Args:
            after_s: Seconds from the hand-over to the kill; not scaled, as the function's own time.
        """

        def act(effects: Effects, _: Record, source: random.Random) -> None:
            effects.kill_after_s = draw(after_s, source)
            effects.kills_children = True

        return self._does("kill_children", act)

    def _does(self, name: str, action: Action) -> "Rule":
        self._name = name
        self._action = action
        return self


@dataclass(slots=True)
class Pick:
    """Which of the matching requests a rule hits.

    Attributes:
        nth: Their numbers, from 1; None for any.
        every: Only every so many; None for any.
        rate: The probability of each; None for certainty.
        times: The most that are hit; None for no bound.
        source: The random source of the rule.
    """

    nth: frozenset[int] | None
    every: int | None
    rate: float | None
    times: int | None
    source: random.Random

    def is_picked(self, number: int, fired: int) -> bool:
        """Return whether a matching request is hit.

        Args:
            number: Which one it is, from 1.
            fired: How many were hit before.
        """
        # Drawn for each request, hit or not, so that one pick does not shift the next.
        is_drawn = self.rate is None or self.source.random() < self.rate
        return (
            is_drawn
            and (self.times is None or fired < self.times)
            and (self.nth is None or number in self.nth)
            and (self.every is None or number % self.every == 0)
        )


class Script:
    """The rules of a test.

    Attributes:
        rules: All of them, in order.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._count = 0
        self.rules: list[Rule] = []

    def on(
        self,
        operation: str = "*",
        *,
        service: str = "*",
        bucket: str = "*",
        key: str = "*",
        function: str = "*",
        identity: str = "*",
        invocation_type: str = "*",
        nth: int | Collection[int] | None = None,
        every: int | None = None,
        times: int | None = None,
        rate: float | None = None,
        seed: int | None = None,
        when: Callable[[Record], bool] | None = None,
    ) -> Rule:
        """Add a rule for some requests; one of its methods then says what happens to them.

        All texts are patterns with `*` and `?`.

        Args:
            operation: The API name, such as `PutObject`.
            service: `s3`, `lambda` or `sts`.
            bucket: The bucket.
            key: The object's key.
            function: The function's name.
            identity: The name of the caller's identity.
            invocation_type: For Invoke, its type.
            nth: Only the matching request of this number, or of these, from 1.
            every: Only every so many.
            times: At most so many.
            rate: Each with this probability.
            seed: The seed of the rule; by default made from the script's and the rule's number.
            when: Any further condition.
        """
        patterns = {
            "operation": operation,
            "service": service,
            "bucket": bucket,
            "key": key,
            "function": function,
            "identity": identity,
            "invocation_type": invocation_type,
        }
        wanted = [(name, pattern) for name, pattern in patterns.items() if pattern != "*"]

        def matches(record: Record) -> bool:
            return all(
                fnmatchcase(getattr(record, name), pattern) for name, pattern in wanted
            ) and (when is None or when(record))

        numbers = frozenset([nth]) if isinstance(nth, int) else nth
        self._count += 1
        source = random.Random(f"{self._seed}/{self._count}" if seed is None else seed)
        pick = Pick(None if numbers is None else frozenset(numbers), every, rate, times, source)
        rule = Rule(self, matches, pick)
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Take out all rules."""
        self.rules.clear()

    def effects(self, record: Record) -> Effects | None:
        """Return what happens to a request, None if nothing does.

        Args:
            record: The request.
        """
        if not self.rules:
            return None
        effects = Effects()
        for rule in list(self.rules):
            rule.apply(record, effects)
        return effects if effects.names else None
