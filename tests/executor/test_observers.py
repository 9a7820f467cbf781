"""Observers are told everything, in order; one that fails disturbs nobody."""

from __future__ import annotations

import pytest

from lambdafutures import events
from tests import calls


class Recorder:
    def __init__(self):
        self.events = []

    def on_event(self, event):
        self.events.append(event)


def test_observers_see_everything_in_order(make):
    recorder = Recorder()
    with make(1, observers=[recorder]) as ex:
        list(ex.map(calls.identity, range(10), chunksize=5))
        assert ex.submit(calls.fail, 1).exception() is not None
    kinds = [type(event).__name__ for event in recorder.events]
    assert kinds[-1] == "ExecutorClosed"
    for chunk, count in ((0, 5), (1, 5), (2, 1)):
        story = [event for event in recorder.events if getattr(event, "chunk", None) == chunk]
        assert [type(event) for event in story] == [
            events.CallsSubmitted,
            events.AttemptSent,
            events.AttemptEnded,
            events.CallsEnded,
        ]
        assert story[-1].calls == count
        assert [event.time_s for event in story] == sorted(event.time_s for event in story)
    assert sum(event.failed for event in recorder.events if hasattr(event, "failed")) == 1


def test_an_observer_that_raises_is_logged_and_the_next_one_told(make, caplog):
    class Broken:
        def on_event(self, event):
            raise RuntimeError("blind")

    recorder = Recorder()
    with make(1, observers=[Broken(), recorder]) as ex:
        assert ex.submit(calls.identity, 1).result() == 1
    assert len(recorder.events) == 5
    assert "an observer raised on CallsSubmitted" in caplog.text


def test_the_progress_bar_counts_calls(make, capsys):
    pytest.importorskip("tqdm")
    with make(1, progress=True) as ex:
        list(ex.map(calls.identity, range(40), chunksize=10))
    assert "40/40" in capsys.readouterr().err


@pytest.mark.not_on("memory", reason="what threads print is shown, but cannot be told apart")
def test_output_and_logs_are_kept_per_call(ex):
    futures = [ex.submit(calls.speak, text) for text in ("one", "two")]
    for future, text in zip(futures, ("one", "two"), strict=True):
        future.result()
        # What is logged may stand there, too: Lambda's own handler prints it.
        assert future.output.stdout.startswith(f"out {text}\n")
        assert f"err {text}\n" in future.output.stderr
        (line,) = future.output.logs
        assert (line.level, line.logger, line.message) == ("WARNING", "speaker", f"log {text}")


@pytest.mark.not_on("memory", reason="what threads log is not kept")
def test_a_record_that_cannot_be_formatted_does_not_fail_the_call(ex):
    assert ex.submit(calls.log_unprintable).result() == "went on"
