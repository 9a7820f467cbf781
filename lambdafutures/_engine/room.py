"""How many attempts may be under way, judged by how those before fared. Pure.

A backend says that it has no room by refusing attempts, or lets them wait, or takes nothing at all.
"""

from __future__ import annotations

from math import inf

from lambdafutures._backends.base import StartRate
from lambdafutures._engine.chunk import Attempt
from lambdafutures._engine.concurrency import Concurrency
from lambdafutures._engine.crowding import Crowding
from lambdafutures._engine.ramp import Ramp
from lambdafutures._wire import outcome
from lambdafutures._wire.outcome import Fault, Outcome

# When every attempt is refused for this long there is no room for any: the function's reserved
# concurrency is 0, or calls that wait for calls hold it all. Lambda refills its rates every second
# and starts 1,000 sandboxes in 10 s, so mere overload passes sooner.
NO_PROGRESS_S = 120.0

# One attempt more is tried when nothing has ended for as long as attempts usually take, and for
# this long at least: what is under way may be long calls, beside which there is room by now.
SILENCE_S = 1.0
# Weight of the latest attempt in what is usual: about the last eight count.
WEIGHT = 1 / 8

# Of these nobody knows whether there was room.
_TELLS_NOTHING = frozenset({outcome.LOST, outcome.NOT_RUN})


class Room:
    """Follow what the backend takes.

    Args:
        ceiling: Attempts under way at once, at the most.
        patience_s: Seconds without any progress after which there is no hope.
        start_rate: How quickly the backend starts workers; None if that need not be minded.
    """

    def __init__(
        self, ceiling: int, patience_s: float, start_rate: StartRate | None = None
    ) -> None:
        self._patience_s = patience_s
        self._ramp = None if start_rate is None else Ramp(start_rate)
        self._throttled_since_s: float | None = None
        self._heard_s = 0.0
        self._usual_s = 0.0
        self._resize(ceiling)

    def _resize(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._concurrency = Concurrency(ceiling)
        self._crowding = Crowding(ceiling)

    @property
    def ceiling(self) -> int:
        """The most attempts that are ever under way at once."""
        return self._ceiling

    @ceiling.setter
    def ceiling(self, ceiling: int) -> None:
        if ceiling != self._ceiling:
            self._resize(ceiling)

    def allowed(self, now_s: float) -> int:
        """Return how many attempts may be under way.

        Args:
            now_s: The time.
        """
        allowed = self._concurrency.allowed(now_s)
        if 0 < allowed < self._ceiling and now_s >= self._silent_s:
            self._heard_s = now_s
            self._concurrency.on_silence()
            allowed = self._concurrency.allowed(now_s)
        return allowed if self._ramp is None else min(allowed, self._ramp.allowed(now_s))

    def on_sent(self, in_flight: int, now_s: float) -> None:
        """Take note of attempts that were sent.

        Args:
            in_flight: Attempts that are under way.
            now_s: The time.
        """
        if self._ramp is not None:
            self._ramp.on_sent(in_flight, now_s)

    def more_at_s(self, now_s: float) -> float:
        """Return when more attempts may be allowed although nothing happens; infinite for never.

        Args:
            now_s: The time.
        """
        if self._concurrency.held_until_s > now_s:
            return self._concurrency.held_until_s
        at_s = self._silent_s if self._concurrency.limit < self._ceiling else inf
        if self._ramp is not None and self._ramp.allowed(now_s) < self._concurrency.limit:
            at_s = min(at_s, self._ramp.more_at_s(now_s))
        return at_s

    @property
    def _silent_s(self) -> float:
        # A pause after a throttle is no silence.
        since_s = max(self._heard_s, self._concurrency.held_until_s)
        return since_s + max(SILENCE_S, self._usual_s)

    def on_outcome(
        self, attempt: Attempt | None, answer: Outcome, in_flight: int, now_s: float
    ) -> BaseException | None:
        """Take note of what became of an attempt; return an error if there is no room for any.

        Args:
            attempt: The attempt; None if it was not waited for any more.
            answer: Its outcome.
            in_flight: Attempts that are under way without it.
            now_s: The time.
        """
        fault = answer.fault
        self._heard_s = now_s
        if attempt is not None and fault is None:
            self._usual_s += WEIGHT * (now_s - attempt.sent_s - self._usual_s)
        if fault is None or fault.kind != outcome.THROTTLED:
            self._throttled_since_s = None
            if fault is not None and fault.kind in _TELLS_NOTHING:
                return None
            if not self._was_late(attempt, answer, in_flight, now_s):
                self._concurrency.on_success()
        elif attempt is not None and self._is_stuck(attempt, fault, in_flight, now_s):
            return _stuck(self._patience_s, fault)
        return None

    def _was_late(
        self, attempt: Attempt | None, answer: Outcome, in_flight: int, now_s: float
    ) -> bool:
        if attempt is None or answer.waited_s is None:
            return False
        is_late = self._crowding.on_outcome(
            answer,
            away_s=now_s - attempt.sent_s,
            was_alone=attempt.was_alone,
            in_flight=in_flight,
            limit=self._concurrency.limit,
        )
        if is_late and self._crowding.is_crowded:
            self._concurrency.on_crowded(self._crowding.room_before(answer))
        return is_late

    def _is_stuck(self, attempt: Attempt, fault: Fault, in_flight: int, now_s: float) -> bool:
        """Take note of a throttle; tell whether there has been nothing else for too long."""
        self._concurrency.on_throttled(in_flight, fault.wait_s, attempt.sent_s, now_s)
        if self._throttled_since_s is None:
            self._throttled_since_s = now_s
        # What is under way may have been accepted: as long as it runs there is hope.
        return not in_flight and now_s - self._throttled_since_s >= self._patience_s


def _stuck(patience_s: float, fault: Fault) -> BaseException:
    from lambdafutures.exceptions import BackendError

    return BackendError(
        f"the backend has accepted nothing for {patience_s:g} s ({fault.message}): the function's "
        "reserved concurrency may be 0, or calls that wait for other calls hold it all; see "
        "`lambdafutures doctor`"
    )
