"""CPU that the client spends on a call through an AWS that costs nothing, one call per invocation.

Run as ``python -m tests.benchmarks.client_cpu [--full] [--peers]``. Both ways of hot requests are
measured in turn; the wall time is another matter (`latency.py`).
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack

from lambdafutures import LambdaPoolExecutor
from lambdafutures._backends.hot_requests import SWITCH_VARIABLE
from tests.benchmarks import table
from tests.benchmarks.instant_aws import InstantAws
from tests.benchmarks.table import Options, Row, at_most
from tests.benchmarks.work import no_op

WORKERS = 256
GOALS_US = {"response": 250.0, "poll": 450.0}
LITHOPS_RATIO = 5.0
LITHOPS_CALLS = 300


def spent_us(ex: LambdaPoolExecutor, calls: int) -> float:
    """Return the microseconds of CPU per call of a map."""
    began_s = time.process_time()
    results = list(ex.map(no_op, range(calls)))
    spent_s = time.process_time() - began_s
    assert results == [None] * calls
    return spent_s / calls * 1e6


def opened(stack: ExitStack, mode: str, way: str) -> LambdaPoolExecutor:
    """Return an executor that has run calls already."""
    os.environ[SWITCH_VARIABLE] = way
    ex = LambdaPoolExecutor(WORKERS, backend="aws", completion=mode)  # type: ignore[arg-type]
    stack.enter_context(ex)
    spent_us(ex, 2 * WORKERS)
    return ex


def rows(options: Options) -> Iterator[Row]:
    """Measure."""
    rounds, calls = options.pick(5, 15), options.pick(1000, 3000)
    lithops: list[float] = []
    found: dict[tuple[str, str], list[float]] = {}
    with InstantAws() as aws, ExitStack() as stack:
        executors = {
            (mode, way): opened(stack, mode, way) for mode in GOALS_US for way in ("", "off")
        }
        for _ in range(rounds):
            for name, ex in executors.items():
                found.setdefault(name, []).append(spent_us(ex, calls))
            if options.peers is not None and len(lithops) < options.pick(2, 5):
                told = options.peers.run("peer_lithops.py", "cpu", aws.endpoint_url, LITHOPS_CALLS)
                lithops.append(told["cpu_s"] * 1e6)
    other = statistics.median(lithops) if lithops else None
    for mode, goal_us in GOALS_US.items():
        ours = statistics.median(found[mode, ""])
        botocore = statistics.median(found[mode, "off"])
        yield at_most(
            f"client CPU per call, {mode}", ours, "us", goal_us, other, "Lithops", LITHOPS_RATIO
        )
        yield at_most(
            f"client CPU per call, {mode}, the short way", ours, "us", None, botocore, "botocore's"
        )


if __name__ == "__main__":
    table.main(rows, __doc__)
