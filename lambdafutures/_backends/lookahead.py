"""How many attempts to hand to a busy worker, so that it never waits for the client. Pure.

What waits in a worker's socket can be taken back as long as the worker has not begun it, so a call
never waits behind a long one while another worker is free.
"""

from __future__ import annotations

# Handing over and answering takes the client about 100 us. Attempts longer than ten times that
# gain nothing by it, and would make futures look as if they ran that do not.
SHORT_S = 0.001
# Enough for the worker to go on while the client deals with other workers' answers.
DEPTH = 4
# Weight of the newest attempt: about the last eight count.
WEIGHT = 1 / 8


class LookAhead:
    """Watch how long attempts take."""

    def __init__(self) -> None:
        self._mean_s: float | None = None

    def on_attempt(self, seconds: float) -> None:
        """Take note of an attempt.

        Args:
            seconds: How long it kept its worker busy.
        """
        if self._mean_s is None:
            self._mean_s = seconds
        else:
            self._mean_s += WEIGHT * (seconds - self._mean_s)

    @property
    def depth(self) -> int:
        """Attempts to keep waiting for each busy worker."""
        return DEPTH if self._mean_s is not None and self._mean_s < SHORT_S else 0
