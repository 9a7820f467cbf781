"""When to look for outcomes, and how: by their keys one by one, or by a listing. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

# A LIST costs 12.5 times a GET (us-east-1, November 2026: $0.005 and $0.0004 per 1,000).
LIST_PER_GET = 12.5
KEYS_PER_LIST = 1000
# The delay that polling adds to a call, as a share of how long such calls take: 2.5 % on average,
# since an outcome appears half-way between two looks.
SHARE = 0.05
# Below this, looking costs more time than it saves (an S3 GET takes 20 ms and more).
FLOOR_S = 0.02
# The same for a listing: ten a second cost $0.18 per hour.
LIST_FLOOR_S = 0.1
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

    def ask_delay_s(self, age_s: float) -> float:
        """Return how long to wait before an outcome is asked for again.

        Args:
            age_s: How long ago its attempt was sent, in seconds. One that outlives what calls
                usually take is asked for ever more slowly.
        """
        return self._delay_s(max(age_s, self._typical_s(age_s)), self._floor_s)

    def list_delay_s(self, oldest_age_s: float) -> float:
        """Return how long to wait before the next listing.

        Args:
            oldest_age_s: How long ago the oldest expected attempt was sent, in seconds.
        """
        return self._delay_s(self._typical_s(oldest_age_s), max(self._floor_s, LIST_FLOOR_S))

    def _typical_s(self, age_s: float) -> float:
        """Return how long a call may take, as far as is known: new ones may be shorter."""
        return age_s if self._mean_s is None else min(self._mean_s, age_s * 2)

    def _delay_s(self, typical_s: float, floor_s: float) -> float:
        return min(self._ceiling_s, max(floor_s, self._share * typical_s))


class Plan(NamedTuple):
    """Say how to look for outcomes.

    Args:
        probes: Chunk and attempt of those to ask for by their keys.
        windows: First and last chunk of the ranges to list.
    """

    probes: list[tuple[int, int]]
    windows: list[tuple[int, int]]


def plan(expected: Sequence[tuple[int, int]]) -> Plan:
    """Return the cheapest way to look for outcomes, more or less.

    A listing returns a page of keys from where it is told to begin. So the expected ones are
    divided into windows of a page, between which what is finished is passed over; one with few
    expected outcomes is not listed, but they are asked for one by one.

    Args:
        expected: Chunk and attempt of each, ascending.
    """
    found = Plan([], [])
    start = 0
    while start < len(expected):
        first = expected[start][0]
        end = bisect_left(expected, (first + KEYS_PER_LIST, 0), start)
        if end - start > LIST_PER_GET:
            found.windows.append((first, expected[end - 1][0]))
        else:
            found.probes.extend(expected[start:end])
        start = end
    return found
