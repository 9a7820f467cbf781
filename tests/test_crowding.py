"""How many attempts are in flight where throttles stay hidden, on a manual clock."""

from __future__ import annotations

import pytest

from tests.hidden_queue import HiddenQueue
from tests.strict_aws.latency import heavy_tail


def run(capacity: int, ran_s: float, ceiling: int, calls: int, **options: float) -> HiddenQueue:
    queue = HiddenQueue(capacity, lambda _: ran_s, ceiling, **options)
    queue.run(calls)
    return queue


@pytest.mark.parametrize(
    ("capacity", "ran_s", "ceiling", "calls"),
    [(4, 0.05, 32, 400), (4, 1.0, 32, 400), (100, 0.1, 1000, 20_000), (100, 5.0, 1000, 5000)],
)
def test_it_converges_on_what_the_backend_runs(capacity, ran_s, ceiling, calls):
    found = run(capacity, ran_s, ceiling, calls)
    assert found.mean_in_flight(found.now_s / 3) < 1.75 * capacity
    blind = HiddenQueue(capacity, lambda _: ran_s, ceiling)
    blind.is_told = False
    blind.run(calls)
    assert found.throttles < 0.8 * blind.throttles


def test_nothing_depends_on_what_the_clocks_say():
    right = run(4, 0.2, 32, 300)
    behind = run(4, 0.2, 32, 300, skew_s=-300.0)
    ahead = run(4, 0.2, 32, 300, skew_s=300.0)
    assert right.now_s == pytest.approx(behind.now_s) == pytest.approx(ahead.now_s)
    assert right.throttles == behind.throttles == ahead.throttles


def test_where_there_is_room_nothing_is_held_back():
    # Each environment takes three seconds to start, and Events are delivered late now and then.
    found = HiddenQueue(50, lambda source: source.uniform(0.1, 3.0), 50, cold_s=3.0)
    found.deliver_s = heavy_tail(0.03, 1.5, longest_s=5.0)
    found.run(2000)
    assert found.throttles == 0
    assert found.mean_in_flight(0.0) > 45


def test_it_returns_to_the_ceiling_when_the_room_does():
    found = run(4, 0.2, 32, 300)
    found.capacity = 32
    found.run(1500)
    began_s = found.now_s
    found.run(500)
    assert found.mean_in_flight(began_s) > 25


@pytest.mark.parametrize("by_s", [3600.0, -3600.0])
def test_a_clock_that_is_set_holds_up_nothing_for_long(by_s):
    found = run(20, 0.2, 20, 400)
    found.skew_s += by_s
    found.run(800)
    began_s = found.now_s
    found.run(400)
    assert found.mean_in_flight(began_s) > 15


def test_beside_long_calls_a_limit_that_is_too_low_is_found_out():
    # A few short calls were put off by chance, so the limit fell to what the long ones fill.
    found = HiddenQueue(20, lambda _: 600.0, 20, cold_s=0.0)
    found.scheduler._room._concurrency._limit = 2.0
    found.scheduler._room._usual_s = 0.1
    assert found.run(20) < 700.0
