"""Many executors, many calls: nothing is left of them, and memory stays as it is."""

from __future__ import annotations

import gc
import threading

import pytest

from lambdafutures import LambdaPoolExecutor
from tests import calls
from tests.conftest import _belongings, left_since, wait_until

EXECUTORS = {"memory": 1000, "local": 50, "aws": 20, "aws-poll": 20}
"""How many are opened, used and closed one after the other; a tenth as many come first."""
# An executor that has run a call is made of hundreds of objects; on AWS, botocore's caches keep a
# few for each. (Resident memory is no measure there: to read botocore's models takes 30 MB each
# time and leaves the heap in pieces.)
OBJECTS_LEFT_MAX = 20


def test_executors_opened_one_after_the_other_leave_nothing(backend):
    def use(count):
        for number in range(count):
            with backend.executor(2) as ex:
                assert ex.submit(calls.identity, number).result() == number
        gc.collect()

    count = EXECUTORS[backend.name]
    use(max(3, count // 10))  # what libraries keep is there from now on
    before, megabytes, objects = _belongings(), calls.resident_mb(), len(gc.get_objects())
    use(count)
    wait_until(lambda: not left_since(before), lambda: f"left: {left_since(before)}")
    assert len(gc.get_objects()) - objects < OBJECTS_LEFT_MAX * count
    if not backend.name.startswith("aws"):
        assert calls.resident_mb() - megabytes < 10


def test_a_map_over_an_endless_iterable_uses_bounded_memory(backend, tmp_path):
    """Results of 50 MB are read, of which the window holds 2.5."""
    said = backend.run_script(
        tmp_path / "script.py",
        """
import gc, itertools, tracemalloc
from lambdafutures import LambdaPoolExecutor

def work(x):
    return x.to_bytes(8, "big") * 1250

with LambdaPoolExecutor(2, **OPTIONS) as ex:
    results = ex.map(work, itertools.count(), chunksize=50, buffersize=5)
    assert next(results) == work(0)
    tracemalloc.start()
    for x in range(1, 5001):
        assert next(results) == work(x)
    gc.collect()
    now, peak = tracemalloc.get_traced_memory()
    results.close()
print(now, peak)
""",
    )
    now, peak = map(int, said.split())
    # Parts of the window are there twice and thrice on their way.
    assert now < 10e6
    assert peak < 20e6


only_local = pytest.mark.not_on("memory", "aws", "aws-poll", reason="it would take minutes there")


@only_local
def test_a_million_calls_grow_nothing_by_their_results(backend, tmp_path):
    said = backend.run_script(
        tmp_path / "script.py",
        """
from lambdafutures import LambdaPoolExecutor
from tests.calls import identity, resident_mb

with LambdaPoolExecutor(2, **OPTIONS) as ex:
    results = ex.map(identity, range(1_000_000), chunksize=1000)
    for x, result in enumerate(results):
        assert x == result
        if x == 200_000:
            first = resident_mb()
print(x, resident_mb() - first)
""",
    )
    last, grown_mb = said.split()
    assert last == "999999"
    # 800,000 numbers in a list would take 30 MB.
    assert float(grown_mb) < 10


@only_local
def test_eight_threads_submit_ten_thousand_calls_each(backend):
    before = _belongings()
    right: list[bool] = []

    def work(number):
        futures = [ex.submit(calls.add, number, x) for x in range(10_000)]
        right.append([each.result() for each in futures] == [number + x for x in range(10_000)])

    with LambdaPoolExecutor(2, **backend.options) as ex:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        figures = ex.statistics()
    assert right == [True] * 8
    assert (figures.calls_done, figures.calls_failed, figures.retries) == (80_000, 0, 0)
    wait_until(lambda: not left_since(before), lambda: f"left: {left_since(before)}")
