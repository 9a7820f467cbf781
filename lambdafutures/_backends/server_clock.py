"""How far AWS's clock is from ours, learned from the `Date` of its answers. Pure.

Deadlines are checked by workers, whose clocks are AWS's. Ours may be minutes off: signatures are
accepted up to 15 minutes. Each answer was made between our sending and our receiving it, and its
`Date` is cut to seconds, so it bounds the difference from both sides; many bound it narrowly
(Cristian's algorithm, 1989).
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from math import inf

# Farther off, AWS refuses the signature (IAM User Guide, "Signature Version 4").
SKEW_MAX_S = 15 * 60.0
# `Date` has no fraction of a second.
RESOLUTION_S = 1.0


class ServerClock:
    """Learn the difference between AWS's clock and ours."""

    def __init__(self) -> None:
        self._least_s = -inf
        self._most_s = inf

    def on_answer(self, date: str | None, sent_s: float, received_s: float) -> float | None:
        """Take note of an answer; return the latest that it was made, by AWS's clock.

        Args:
            date: Its `Date`; ignored where there is none or it cannot be read.
            sent_s: When the request was sent, in seconds since the epoch by our clock.
            received_s: When its answer was received, likewise.

        Returns:
            Seconds since the epoch; None without a `Date`.
        """
        try:
            date_s = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return None
        least_s, most_s = date_s - received_s, date_s + RESOLUTION_S - sent_s
        self._least_s = max(self._least_s, least_s)
        self._most_s = min(self._most_s, most_s)
        if self._least_s > self._most_s:  # our clock was set, or has drifted: begin anew
            self._least_s, self._most_s = least_s, most_s
        return min(date_s + RESOLUTION_S, self.latest_s(received_s))

    def earliest_s(self, at_s: float) -> float:
        """Return the earliest that it can be on AWS's clock.

        Args:
            at_s: The time by our clock, in seconds since the epoch.
        """
        return at_s + max(self._least_s, -SKEW_MAX_S)

    def latest_s(self, at_s: float) -> float:
        """Return the latest that it can be on AWS's clock.

        Args:
            at_s: The time by our clock, in seconds since the epoch.
        """
        return at_s + min(self._most_s, SKEW_MAX_S)
