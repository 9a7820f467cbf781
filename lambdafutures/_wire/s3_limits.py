"""What client and worker both know of S3: its limits, what to repeat, how long to wait.

Limits are those of AWS's S3 User Guide, "Multipart upload limits" and "Performance guidelines", as
read in November 2026.
"""

from __future__ import annotations

_MIB = 1024 * 1024

# Parts and ranges of 8 MiB: "typical sizes for byte-range requests are 8 MB or 16 MB" (Performance
# guidelines), and s3transfer's default. One connection gives some 50 MB/s, so a part takes 150 ms,
# several times its request's own latency.
PART_BYTES = 8 * _MIB
# Below this a single PUT is faster and three requests cheaper than two parts.
MULTIPART_BYTES = 2 * PART_BYTES
# AWS refuses more; larger objects get larger parts.
MAX_PARTS = 10_000
# What one DeleteObjects, and one page of a listing, holds at the most.
KEYS_PER_REQUEST = 1000

# Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015), from half the usual
# latency of S3 to what still gives a splitting partition several chances a minute.
BACKOFF_S = 0.05
BACKOFF_CEILING_S = 5.0
# A server that asks for more than this is asked again all the same: our deadlines come first.
RETRY_AFTER_CEILING_S = 20.0

_PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
# Faults that pass though their status (400, 400, 409) does not say so; the third is what a PUT with
# a condition gets while another one of the same key is under way. The others stand without a status
# of their own among the answers to a DeleteObjects.
_PASSING_CODES = frozenset(
    {
        "RequestTimeout",
        "IncompleteBody",
        "ConditionalRequestConflict",
        "InternalError",
        "ServiceUnavailable",
        "SlowDown",
    }
)
# Refused before anything was done. After any other fault the request may have been applied.
UNAPPLIED_STATUSES = frozenset({429, 503})


def is_passing(status: int, code: str) -> bool:
    """Return whether the same request may succeed later.

    Args:
        status: HTTP status of the failure.
        code: S3's error code.
    """
    return status in _PASSING_STATUSES or code in _PASSING_CODES


def ranges(nbytes: int, part_bytes: int) -> list[tuple[int, int]]:
    """Divide bytes into `(start, length)` parts that S3 accepts.

    Args:
        nbytes: Length of the whole.
        part_bytes: Length of a part; more where there would be too many parts.
    """
    part_bytes = max(part_bytes, -(-nbytes // MAX_PARTS))
    return [
        (start, min(part_bytes, nbytes - start)) for start in range(0, max(nbytes, 1), part_bytes)
    ]


def backoff_s(tries: int, chance: float, retry_after: str | None = None) -> float:
    """Return how long to wait before the next try, in seconds.

    Args:
        tries: Tries so far, at least 1.
        chance: A random number from 0 to 1.
        retry_after: The answer's Retry-After header, if it had one.
    """
    # The exponent is bounded only to keep the power small; the ceiling has been met long before.
    jitter_s = chance * min(BACKOFF_CEILING_S, BACKOFF_S * 2.0 ** min(tries, 16))
    try:
        asked_s = float(retry_after or 0)
    except ValueError:
        asked_s = 0.0  # an HTTP date, which S3 does not send
    return max(jitter_s, min(asked_s, RETRY_AFTER_CEILING_S))
