"""What a session counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Count what a session did; written by the portal's thread only.

    Args:
        calls_submitted: Calls taken.
        calls_done: Calls that ended, well or not.
        calls_failed: Calls that ended in an exception.
        calls_cancelled: Calls that were cancelled before they were sent.
        attempts: Attempts sent.
        setup_s: Seconds of set-up in workers, added up.
        run_s: Seconds that calls ran, added up.
        away_s: Seconds from sending attempts to their outcomes, added up.
        fetched_bytes: Length of the bundles that workers fetched, added up.
    """

    calls_submitted: int = 0
    calls_done: int = 0
    calls_failed: int = 0
    calls_cancelled: int = 0
    attempts: int = 0
    setup_s: float = 0.0
    run_s: float = 0.0
    away_s: float = 0.0
    fetched_bytes: int = 0
