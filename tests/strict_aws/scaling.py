"""How many environments may run: the account's and the function's concurrency, and the ramp."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from .lambda_model import Function
from .limits import ACCOUNT_CONCURRENCY, RAMP_ENVIRONMENTS, RAMP_WINDOW_S
from .messages import AwsError


@dataclass(slots=True)
class ScalingSettings:
    """The account's limits; a test may change them at any time.

    Attributes:
        account_concurrency: Concurrent executions of the account.
        ramp_environments: New environments a function may start per window.
        ramp_window_s: The window, before scaling of time.
        rate_per_concurrency: Synchronous requests per second and unit of concurrency (10 on AWS);
            None, the default, does not limit them, since tests shrink the concurrency far below
            what an account has.
        retry_after_s: What `Retry-After` says in a throttle.
        cold_start_s: What an environment's start takes on top of the process's own, before
            scaling of time.
    """

    account_concurrency: int = ACCOUNT_CONCURRENCY
    ramp_environments: int = RAMP_ENVIRONMENTS
    ramp_window_s: float = RAMP_WINDOW_S
    rate_per_concurrency: float | None = None
    retry_after_s: int = 1
    cold_start_s: float = 0.0


@dataclass(slots=True)
class _Bucket:
    """A token bucket.

    Attributes:
        tokens: What is left.
        at: When that was so.
    """

    tokens: float
    at: float

    def take(self, capacity: float, per_s: float, now: float) -> bool:
        """Take a token, if there is one."""
        self.tokens = min(capacity, self.tokens + (now - self.at) * per_s)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Scaling:
    """Counts what runs and refuses what would exceed a limit.

    Attributes:
        settings: The limits.
        running: Invocations that run, by function name.
        peak: The most that ever ran at once, by function name.
        throttles: Refusals, by reason.
    """

    def __init__(self, settings: ScalingSettings, time_scale: Callable[[], float]) -> None:
        self.settings = settings
        self.running: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self.throttles: Counter[str] = Counter()
        self._time_scale = time_scale
        self._ramps: dict[str, _Bucket] = {}
        self._rates: dict[str, _Bucket] = {}
        self._unreserved_running = 0

    def acquire(
        self, function: Function, functions: dict[tuple[str, str], Function], is_sync: bool
    ) -> Callable[[], None]:
        """Count an invocation in and return what counts it out.

        Args:
            function: The function.
            functions: All functions: what they reserve is taken from the account's.
            is_sync: Whether the request rate counts, too.

        Raises:
            AwsError: TooManyRequestsException.
        """
        settings = self.settings
        if function.reserved is None:
            reserved = sum(each.reserved or 0 for each in functions.values())
            limit = settings.account_concurrency - reserved
            running = self._unreserved_running
        else:
            limit = function.reserved
            running = self.running[function.name]
        kind = "" if function.reserved is None else "Reserved"
        if running >= limit:
            concurrent = "ReservedFunctionConcurrent" if kind else "Concurrent"
            raise self.throttled(f"{concurrent}InvocationLimitExceeded")
        if is_sync and not self._has_rate(function, limit):
            raise self.throttled(f"{kind}FunctionInvocationRateLimitExceeded")
        self.running[function.name] += 1
        self.peak[function.name] = max(self.peak[function.name], self.running[function.name])
        is_unreserved = function.reserved is None
        self._unreserved_running += is_unreserved

        def release() -> None:
            self.running[function.name] -= 1
            self._unreserved_running -= is_unreserved

        return release

    def take_environment(self, function: Function) -> None:
        """Count a new environment against the function's ramp.

        Args:
            function: The function.

        Raises:
            AwsError: TooManyRequestsException.
        """
        settings = self.settings
        now = asyncio.get_running_loop().time()
        capacity = settings.ramp_environments
        ramp = self._ramps.setdefault(function.name, _Bucket(capacity, now))
        window_s = settings.ramp_window_s * self._time_scale()
        if not ramp.take(capacity, capacity / window_s, now):
            raise self.throttled("FunctionInvocationRateLimitExceeded")

    def throttled(self, reason: str) -> AwsError:
        """Return the throttle for a reason, counted.

        Args:
            reason: One of Lambda's ThrottleReason.
        """
        self.throttles[reason] += 1
        return throttle_error(reason, self.settings.retry_after_s)

    def _has_rate(self, function: Function, limit: int) -> bool:
        per_s = self.settings.rate_per_concurrency
        if per_s is None:
            return True
        now = asyncio.get_running_loop().time()
        name = "" if function.reserved is None else function.name
        capacity = max(per_s * limit, 1.0)
        rate = self._rates.setdefault(name, _Bucket(capacity, now))
        return rate.take(capacity, capacity / self._time_scale(), now)


def throttle_error(reason: str, retry_after_s: float) -> AwsError:
    """Return Lambda's 429.

    Args:
        reason: One of Lambda's ThrottleReason.
        retry_after_s: What `Retry-After` says.
    """
    return AwsError(
        429,
        "TooManyRequestsException",
        "Rate Exceeded.",
        {"Reason": reason},
        {"Retry-After": f"{retry_after_s:g}"},
    )
