"""How many attempts are in flight, and when outcomes are looked for. On a manual clock."""

from __future__ import annotations

from lambdafutures._backends.pacing import CEILING_S, FLOOR_S, KEYS_PER_LIST, Pacing, plan
from lambdafutures._engine.concurrency import PAUSE_S, Concurrency


def run(limit: Concurrency, capacity: int, calls: int) -> tuple[int, int]:
    """Run calls of one second each; return the number of throttles, and of seconds."""
    now_s, throttles, rounds = 0.0, 0, 0
    while calls > 0:
        sent = min(limit.allowed(now_s), calls)
        accepted = min(sent, capacity)
        for refused in range(sent - accepted):
            limit.on_throttled(sent - refused - 1, 0.0, now_s, now_s + 0.01)
            throttles += 1
        for _ in range(accepted):
            limit.on_success()
        calls -= accepted
        rounds += 1
        now_s += 1.0
    return throttles, rounds


def test_it_converges_on_the_capacity_without_a_storm():
    throttles, rounds = run(Concurrency(1000), 100, 10_000)
    assert throttles < 900 + 1_000  # the first salvo, and 10 % of the calls
    assert rounds < 1.5 * 100


def test_it_is_found_in_one_salvo():
    limit = Concurrency(50)
    for left in range(49, 4, -1):
        limit.on_throttled(left, 0.0, 0.0, 0.01)
    assert limit.allowed(0.0) == 0
    assert limit.allowed(0.02 + PAUSE_S) == 5


def test_it_returns_to_the_ceiling_when_the_capacity_does():
    limit = Concurrency(1000)
    run(limit, 100, 5_000)
    run(limit, 1000, 30_000)
    assert limit.allowed(1e9) == 1000


# -------------------------------------------------------------------- the pace of polling


def test_few_outcomes_are_asked_for_and_many_are_listed():
    assert plan([(x, 1) for x in range(5)]) == ([(x, 1) for x in range(5)], [])
    assert plan([(x, 1) for x in range(300)]) == ([], [(0, 299)])
    assert plan([]) == ([], [])


def test_what_is_finished_is_not_listed_again():
    straggler = [(3, 1)]
    newest = [(50_000 + x, 1) for x in range(1500)]
    probes, windows = plan([*straggler, *newest])
    assert probes == straggler
    assert windows == [(50_000, 50_000 + KEYS_PER_LIST - 1), (51_000, 51_499)]


def test_the_pace_follows_how_long_calls_take():
    pace = Pacing()
    assert pace.ask_delay_s(0.0) == FLOOR_S
    assert pace.ask_delay_s(100.0) == 5.0
    assert pace.ask_delay_s(1e6) == CEILING_S
    for _ in range(50):
        pace.on_outcome(2.0)
    assert abs(pace.ask_delay_s(1.5) - 0.1) < 0.001
    assert pace.ask_delay_s(0.0) == FLOOR_S
    assert pace.list_delay_s(0.0) == 0.1
    # One that takes longer than usual is asked for more and more slowly; a listing is for all.
    assert pace.ask_delay_s(100.0) == 5.0
    assert abs(pace.list_delay_s(100.0) - 0.1) < 0.001
