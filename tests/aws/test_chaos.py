"""Every fault at once, in little; `python -m tests.benchmarks.chaos` does it with 10,000 calls."""

from __future__ import annotations

import pytest

from tests.benchmarks import chaos_run

CALLS = 100


# With these seeds each kind of fault comes within the first hundred requests that it can hit.
@pytest.mark.parametrize(("mode", "seed"), [("response", 20), ("poll", 109), ("auto", 151)])
def test_nobody_notices_the_chaos(mode, seed):
    figures = chaos_run.run(mode, seed, CALLS)
    hit = {name for name, count in figures.faults.items() if count}
    assert hit >= {"lambda 5xx", "throttles", "cut answers", "killed runners", "killed sandboxes"}
    if mode == "poll":
        assert hit == figures.faults.keys()
    assert figures.attempts > 1
