"""A real grid search with packages that the worker's own environment lacks.

This downloads numpy, SciPy and scikit-learn, some 60 MB, once; it is skipped where no package index
can be reached.
"""

from __future__ import annotations

import pytest

from lambdafutures._environment import runtimes
from lambdafutures._environment.requirements import read
from lambdafutures._environment.target import Target
from lambdafutures.exceptions import PackageError

REQUIREMENTS = ["numpy", "scikit-learn==1.7.*"]
TARGET = Target.of_lambda(Target.here().python, Target.here().arch)
GRID = [
    {"C": 10.0 ** (c / 2), "gamma": 10.0 ** (-g / 4)} for c in range(-3, 7) for g in range(4, 24)
]


def score(parameters):
    """The accuracy of a support vector machine on the digits, 3-fold."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import cross_val_score
    from sklearn.svm import SVC

    data, target = load_digits(return_X_y=True)
    return float(cross_val_score(SVC(**parameters), data[:300] / 16, target[:300], cv=3).mean())


score.__module__ = "__main__"  # as in a script: it travels by value


@pytest.fixture
def built(shared_home):
    try:
        return runtimes.provide(read(REQUIREMENTS), TARGET)
    except PackageError as error:
        pytest.skip(f"no package index: {error}")


def show(name, future, statistics, pytestconfig):
    timings = future.timings
    text = (
        f"{name}: set-up {timings.setup_s:.2f} s, {future.fetched_bytes / 1e6:.1f} MB fetched, "
        f"call {timings.run_s:.2f} s, share of set-up so far "
        f"{statistics.setup_s / (statistics.setup_s + statistics.run_s):.0%}"
    )
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{text}", end="")


def test_a_grid_search_over_200_candidates(built, plain, pytestconfig):
    assert len(GRID) == 200
    with plain.executor(1) as ex:
        error = ex.submit(score, GRID[0]).exception()
        assert isinstance(error, ModuleNotFoundError), "the worker's own environment lacks it"
        assert "LambdaPoolExecutor(requirements=[...])" in error.__notes__[0]
    plain.remember(python=Target.here().python)
    with plain.executor(2, requirements=REQUIREMENTS) as ex:
        cold = ex.submit(score, GRID[0])
        cold.result()
        show("cold", cold, ex.statistics(), pytestconfig)
        warm = ex.submit(score, GRID[0])
        assert warm.result() == cold.result()
        show("warm", warm, ex.statistics(), pytestconfig)
        scores = list(ex.map(score, GRID, chunksize=10))
        show("then", warm, ex.statistics(), pytestconfig)
        assert ex.environment.packages["scikit-learn"].startswith("1.7.")
    assert cold.fetched_bytes == built.bundle.packed_bytes
    assert warm.fetched_bytes == 0
    assert warm.timings.setup_s < cold.timings.setup_s / 10
    assert max(scores) > 0.9
    assert scores[0] == cold.result()
    assert len(set(scores)) > 20
