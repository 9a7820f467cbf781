"""Values of every size, from nothing to tens of megabytes."""

from __future__ import annotations

import os

import pytest

from tests import calls

MB = 1024 * 1024


@pytest.mark.parametrize("value", [None, (), "", b"", 0, [], {}, frozenset(), Ellipsis, 2**200])
def test_tiny_values(ex, value):
    result = ex.submit(calls.identity, value).result()
    assert result == value
    assert type(result) is type(value)
    assert list(ex.map(calls.identity, [value, value], chunksize=2)) == [value, value]


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 70_000, 1_100_000, 5_000_000])
def test_bytes_of_every_size_travel_both_ways(ex, size):
    value = os.urandom(size)
    assert ex.submit(calls.identity, value).result() == value


def test_huge_values_travel_one_way_or_the_other(ex):
    assert ex.submit(len, bytes(20 * MB)).result() == 20 * MB
    assert ex.submit(bytes, 20 * MB).result() == bytes(20 * MB)


def test_a_chunk_of_large_values_travels(ex):
    values = [os.urandom(400_000) for _ in range(8)]
    assert list(ex.map(calls.identity, values, chunksize=4)) == values


def test_a_large_function_travels(ex):
    data = os.urandom(3 * MB)
    assert list(ex.map(lambda x: len(data) + x, range(4))) == [3 * MB + x for x in range(4)]


def test_many_arguments_travel(ex):
    assert ex.submit(calls.joined, *["ab"] * 2000).result() == "ab" * 2000


def test_a_result_of_many_parts_arrives(ex):
    assert len(ex.submit(calls.many_parts, 700).result()) == 700


@pytest.mark.not_on("aws", "aws-poll", reason="the deployed worker has no NumPy")
def test_arrays_of_every_size_travel_and_are_writable(ex):
    numpy = pytest.importorskip("numpy")
    for count in (0, 100, 2_500, 7_500, 9_000, 2_000_000):
        sent = numpy.arange(count, dtype=float)
        back = ex.submit(calls.identity, sent).result()
        assert (back == sent).all()
        back += 1
        assert (back == sent + 1).all()
    strided = sent[::2]
    assert (ex.submit(calls.identity, strided).result() == strided).all()
    many = list(ex.map(calls.identity, [sent[:20_000], sent[:10], sent], chunksize=3))
    assert [len(array) for array in many] == [20_000, 10, 2_000_000]
