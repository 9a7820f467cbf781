"""CPython's own tests of executors pass, but for those that are left out with a reason."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests import cpython_mixins

PATIENCE_S = 300
# About as long each: most of it is sleeping, so they run side by side.
HALVES = (("AsCompletedTests", "WaitTests"), tuple(cpython_mixins.MIXINS[1:-1]))


def test_the_halves_are_all_of_it():
    assert sorted(sum(HALVES, ())) == sorted(cpython_mixins.MIXINS)


def test_cpythons_own_tests_pass():
    python = cpython_mixins.find_python()
    if python is None:
        pytest.skip(cpython_mixins.NOWHERE)
    running = [
        cpython_mixins.start(
            python,
            *[word for mixin in half for word in ("-k", f".{mixin}.")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for half in HALVES
    ]
    for each in running:
        said, _ = each.communicate(timeout=PATIENCE_S)
        assert each.returncode == 0, said
        assert int(re.findall(r"Ran (\d+) tests", said)[0]) > 10, said
