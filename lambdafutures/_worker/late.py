"""An invocation that comes late, or whose outcome does: is its session still alive?

`_backends/sign_of_life.py` says why, and how client and workers leave nothing behind between them.
"""

from __future__ import annotations

import time
from contextlib import suppress

from lambdafutures._wire import keys
from lambdafutures._worker.s3_http import S3Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdafutures._wire.invocation import Invocation
    from lambdafutures._worker.s3 import S3Client

# How long to try to learn it at the most. Nothing is wrong if that fails: outcomes that nobody
# reads are removed by the bucket's lifecycle rule.
ASK_S = 5.0


def is_late(asked: Invocation) -> bool:
    """Return whether an invocation is to ask for its session.

    Args:
        asked: The invocation.
    """
    return asked.late_s is not None and time.time() >= asked.late_s


def is_for_nobody(asked: Invocation, store: S3Client, ends_s: float) -> bool:
    """Return whether the session has ended; False if that cannot be learned.

    Args:
        asked: The invocation, which is late.
        store: The deployment's bucket.
        ends_s: When to give up, by the monotonic clock.
    """
    key = keys.alive_key(asked.prefix, asked.session.session)
    try:
        return not store.exists(key, deadline_s=min(ends_s, time.monotonic() + ASK_S))
    except S3Failed:
        return False


def take_back(asked: Invocation, store: S3Client, ends_s: float) -> None:
    """Delete the outcome that was just stored, if it was for nobody.

    Args:
        asked: The invocation.
        store: The deployment's bucket.
        ends_s: When to give up, by the monotonic clock.
    """
    if is_late(asked) and is_for_nobody(asked, store, ends_s):
        with suppress(S3Failed):
            store.delete(asked.out_key, deadline_s=min(ends_s, time.monotonic() + ASK_S))
