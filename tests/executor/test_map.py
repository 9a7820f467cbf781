"""`map`: order, chunks, laziness, time-outs, and exceptions in the middle."""

from __future__ import annotations

import gc
import itertools
import operator
import weakref

import pytest

from tests import calls
from tests.conftest import wait_until


def test_map_keeps_the_order(ex):
    assert list(ex.map(pow, range(60), itertools.repeat(2))) == [x * x for x in range(60)]


@pytest.mark.parametrize("buffersize", [None, 1, 3])
@pytest.mark.parametrize("chunksize", [1, 7, 5000, "auto"])
def test_map_in_chunks_gives_the_same(ex, chunksize, buffersize):
    count = 15 if chunksize == 1 else 100
    results = ex.map(operator.neg, range(count), chunksize=chunksize, buffersize=buffersize)
    assert list(results) == [-x for x in range(count)]


def test_map_ends_with_the_shortest_iterable(ex):
    assert list(ex.map(calls.add, [1, 2, 3], iter([10, 20]))) == [11, 22]
    assert list(ex.map(calls.add, itertools.count(), [10, 20], chunksize=5)) == [10, 21]
    assert list(ex.map(pow, range(40), itertools.repeat(2), chunksize="auto"))[-1] == 39 * 39
    assert list(ex.map(calls.identity, [])) == []
    assert list(ex.map(calls.identity)) == []


def test_map_takes_as_many_iterables_as_the_function_has_arguments(ex):
    assert list(ex.map(calls.joined, "ab", "cd", "ef", chunksize=2)) == ["ace", "bdf"]


def test_calls_of_a_map_run_before_anybody_asks_for_results(ex, tmp_path):
    results = ex.map(calls.note_run, itertools.repeat(str(tmp_path)), range(4), chunksize=2)
    wait_until(lambda: all(calls.runs(tmp_path, x) == 1 for x in range(4)))
    assert list(results) == list(range(4))


def test_without_a_buffersize_all_arguments_are_read_at_once(ex):
    read = []
    results = ex.map(calls.identity, (read.append(x) or x for x in range(20)), chunksize=3)
    assert read == list(range(20))
    assert list(results) == read


def test_map_reads_an_endless_iterable_as_results_are_read(ex):
    read = []

    def endless():
        for number in itertools.count():
            read.append(number)
            yield number

    results = ex.map(calls.identity, endless(), chunksize=2, buffersize=3)
    assert len(read) == 6
    assert list(itertools.islice(results, 10)) == list(range(10))
    assert len(read) <= 10 + 8
    results.close()
    gc.collect()
    assert len(read) <= 10 + 8


def test_two_maps_may_be_read_in_turn(ex):
    one = ex.map(calls.identity, range(20), chunksize=3)
    other = ex.map(operator.neg, range(20), buffersize=2)
    assert list(zip(one, other, strict=True)) == [(x, -x) for x in range(20)]


@pytest.mark.parametrize("chunksize", [1, 3, 10])
def test_map_raises_the_calls_exception_in_its_place_and_ends(ex, chunksize):
    results = ex.map(calls.fail_on, range(10), itertools.repeat(4), chunksize=chunksize)
    assert list(itertools.islice(results, 4)) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="bad 4"):
        next(results)
    assert list(results) == []


def test_an_iterable_that_raises_does_so_at_once_and_the_executor_goes_on(ex):
    def items():
        yield 1
        yield 2
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        ex.map(calls.identity, items())
    results = ex.map(calls.identity, items(), buffersize=1)
    assert next(results) == 1
    with pytest.raises(LookupError, match="no more"):
        list(results)
    assert ex.submit(calls.identity, 1).result() == 1


def test_a_map_times_out_and_ends(ex, tmp_path):
    go = tmp_path / "go"
    results = ex.map(calls.wait_for_file, [str(go), "/"], timeout=0.05)
    with pytest.raises(TimeoutError):
        next(results)
    assert list(results) == []
    go.touch()


def test_a_result_that_is_there_is_given_even_when_the_time_is_over(ex):
    late = ex.map(calls.identity, [7], timeout=0)
    wait_until(late._course.pending[0].done)
    assert list(late) == [7]
    assert list(ex.map(calls.identity, range(3), timeout=60)) == [0, 1, 2]


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_a_map_that_nobody_reads_on_cancels_what_has_not_been_sent(make, tmp_path, how):
    go = tmp_path / "go"
    ex = make(1)
    # Only the first call may end before the map is let go, however fast the others would be.
    results = ex.map(calls.wait_for_file_if, [None, *[str(go)] * 29], range(30))
    assert next(results) == 0
    if how == "closed":
        results.close()
        assert list(results) == []
    else:
        del results
    go.touch()
    ex.shutdown()
    figures = ex.statistics()
    assert figures.calls_cancelled > 0
    assert figures.calls_done + figures.calls_cancelled == 30


def test_a_map_whose_executor_is_gone_gives_its_results(make):
    results = make(2).map(calls.identity, range(20), chunksize=3)
    assert list(results) == list(range(20))


def test_results_that_were_taken_are_not_kept(ex):
    class Thing:
        pass

    alive = []
    for thing in ex.map(calls.identity, (Thing() for _ in range(40)), chunksize=10):
        alive.append(weakref.ref(thing))
        del thing
        assert sum(reference() is not None for reference in alive) <= 1


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"chunksize": 0}, ValueError, "chunksize must be >= 1"),
        ({"chunksize": -1}, ValueError, "chunksize must be >= 1"),
        ({"buffersize": 0}, ValueError, "buffersize must be None or > 0"),
        ({"buffersize": "2"}, TypeError, "buffersize must be an integer"),
    ],
)
def test_arguments_of_map_are_checked_before_anything_is_read(ex, arguments, kind, message):
    read = []
    with pytest.raises(kind, match=message):
        ex.map(calls.identity, (read.append(x) for x in range(3)), **arguments)
    assert read == []
