"""No more is sent than a backend can have begun, on a manual clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lambdafutures._backends.base import StartRate
from lambdafutures._engine.ramp import ASSUMED_WARM, LAG_S, PORTION_S, Ramp
from lambdafutures._engine.room import Room

RATE = StartRate(at_once=1000, per_s=100.0)


def test_at_first_there_are_the_warm_and_those_that_start_at_once():
    assert Ramp(RATE).allowed(0.0) == ASSUMED_WARM + 1000


def test_more_can_start_as_time_passes_and_no_more_than_at_once():
    ramp = Ramp(RATE)
    ramp.on_sent(2000, 0.0)
    assert ramp.allowed(LAG_S) == 2000
    assert ramp.allowed(LAG_S + 1.0) == 2100
    ramp.on_sent(2100, LAG_S + 1.0)
    assert ramp.allowed(LAG_S + 1.0) == 2100
    assert ramp.allowed(LAG_S + 2.0) == 2200
    assert ramp.allowed(1000.0) == 3100


def test_workers_that_are_free_again_need_not_be_started():
    ramp = Ramp(RATE)
    ramp.on_sent(1500, 0.0)
    ramp.on_sent(0, 0.0)
    ramp.on_sent(1500, 0.0)
    assert ramp.allowed(0.0) == 2000


def test_portions_are_waited_for():
    ramp = Ramp(RATE)
    ramp.on_sent(2000, 4.0 - LAG_S)
    at_s = ramp.more_at_s(4.0)
    assert at_s == 4.0 + PORTION_S == 4.125
    assert ramp.allowed(at_s) == 2012


def test_a_room_without_a_rate_minds_none():
    assert Room(10_000, 120.0).allowed(0.0) == 10_000


def test_a_room_allows_what_both_allow_and_says_when_there_is_more():
    room = Room(10_000, 120.0, RATE)
    assert room.allowed(0.0) == 2000
    room.on_sent(2000, 0.0)
    assert room.more_at_s(0.0) == PORTION_S
    assert room.allowed(LAG_S + 1.0) == 2100
    assert Room(500, 120.0, RATE).allowed(0.0) == 500


def test_a_small_room_is_not_woken_for_a_ramp_that_does_not_bound_it():
    room = Room(500, 120.0, RATE)
    room.on_sent(500, 0.0)
    assert room.more_at_s(0.0) == float("inf")


STEPS = st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 1.0)), min_size=1, max_size=40)


@given(STEPS)
def test_no_span_of_time_starts_more_than_the_backend_can(steps):
    ramp = Ramp(RATE)
    now_s, most = 0.0, ASSUMED_WARM
    workers = [(now_s, most)]
    for pause_s, share in steps:
        now_s += pause_s
        in_flight = int(share * ramp.allowed(now_s))
        ramp.on_sent(in_flight, now_s)
        most = max(most, in_flight)
        workers.append((now_s, most))
        assert ramp.allowed(now_s) >= most
    for first, (since_s, before) in enumerate(workers):
        for until_s, after in workers[first:]:
            started = after - before
            assert started <= RATE.at_once + RATE.per_s * (until_s - since_s) + 1e-6
