"""The initializer runs once in each worker, before its first call; one that fails ends it all."""

from __future__ import annotations

import contextlib
from concurrent.futures.process import BrokenProcessPool

import pytest

from lambdafutures import BrokenExecutor
from lambdafutures.exceptions import InitializerFailed
from tests import calls


def test_it_runs_once_in_each_worker_with_its_arguments(make, backend, tmp_path):
    initargs = (str(tmp_path), "begun")
    with make(2, initializer=calls.note_run, initargs=initargs) as ex:
        workers = set(ex.map(calls.worker_name, range(30)))
    begun = calls.runs(tmp_path, "begun")
    if backend.name.startswith("aws"):
        assert begun == len(workers)
    else:  # a worker that was started for a call may find that another has taken it
        assert len(workers) <= begun <= ex.statistics().workers_started <= 2


def test_one_worker_initializes_once(make, tmp_path):
    with make(1, initializer=calls.note_run, initargs=(str(tmp_path), "begun")) as ex:
        workers = {ex.submit(calls.worker_name).result() for _ in range(5)}
    assert calls.runs(tmp_path, "begun") == len(workers)


def test_what_it_sets_is_there_for_the_calls(make):
    def begin(value):
        calls.state["set by an initializer"] = value

    def read():
        return calls.state["set by an initializer"]

    with make(1, initializer=begin, initargs=("value",)) as ex:
        assert {ex.submit(read).result() for _ in range(3)} == {"value"}
    calls.state.pop("set by an initializer", None)


@pytest.mark.parametrize("fails", [calls.fail_to_initialize, calls.leave, calls.interrupt])
def test_one_that_fails_breaks_the_executor(make, fails):
    ex = make(2, initializer=fails)
    futures = [ex.submit(calls.identity, 0)]
    with contextlib.suppress(BrokenProcessPool):  # where it has failed already
        for x in range(1, 5):
            futures.append(ex.submit(calls.identity, x))  # noqa: PERF401 - those before count
    kinds = {
        calls.fail_to_initialize: "RuntimeError: no initializer today",
        calls.leave: "SystemExit: 3",
        calls.interrupt: "KeyboardInterrupt",
    }
    for future in futures:
        error = future.exception(20)
        assert isinstance(error, InitializerFailed)
        assert isinstance(error, BrokenProcessPool)
        assert isinstance(error, BrokenExecutor)
        assert kinds[fails] in str(error)
    for _ in range(2):
        with pytest.raises(BrokenProcessPool):
            ex.submit(calls.identity, 1)
    with pytest.raises(BrokenProcessPool):
        ex.map(calls.identity, [1])
    ex.shutdown()


def test_one_that_cannot_be_pickled_is_an_error_of_the_first_submit(make):
    ex = make(1, initializer=calls.identity, initargs=(calls.lock(),))
    for _ in range(2):
        with pytest.raises(TypeError, match="cannot pickle"):
            ex.submit(calls.identity, 1)
