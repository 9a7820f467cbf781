"""What libraries that take an executor look for, and what they must not find left behind."""

from __future__ import annotations

import copy
import gc
import os
import subprocess
import sys
import weakref
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor, wait
from concurrent.futures.process import _RemoteTraceback

import pytest

from lambdafutures import LambdaPoolExecutor
from lambdafutures.exceptions import InitializerFailed, NotLoadable
from tests import calls

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_libraries_find_the_number_of_workers_and_whether_it_is_broken():
    with LambdaPoolExecutor(3, initializer=calls.fail_to_initialize, backend="local") as ex:
        assert isinstance(ex, Executor)
        assert ex._max_workers == ex.with_options(time_s=5)._max_workers == 3
        assert ex._broken is False
        assert isinstance(ex.submit(abs, 1).exception(), InitializerFailed)
        assert isinstance(ex._broken, BrokenExecutor)
        with pytest.raises(BrokenExecutor):
            ex.submit(abs, 1)


def test_one_warm_worker_serves_calls_that_come_one_by_one(ex):
    assert len({ex.submit(calls.pid).result() for _ in range(10)}) == 1
    assert ex.statistics().workers_started == 1


def test_futures_of_several_kinds_of_executor_are_waited_for_together(ex):
    with LambdaPoolExecutor(1, backend="local") as other, ThreadPoolExecutor(1) as threads:
        futures = {each.submit(abs, -1) for each in (ex, other, threads)}
        assert wait(futures, timeout=20).done == futures


@pytest.mark.parametrize(
    "way_to_fail", [calls.ExitsWhenUnpickledInClient, calls.BadUnpickleInClient]
)
def test_a_result_that_ends_the_client_when_it_is_unpickled_does_not(ex, way_to_fail):
    future = ex.submit(calls.make, way_to_fail, os.getpid())
    error = future.exception()
    assert type(error) is NotLoadable
    assert isinstance(error.__cause__, (SystemExit, ImportError))
    assert "_refuse_in" in error.__cause__.__cause__.tb
    assert ex.submit(abs, -1).result() == 1


class Held:
    """What a frame holds; a list cannot be referred to weakly."""


@pytest.mark.parametrize(
    ("fn", "argument"),
    [
        (calls.identity, calls.lock()),
        (calls.fail, 1),
        (calls.for_workers_only, os.getpid()),
        (calls.identity, calls.BadUnpickle()),
    ],
)
def test_exceptions_on_futures_hold_no_frames(ex, fn, argument):
    """Else the variables of all callers would live until the garbage collector runs."""

    def caller():
        held = Held()
        future = ex.submit(fn, argument)
        error = future.exception()
        assert error is not None
        assert type(root(error)) is _RemoteTraceback
        return weakref.ref(held)

    def root(error):
        return root(error.__cause__) if error.__cause__ else error

    gc.collect()
    gc.disable()
    try:
        assert caller()() is None
    finally:
        gc.enable()


def test_an_executor_that_is_gone_leaves_nothing_to_the_garbage_collector():
    def use():
        with LambdaPoolExecutor(2, backend="local") as ex:
            assert ex.submit(abs, -1).result() == 1
            assert list(ex.map(abs, range(-5, 0), chunksize=2)) == [5, 4, 3, 2, 1]
            return [weakref.ref(part) for part in (ex, ex._pool, ex._pool.session)]

    gc.collect()
    gc.disable()
    try:
        assert [part() for part in use()] == [None] * 3
    finally:
        gc.enable()


def test_executors_do_not_travel(ex):
    assert isinstance(ex.submit(calls.identity, ex).exception(), TypeError)


def test_a_copy_of_an_executor_is_the_same_pool(ex):
    other = copy.copy(ex)
    assert other.submit(abs, -1).result() == 1
    other.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        ex.submit(abs, 1)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="new in Python 3.13")
def test_the_number_of_processors_may_be_given_to_the_interpreter():
    code = (
        "from lambdafutures import LambdaPoolExecutor; "
        "print(LambdaPoolExecutor(backend='local')._max_workers)"
    )
    done = subprocess.run(
        [sys.executable, "-X", "cpu_count=7", "-c", code], capture_output=True, text=True
    )
    assert done.stdout == "7\n", done.stderr


def test_pickling_errors_that_come_after_shutdown_was_asked_for():
    ex = LambdaPoolExecutor(1, backend="local")
    future = ex.submit(calls.identity, calls.lock())
    ex.shutdown(wait=False)
    assert isinstance(future.exception(20), TypeError)
    ex.shutdown()
