"""Exceptions of the call's own come home as they were, and tell where they come from."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import traceback
from concurrent.futures.process import _RemoteTraceback

import pytest

from lambdafutures import RetryPolicy
from lambdafutures.exceptions import RemoteError
from tests import calls


def test_an_exception_comes_home_with_its_remote_traceback(ex):
    error = ex.submit(calls.fail, 7).exception()
    assert type(error) is ValueError
    assert error.args == ("bad 7",)
    assert type(error.__cause__) is _RemoteTraceback
    assert 'raise ValueError(f"bad {x}")' in error.__cause__.tb
    assert "execute.py" not in error.__cause__.tb


def test_the_traceback_reads_from_the_worker_to_here(ex):
    with pytest.raises(ValueError, match="bad 7") as caught:
        ex.submit(calls.fail, 7).result()
    text = "".join(traceback.format_exception(caught.value))
    there, here = text.split("The above exception was the direct cause of the following exception")
    assert 'raise ValueError(f"bad {x}")' in there
    assert "ex.submit(calls.fail, 7).result()" in here


def test_exceptions_that_want_several_arguments_travel(ex):
    error = ex.submit(calls.fail_with_two, 404, "gone").exception()
    assert type(error) is calls.NeedsTwo
    assert (error.code, error.text, str(error)) == (404, "gone", "404: gone")


def test_exceptions_of_a_script_or_a_closure_travel(ex):
    class Odd(LookupError):
        def __init__(self, *, key):
            super().__init__(f"no {key}")
            self.key = key

    def raise_odd():
        raise Odd(key="k")

    with pytest.raises(LookupError, match="no k") as caught:
        ex.submit(raise_odd).result()
    assert caught.value.key == "k"


def test_an_exception_that_cannot_travel_is_described(ex):
    error = ex.submit(calls.fail_untravelling).exception()
    assert type(error) is RemoteError
    assert str(error) == "tests.calls.CannotTravel: from afar"
    assert "fail_untravelling" in error.__cause__.tb


def test_a_chain_of_exceptions_is_told(ex):
    error = ex.submit(calls.chain).exception()
    assert type(error) is RuntimeError
    assert "KeyError: 'missing'" in error.__cause__.tb
    assert "direct cause" in error.__cause__.tb
    assert "RuntimeError: outer" in error.__cause__.tb


def test_notes_and_groups_travel(ex):
    def fail_with_notes():
        error = ValueError("noted")
        error.add_note("a note")
        raise error

    def fail_in_group():
        raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])

    assert ex.submit(fail_with_notes).exception().__notes__ == ["a note"]
    group = ex.submit(fail_in_group).exception()
    assert isinstance(group, ExceptionGroup)
    assert [repr(each) for each in group.exceptions] == ["ValueError('one')", "KeyError('two')"]


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, StopIteration]
)
def test_base_exceptions_are_the_calls_own(ex, kind):
    future = ex.submit(calls.raise_, kind, "why")
    error = future.exception()
    assert type(error) is kind
    assert error.args == ("why",)
    assert not future.cancelled()
    with pytest.raises(kind):
        future.result()
    assert ex.submit(calls.identity, 1).result() == 1


def test_the_status_of_sys_exit_is_kept(ex):
    error = ex.submit(calls.leave, 5).exception()
    assert type(error) is SystemExit
    assert error.code == 5


def test_other_calls_of_the_chunk_keep_their_results(ex):
    results = ex.map(calls.fail_on, range(10), itertools.repeat(9), chunksize=10)
    assert list(itertools.islice(results, 9)) == list(range(9))


def test_each_time_it_is_raised_it_is_the_same_exception_and_its_traceback_does_not_grow(ex):
    future = ex.submit(calls.fail, 1)
    lengths = set()
    for _ in range(3):
        with pytest.raises(ValueError, match="bad 1") as caught:
            future.result()
        assert caught.value is future.exception()
        lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))
    assert max(lengths) <= 3 * min(lengths)  # as in the standard library, it is raised in one place


def test_a_returned_exception_is_a_result_like_any_other(ex):
    result = ex.submit(calls.identity, ValueError("mine")).result()
    assert type(result) is ValueError
    assert ex.submit(calls.identity, result).exception() is None


def test_an_exception_can_be_pickled_on(ex):
    error = ex.submit(calls.fail, 1).exception()
    assert pickle.loads(pickle.dumps(error)).args == ("bad 1",)


def test_a_named_exception_is_retried(make, tmp_path):
    def flaky(folder):
        from tests import calls

        calls.note_run(folder, "flaky")
        if calls.runs(folder, "flaky") < 3:
            raise ConnectionError("again")
        return "well"

    ex = make(2, retry=RetryPolicy(attempts=3, on_exceptions=(OSError,), backoff_s=0.001))
    future = ex.submit(flaky, str(tmp_path))
    assert future.result() == "well"
    assert future.attempts == 3
    assert ex.submit(calls.fail, 1).exception().args == ("bad 1",)
    assert ex.statistics().retries == 2
