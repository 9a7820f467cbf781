"""When outcomes are looked for, on a manual clock: what it costs, and how late they are found."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdafutures._backends.lookout import Lookout
from lambdafutures._backends.pacing import CEILING_S, FLOOR_S, LIST_FLOOR_S, SHARE, Pacing


class Simulation:
    """Send calls at given times, look for their outcomes, and count."""

    def __init__(self, pace: Pacing | None = None) -> None:
        self.lookout = Lookout(pace or Pacing())
        self.lists = 0
        self.probes = 0
        self.late_s: list[float] = []

    def run(self, calls: list[tuple[float, float]]) -> Simulation:
        """Run calls, given as when each is sent and how long it takes, in seconds."""
        waiting = sorted((sent_s, number) for number, (sent_s, _) in enumerate(calls))
        done_s = {(number, 1): sent_s + ran_s for number, (sent_s, ran_s) in enumerate(calls)}
        while waiting or self.lookout:
            sent_s = waiting[0][0] if waiting else inf
            if sent_s <= self.lookout.next_s:
                self.lookout.expect((waiting.pop(0)[1], 1), sent_s)
            else:
                self._look(self.lookout.next_s, done_s)
        return self

    def _look(self, now_s: float, done_s: dict[tuple[int, int], float]) -> None:
        probes, windows = self.lookout.due(now_s)
        self.lists += len(windows)
        self.probes += len(probes)
        seen = [*probes, *(n for n in done_s if any(a <= n[0] <= b for a, b in windows))]
        for name in seen:
            if done_s[name] <= now_s and self.lookout.on_found(name, now_s):
                self.late_s.append(now_s - done_s[name])


def test_submits_are_listed_as_cheaply_as_one_map():
    by_map = Simulation().run([(0.0, 2.0)] * 300)
    # One by one, as fast as a client invokes: within half a second.
    by_submits = Simulation().run([(x * 0.0015, 2.0) for x in range(300)])
    assert by_map.lists == 20
    assert by_submits.lists <= by_map.lists + 0.45 / LIST_FLOOR_S + 1
    # Over the time that something was awaited, both cost the same.
    assert by_submits.lists / 2.45 == pytest.approx(by_map.lists / 2.0, rel=0.05)


def test_calls_that_keep_coming_do_not_quicken_the_pace():
    pace = Pacing()
    pace.on_outcome(20.0)
    # One call every 50 ms: there is always one that has just been sent.
    found = Simulation(pace).run([(x * 0.05, 20.0) for x in range(1200)])
    assert found.lists < 1.3 * (60 + 20) / (SHARE * 20.0)


def test_a_straggler_is_asked_for_at_its_own_pace():
    calls = [(0.0, 100.0), *((x * 0.5, 0.1) for x in range(1, 200))]
    alone = Simulation().run(calls[1:])
    assert Simulation().run(calls).probes - alone.probes < 300


def test_a_new_call_does_not_wait_for_the_look_at_an_old_one():
    pace = Pacing()
    pace.on_outcome(100.0)
    found = Simulation(pace).run([(0.0, 200.0), (101.0, 0.01)])
    assert found.late_s[0] <= FLOOR_S


sends = st.lists(st.tuples(st.floats(0, 30), st.floats(0.001, 60)), min_size=1, max_size=60)


@given(sends)
@settings(max_examples=200, deadline=None)
def test_every_outcome_is_found_soon_and_looks_are_bounded(calls):
    found = Simulation().run(calls)
    assert len(found.late_s) == len(calls)
    assert max(found.late_s) <= CEILING_S
    ends_s = max(sent_s + ran_s for sent_s, ran_s in calls) + CEILING_S
    assert found.lists <= ends_s / LIST_FLOOR_S + 1
    assert not found.lookout
    assert found.lookout.next_s == inf


@given(st.integers(1, 12), st.floats(0.05, 50))
def test_a_few_equal_calls_are_found_within_their_share(count, ran_s):
    found = Simulation().run([(0.0, ran_s)] * count)
    assert max(found.late_s) <= max(FLOOR_S, SHARE * ran_s) + 1e-9
    assert found.lists == 0


def test_nothing_is_looked_for_while_nothing_is_expected():
    lookout = Lookout(Pacing())
    assert lookout.next_s == inf
    lookout.expect((1, 1), 5.0)
    assert lookout.next_s == 5.0 + FLOOR_S
    lookout.forget((1, 1))
    assert lookout.next_s == inf
    assert not lookout.on_found((1, 1), 6.0)
