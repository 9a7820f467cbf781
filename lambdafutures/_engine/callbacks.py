"""Where done-callbacks and observers run: on threads of their own, never on the loop.

A callback may block for ever, or wait for another call's result; the others must be called all the
same. So a thread is added whenever callbacks wait and none of the threads has got on for a moment.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

# How long callbacks may wait while all threads are busy before another thread is started.
# Above Python's thread switch interval (5 ms), so that callbacks which merely compute need one.
PATIENCE_S = 0.02
# An idle thread beyond the first ends after this: blocked callbacks are rare.
IDLE_S = 1.0

_log = logging.getLogger("lambdafutures")


class CallbackThreads:
    """Run functions in order of arrival, on as many threads as it takes for none to be held up.

    Args:
        name: Prefix of the threads' names.
        elastic: Add threads; otherwise one thread calls everything, strictly in order.
    """

    def __init__(self, name: str, *, elastic: bool = True) -> None:
        self._name = name
        self._elastic = elastic
        self._idents: set[int] = set()
        self._work: deque[Callable[[], object]] = deque()
        self._condition = threading.Condition()
        self._threads = 0
        self._idle = 0
        self._taken = 0
        self._closed = False
        self._watching = False

    def run(self, function: Callable[[], object]) -> None:
        """Have a function called soon; it should not raise.

        Args:
            function: What to call.
        """
        with self._condition:
            self._work.append(function)
            if self._idle:
                self._condition.notify()
            elif self._threads == 0:
                self._add()
            elif self._elastic and not self._watching:
                self._watching = True
                self._spawn(self._watch)

    @property
    def is_current(self) -> bool:
        """Whether the caller runs on one of these threads."""
        return threading.get_ident() in self._idents

    def close(self) -> None:
        """Let the threads end once all functions have been called."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def wait_closed(self, timeout_s: float | None = None) -> bool:
        """Wait until `close` has taken effect; return False if it has not in time.

        Args:
            timeout_s: Seconds to wait at the most.
        """
        with self._condition:
            return self._condition.wait_for(lambda: self._threads == 0, timeout_s)

    def _add(self) -> None:
        self._threads += 1
        self._spawn(self._serve)

    def _spawn(self, target: Callable[[], None]) -> None:
        threading.Thread(target=target, name=f"{self._name}-callbacks", daemon=True).start()

    def _serve(self) -> None:
        self._idents.add(threading.get_ident())
        while True:
            with self._condition:
                if not self._work and not self._wait_for_work():
                    self._threads -= 1
                    self._idents.discard(threading.get_ident())
                    self._condition.notify_all()
                    return
                function = self._work.popleft()
                self._taken += 1
            try:
                function()
            except BaseException:  # noqa: BLE001 - a callback's SystemExit ends no thread of ours
                _log.exception("a callback raised")
            del function

    def _wait_for_work(self) -> bool:
        self._idle += 1
        patience_s = IDLE_S if self._threads > 1 else None
        self._condition.wait_for(lambda: self._work or self._closed, patience_s)
        self._idle -= 1
        return bool(self._work)

    def _watch(self) -> None:
        """Add threads while functions wait and nothing moves; end when nothing waits."""
        while True:
            with self._condition:
                before = self._taken
            time.sleep(PATIENCE_S)
            with self._condition:
                if not self._work:
                    self._watching = False
                    return
                if self._taken == before:
                    self._add()
