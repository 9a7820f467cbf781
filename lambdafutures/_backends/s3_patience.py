"""How long, and how often, one request to S3 is repeated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from botocore.exceptions import ClientError

from lambdafutures._backends import s3_errors
from lambdafutures._wire import s3_limits

# How long one request is repeated before the backend counts as broken: a partition that splits
# answers SlowDown for minutes, and a laptop changes networks.
PATIENCE_S = 300.0


class Patience:
    """Wait between tries, for as long as one request is repeated.

    Args:
        what: What is tried, for the error.
        patience_s: How long after the first try the last one may begin, in seconds.
        clock: Monotonic clock, in seconds.
        sleep: Wait for seconds.
        chance: Return a random number from 0 to 1.
    """

    def __init__(
        self,
        what: str,
        patience_s: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        chance: Callable[[], float],
    ) -> None:
        self._what = what
        self._patience_s = patience_s
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._tries = 0
        self._deadline_s = 0.0

    def begin(self) -> None:
        """Note that a try begins."""
        self._tries += 1
        if self._tries == 1:
            self._deadline_s = self._clock() + self._patience_s

    async def wait(self, fault: Exception) -> None:
        """Wait before the next try.

        Args:
            fault: Why there must be one.

        Raises:
            BackendError: If there is no time for another.
        """
        retry_after = None
        if isinstance(fault, ClientError):
            metadata = fault.response["ResponseMetadata"]
            retry_after = metadata.get("HTTPHeaders", {}).get("retry-after")
        wait_s = s3_limits.backoff_s(self._tries, self._chance(), retry_after)
        if self._clock() + wait_s >= self._deadline_s:
            raise s3_errors.explain_silence(
                fault, self._what, self._tries, self._patience_s
            ) from fault
        await self._sleep(wait_s)
