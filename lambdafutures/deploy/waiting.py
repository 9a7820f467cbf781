"""Wait for AWS: ask again and again, ever more slowly, until a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

# A bucket, a role and a few functions take one to three minutes; what has not settled after fifteen
# will not do so soon.
SETTLE_S = 900.0
# The first look comes soon, since an emulator is done at once; then ever slower: the control plane
# takes few requests per second for the whole account.
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
PAUSE_GROWTH = 1.5

_T = TypeVar("_T")


def ask_until(
    ask: Callable[[], _T],
    is_done: Callable[[_T], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> _T:
    """Return the first answer that will do, or the last one before the deadline.

    Args:
        ask: What to ask.
        is_done: Whether an answer will do.
        clock: Seconds that only grow.
        sleep: What waits so many seconds.
    """
    deadline = clock() + SETTLE_S
    pause_s = FIRST_PAUSE_S
    while True:
        answer = ask()
        if is_done(answer) or clock() > deadline:
            return answer
        sleep(pause_s)
        pause_s = min(pause_s * PAUSE_GROWTH, LONGEST_PAUSE_S)
