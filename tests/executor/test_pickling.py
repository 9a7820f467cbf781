"""What cannot travel fails by itself, and says what it was and where."""

from __future__ import annotations

import itertools
import os
import pickle
from concurrent.futures.process import BrokenProcessPool

import pytest

from lambdafutures.exceptions import NotLoadable
from tests import calls


def test_a_call_that_cannot_be_pickled_fails_alone(ex):
    futures = [ex.submit(calls.identity, x) for x in (1, calls.lock(), 3)]
    assert futures[0].result() == 1
    assert futures[2].result() == 3
    error = futures[1].exception()
    assert type(error) is TypeError
    assert "cannot pickle '_thread.lock' object" in str(error)
    assert "arguments of this call" in "".join(error.__notes__)


def test_a_function_that_cannot_be_pickled_fails_on_its_future(ex):
    held = calls.lock()
    error = ex.submit(lambda: held).exception()
    assert type(error) is TypeError
    assert "cannot be pickled" in "".join(error.__notes__)
    with pytest.raises(TypeError, match="cannot pickle"):
        next(ex.map(lambda x: held, [1, 2]))


@pytest.mark.parametrize("chunksize", [1, 4, 10])
def test_in_a_map_the_neighbours_of_what_cannot_be_pickled_run(ex, chunksize):
    items = [calls.lock() if x == 6 else x for x in range(10)]
    results = ex.map(calls.identity, items, chunksize=chunksize)
    assert list(itertools.islice(results, 6)) == list(range(6))
    with pytest.raises(TypeError, match="cannot pickle"):
        next(results)


@pytest.mark.parametrize("chunksize", [1, 4, 10])
def test_a_result_that_cannot_be_pickled_fails_alone(ex, chunksize):
    results = ex.map(calls.lock_on, range(10), itertools.repeat(6), chunksize=chunksize)
    assert list(itertools.islice(results, 6)) == list(range(6))
    with pytest.raises(TypeError, match="cannot pickle") as caught:
        next(results)
    assert "its result, of type _thread.lock" in "".join(caught.value.__notes__)


def test_what_cannot_be_unpickled_in_the_worker_names_the_side(ex):
    error = ex.submit(calls.identity, calls.BadUnpickle()).exception()
    assert type(error) is NotLoadable
    assert isinstance(error, BrokenProcessPool)
    assert "arguments could not be unpickled in the worker: builtins.ImportError" in str(error)
    assert isinstance(error.__cause__, ImportError)
    assert ex.submit(calls.identity, 1).result() == 1


@pytest.mark.not_on("memory", reason="client and worker are one process")
def test_what_cannot_be_unpickled_in_the_client_names_the_side(ex):
    error = ex.submit(calls.for_workers_only, os.getpid()).exception()
    assert type(error) is NotLoadable
    assert "result could not be unpickled in the client: ImportError" in str(error)
    assert ex.submit(calls.identity, 1).result() == 1


def test_system_exit_while_a_result_is_pickled_is_the_calls_error(ex):
    error = ex.submit(calls.exits_when_pickled).exception()
    assert isinstance(error, SystemExit)
    assert ex.submit(calls.identity, 1).result() == 1


def test_something_nested_too_deeply_fails_alone(ex):
    deep: list[object] = []
    for _ in range(200_000):
        deep = [deep]
    error = ex.submit(len, deep).exception()
    assert isinstance(error, RecursionError | pickle.PicklingError)
    assert ex.submit(calls.identity, 1).result() == 1
    while deep:  # to free it in one go takes a deep stack as well
        deep = deep[0]
