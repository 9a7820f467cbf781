"""The public fakes do what AWS does to calls; and what executors make of it."""

from __future__ import annotations

import itertools

import pytest

from lambdafutures import RetryPolicy, events, testing
from lambdafutures.exceptions import CallTimeout, OutOfMemory, WorkerDied
from lambdafutures.testing import DIED, LOST, MEMORY, THROTTLED, TIME, scripted_executor
from tests import calls

pytestmark = pytest.mark.usefixtures("nothing_left")

AT_ONCE = RetryPolicy(attempts=3, backoff_s=0.0)


def test_a_script_that_is_over_lets_calls_run():
    with scripted_executor([None, DIED, None, LOST], retry=AT_ONCE) as ex:
        futures = [ex.submit(calls.identity, x) for x in range(4)]
        assert [future.result() for future in futures] == [0, 1, 2, 3]
        assert [future.attempts for future in futures] == [1, 2, 2, 1]
        assert ex.statistics().retries == 2


@pytest.mark.parametrize(
    ("fault", "error", "tries"),
    [
        (DIED, WorkerDied, 3),
        (LOST, WorkerDied, 3),
        (MEMORY, OutOfMemory, 3),
        (TIME, CallTimeout, 1),
    ],
)
def test_faults_become_errors_after_their_tries(fault, error, tries):
    with scripted_executor([fault] * tries, retry=AT_ONCE) as ex:
        future = ex.submit(calls.identity, 1)
        tried = "once" if tries == 1 else f"{tries} times"
        with pytest.raises(error, match=f"call 0 .*as the test's script has it .tried {tried}"):
            future.result()
        assert ex.submit(calls.identity, 2).result() == 2


def test_a_throttle_costs_no_try():
    with scripted_executor([THROTTLED, THROTTLED], retry=RetryPolicy(attempts=1)) as ex:
        future = ex.submit(calls.identity, 1)
        assert (future.result(), future.attempts) == (1, 1)


def test_a_map_loses_nothing_by_an_endless_script():
    script = itertools.cycle([DIED, None, LOST, None])
    with scripted_executor(script, 3, retry=RetryPolicy(attempts=50, backoff_s=0.0)) as ex:
        assert list(ex.map(calls.identity, range(100), chunksize=7)) == list(range(100))


def test_calls_of_a_chunk_whose_worker_died_are_blamed_one_by_one():
    with scripted_executor([DIED] * 4, retry=RetryPolicy(attempts=1)) as ex:
        results = ex.map(calls.identity, range(2), chunksize=2)
        with pytest.raises(WorkerDied, match="call 0 of chunk 0"):
            next(results)


def test_observers_are_told_of_a_scripted_fault():
    seen = []

    class Recorder:
        def on_event(self, event):
            seen.append(event)

    with scripted_executor([DIED], retry=AT_ONCE, observers=[Recorder()]) as ex:
        ex.submit(calls.identity, 1).result()
    faults = [event.fault for event in seen if isinstance(event, events.AttemptEnded)]
    assert faults == ["ended its worker, as the test's script has it", None]


def test_a_name_that_is_no_faults_is_an_error():
    with (
        scripted_executor(["tired"]) as ex,
        pytest.raises(ValueError, match="no fault is called 'tired': use one of .*'died'"),
    ):
        ex.submit(calls.identity, 1).result()


def test_all_is_what_there_is():
    assert set(testing.__all__) == {*(f.upper() for f in testing.FAULTS), "FAULTS"} | {
        "scripted_executor"
    }
