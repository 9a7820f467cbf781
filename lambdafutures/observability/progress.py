"""A progress bar: an observer that counts calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lambdafutures.events import CallsEnded, CallsSubmitted, Event, ExecutorClosed, Observer
from lambdafutures.exceptions import MissingExtra


class ProgressBar:
    """Show how many calls have ended, by tqdm: in a terminal or a notebook.

    Args:
        options: Passed to `tqdm.auto.tqdm`.

    Raises:
        MissingExtra: If tqdm is not installed.
    """

    def __init__(self, **options: Any) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise MissingExtra(
                "a progress bar needs tqdm: run `pip install 'lambdafutures[progress]'`"
            ) from error
        self._bar = tqdm(**({"total": 0, "unit": "call"} | options))
        self._failed = 0

    def on_event(self, event: Event) -> None:
        """Move the bar.

        Args:
            event: What happened.
        """
        if isinstance(event, CallsSubmitted):
            self._bar.total += event.calls
            self._bar.refresh()
        elif isinstance(event, CallsEnded):
            self._bar.update(event.calls)
            self._failed += event.failed
            if event.failed:
                self._bar.set_postfix(failed=self._failed)
        elif isinstance(event, ExecutorClosed):
            self._bar.close()


def watching(observers: Sequence[Observer], progress: bool) -> list[Observer]:
    """Return who watches an executor.

    Args:
        observers: Those that the user gave.
        progress: Whether there is to be a progress bar.

    Raises:
        MissingExtra: If there is to be one and tqdm is not installed.
    """
    return [*observers, ProgressBar()] if progress else list(observers)
