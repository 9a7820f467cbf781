"""AWS's clock is learned from its answers, however late they are and whatever our clock says."""

from __future__ import annotations

import itertools
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdafutures._backends.server_clock import SKEW_MAX_S, ServerClock

# When each request was sent, how long it took to be answered, how long the answer took to us.
answers = st.lists(
    st.tuples(st.floats(0, 3600), st.floats(0, 20), st.floats(0, 20)), min_size=1, max_size=50
)
skews = st.floats(-SKEW_MAX_S, SKEW_MAX_S)
EPOCH_S = 1_795_000_000.0


def learn(clock: ServerClock, skew_s: float, asked: list[tuple[float, float, float]]) -> None:
    """Let a clock see answers of a server whose clock is ahead of ours; check each bound."""
    for at_s, there_s, back_s in sorted(asked):
        sent_s = EPOCH_S + at_s
        made_s = sent_s + there_s + skew_s
        bound_s = clock.on_answer(
            formatdate(int(made_s), usegmt=True), sent_s, sent_s + there_s + back_s
        )
        assert bound_s is not None
        assert made_s - 1e-3 <= bound_s <= made_s + 1.0 + 1e-3


@given(skews, answers)
def test_no_answer_was_made_later_than_it_says(skew_s, asked):
    clock = ServerClock()
    learn(clock, skew_s, asked)
    now_s = EPOCH_S + 4000.0
    assert clock.latest_s(now_s) >= now_s + skew_s - 1e-3
    assert clock.earliest_s(now_s) <= now_s + skew_s + 1e-3


def test_many_quick_answers_tell_it_to_a_tenth_of_a_second():
    clock = ServerClock()
    learn(clock, -300.0, [(x * 1.037, 0.02, 0.02) for x in range(60)])
    assert clock.latest_s(EPOCH_S) == pytest.approx(EPOCH_S - 300.0, abs=0.1)


def test_before_any_answer_it_may_be_as_late_as_aws_accepts_a_signature():
    assert ServerClock().latest_s(100.0) == 100.0 + SKEW_MAX_S
    assert ServerClock().earliest_s(100.0) == 100.0 - SKEW_MAX_S


def test_a_clock_that_was_set_is_learned_anew():
    clock = ServerClock()
    learn(clock, 0.0, [(x, 0.1, 0.1) for x in range(20)])
    learn(clock, 400.0, [(100.0, 0.1, 0.1)])
    assert EPOCH_S + 400.0 <= clock.latest_s(EPOCH_S) <= EPOCH_S + 401.5
    learn(clock, -200.0, itertools.repeat((200.0, 0.1, 0.1), 3))
    assert EPOCH_S - 200.0 <= clock.latest_s(EPOCH_S) <= EPOCH_S - 198.5


@pytest.mark.parametrize("date", [None, "", "yesterday", "Sun, 99 Nov 2026 12:00:00 GMT"])
def test_what_is_no_date_teaches_nothing(date):
    clock = ServerClock()
    assert clock.on_answer(date, 1.0, 2.0) is None
    assert clock.latest_s(0.0) == SKEW_MAX_S
