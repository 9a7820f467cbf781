"""Which outcomes are expected, and when to look for which. Pure.

What is asked for by its key is looked for at ages of its own. What is listed shares one pace: that
of the oldest. So neither depends on how the calls were submitted: at once, or one by one.
"""

from __future__ import annotations

from math import inf

from lambdafutures._backends import pacing
from lambdafutures._backends.pacing import Pacing, Plan


class Lookout:
    """Keep what is expected, and plan the looks.

    Args:
        pace: How often to look.
    """

    def __init__(self, pace: Pacing) -> None:
        self._pace = pace
        # When each was sent, the oldest first; and when it was last asked for by its key.
        self._sent_s: dict[tuple[int, int], float] = {}
        self._asked_s: dict[tuple[int, int], float] = {}
        self._listed_s = -inf
        self.next_s = inf
        """When to call `due` next; infinite while nothing is expected."""

    def __contains__(self, name: object) -> bool:
        return name in self._sent_s

    def __len__(self) -> int:
        return len(self._sent_s)

    def expect(self, name: tuple[int, int], now_s: float) -> None:
        """Begin to look for an outcome.

        Args:
            name: Its chunk and attempt.
            now_s: The time; it counts as sent now.
        """
        self._sent_s[name] = now_s
        is_many = len(self._sent_s) > pacing.LIST_PER_GET
        delay_s = self._pace.list_delay_s(0.0) if is_many else self._pace.ask_delay_s(0.0)
        self.next_s = min(self.next_s, now_s + delay_s)

    def forget(self, name: tuple[int, int]) -> None:
        """Stop looking for an outcome.

        Args:
            name: Its chunk and attempt.
        """
        self._sent_s.pop(name, None)
        self._asked_s.pop(name, None)
        if not self._sent_s:
            self.next_s = inf

    def clear(self) -> None:
        """Stop looking for anything."""
        self._sent_s.clear()
        self._asked_s.clear()
        self.next_s = inf

    def on_found(self, name: tuple[int, int], now_s: float) -> bool:
        """Take note of an outcome; tell whether it was expected.

        Args:
            name: Its chunk and attempt.
            now_s: The time.
        """
        sent_s = self._sent_s.get(name)
        if sent_s is None:
            return False
        self.forget(name)
        self._pace.on_outcome(now_s - sent_s)
        return True

    def due(self, now_s: float) -> Plan:
        """Return what to look for now, and count it as looked for.

        Args:
            now_s: The time.
        """
        probes, windows = pacing.plan(sorted(self._sent_s))
        self.next_s = inf
        if windows:
            self.next_s = self._list_next_s()
            if now_s < self.next_s:
                windows = []
            else:
                self._listed_s = now_s
                self.next_s = self._list_next_s()
        due = []
        for name in probes:
            next_s = self._ask_next_s(name)
            if now_s >= next_s:
                due.append(name)
                self._asked_s[name] = now_s
                next_s = self._ask_next_s(name)
            self.next_s = min(self.next_s, next_s)
        return Plan(due, windows)

    def _list_next_s(self) -> float:
        oldest_s = next(iter(self._sent_s.values()))
        since_s = max(self._listed_s, oldest_s)
        return since_s + self._pace.list_delay_s(since_s - oldest_s)

    def _ask_next_s(self, name: tuple[int, int]) -> float:
        sent_s = self._sent_s[name]
        since_s = self._asked_s.get(name, sent_s)
        return since_s + self._pace.ask_delay_s(since_s - sent_s)
