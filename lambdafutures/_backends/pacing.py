"""When to look for outcomes, and how: by their keys one by one, or by a listing. Pure."""

from __future__ import annotations

import math

# A LIST costs 12.5 times a GET (us-east-1, November 2026: $0.005 and $0.0004 per 1,000).
LIST_PER_GET = 12.5
KEYS_PER_LIST = 1000
# The delay that polling adds to a call, as a share of how long such calls take: 2.5 % on average,
# since an outcome appears half-way between two looks.
SHARE = 0.05
# Below this, looking costs more time than it saves (an S3 GET takes 20 ms and more).
FLOOR_S = 0.02
# Nobody minds 10 s on top of an hour, and it bounds the cost to a dollar in 23 days of listing.
CEILING_S = 10.0
# Weight of the newest call in the mean: about the last eight count.
WEIGHT = 1 / 8


class Pacing:
    """Choose the pace from how long calls have been taking.

    Args:
        share: The delay between two looks, as a share of how long calls take.
        floor_s: The shortest delay, in seconds.
        ceiling_s: The longest delay, in seconds.
    """

    def __init__(
        self, share: float = SHARE, floor_s: float = FLOOR_S, ceiling_s: float = CEILING_S
    ) -> None:
        self._share = share
        self._floor_s = floor_s
        self._ceiling_s = ceiling_s
        self._mean_s: float | None = None

    def on_outcome(self, seconds: float) -> None:
        """Take note of how long an attempt took.

        Args:
            seconds: From its being sent to its outcome's being found.
        """
        if self._mean_s is None:
            self._mean_s = seconds
        else:
            self._mean_s += WEIGHT * (seconds - self._mean_s)

    def delay_s(self, newest_age_s: float) -> float:
        """Return how long to wait before the next look.

        Args:
            newest_age_s: How long ago the newest outstanding attempt was sent, in seconds. While
                nothing is known of such calls, the pace slows down as they age.
        """
        typical_s = newest_age_s if self._mean_s is None else min(self._mean_s, newest_age_s * 2)
        return min(self._ceiling_s, max(self._floor_s, self._share * typical_s))


def should_list(outstanding: int, span: int) -> bool:
    """Tell whether a listing is cheaper than asking for each outstanding outcome.

    Args:
        outstanding: How many outcomes are expected.
        span: How many keys a listing may have to go through.
    """
    pages = max(1, math.ceil(span / KEYS_PER_LIST))
    return outstanding > LIST_PER_GET * pages
