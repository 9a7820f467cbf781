"""Waiting ends, at the answer or at the deadline, and asks ever less often."""

from __future__ import annotations

from lambdafutures.deploy import waiting


class ManualClock:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, pause_s: float) -> None:
        self.pauses.append(pause_s)
        self.now_s += pause_s


def test_the_first_good_answer_ends_it():
    clock, answers = ManualClock(), iter([1, 2, 3, 4])
    answer = waiting.ask_until(lambda: next(answers), lambda n: n == 3, clock, clock.sleep)
    assert answer == 3
    assert len(clock.pauses) == 2


def test_the_deadline_ends_it():
    clock = ManualClock()
    answer = waiting.ask_until(lambda: "no", lambda answer: False, clock, clock.sleep)
    assert answer == "no"
    assert waiting.SETTLE_S < clock.now_s < waiting.SETTLE_S + 2 * waiting.LONGEST_PAUSE_S
    assert clock.pauses == sorted(clock.pauses)
    assert clock.pauses[-1] == waiting.LONGEST_PAUSE_S
    assert len(clock.pauses) < 250, "a few requests per second for the whole account are too many"
