"""How long simulated things take: a number of seconds, or a distribution drawn from."""

import random
from collections.abc import Callable

Distribution = Callable[[random.Random], float]
"""Draws one duration, in seconds."""

Duration = float | Distribution


def draw(duration: Duration, source: random.Random) -> float:
    """Return one duration in seconds.

    Args:
        duration: A number, or what to draw from.
        source: The random source.
    """
    return duration(source) if callable(duration) else duration


def uniform(least_s: float, most_s: float) -> Distribution:
    """Return the uniform distribution.

    Args:
        least_s: The smallest duration.
        most_s: The largest duration.
    """
    return lambda source: source.uniform(least_s, most_s)


def heavy_tail(median_s: float, tail: float = 1.5, longest_s: float = 10.0) -> Distribution:
    """Return a distribution most of whose draws are near the median and a few far above.

    It is a Pareto distribution: with a tail of 1.5, one draw in a hundred exceeds 14 medians.

    Args:
        median_s: Half of all draws are below.
        tail: Its exponent; the smaller, the heavier.
        longest_s: No draw exceeds it.
    """
    least_s = median_s / 2.0 ** (1.0 / tail)
    return lambda source: min(least_s * source.paretovariate(tail), longest_s)
