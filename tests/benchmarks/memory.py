"""What the client's memory holds: per call under way, per delivered one, and in a windowed map.

Run as ``python -m tests.benchmarks.memory [--full]``; each figure is of a process of its own.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator

from lambdafutures import LambdaPoolExecutor
from tests.benchmarks import table
from tests.benchmarks.instant_aws import ROOT, InstantAws
from tests.benchmarks.local import peak_memory_bytes
from tests.benchmarks.table import Options, Row, at_most
from tests.benchmarks.work import no_op

OUTSTANDING = 10_000
WINDOW = 1000
CALL_GOAL_KB = 4.0
DELIVERED_GOAL_BYTES = 20.0
WINDOWED_GOAL_MB = 150.0
LONG_S = 3600.0


def resident_bytes() -> int:
    """Return this process's resident memory."""
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def executor(workers: int, mode: str) -> LambdaPoolExecutor:
    """Return an executor that has run calls already."""
    ex = LambdaPoolExecutor(workers, backend="aws", completion=mode)  # type: ignore[arg-type]
    list(ex.map(no_op, range(100)))
    return ex


def waiting(calls: int) -> float:
    """Return the bytes per call that waits for a worker."""
    with InstantAws() as aws, executor(1, "response") as ex:
        aws.set(run_s=LONG_S)
        before = resident_bytes()
        futures = [ex.submit(no_op, x) for x in range(calls)]
        while ex.statistics().calls_submitted < calls + 100:
            time.sleep(0.01)
        spent = resident_bytes() - before
        ex.kill_workers()
        return spent / len(futures)


def in_flight(calls: int) -> float:
    """Return the bytes per call that runs, its outcome to be collected from the store."""
    with InstantAws() as aws, executor(calls, "poll") as ex:
        aws.set(run_s=LONG_S)
        before = resident_bytes()
        futures = [ex.submit(no_op, x) for x in range(calls)]
        while aws.counts().get("Invoke", 0) < calls:
            time.sleep(0.1)
        spent = resident_bytes() - before
        ex.kill_workers()
        return spent / len(futures)


def delivered(calls: int) -> float:
    """Return the bytes that stay of each call whose result was taken."""
    with InstantAws(), executor(64, "response") as ex:
        for _ in ex.map(no_op, range(calls), buffersize=WINDOW):
            pass
        before = resident_bytes()
        for _ in ex.map(no_op, range(calls), buffersize=WINDOW):
            pass
        return max(0.0, (resident_bytes() - before) / calls)


def windowed(calls: int) -> float:
    """Return the peak of a process whose map is read as its results are."""
    with InstantAws(), executor(256, "response") as ex:
        count = sum(1 for _ in ex.map(no_op, range(calls), buffersize=WINDOW))
        assert count == calls
        return float(peak_memory_bytes())


def in_fresh_process(what: str, calls: int) -> float:
    """Measure in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.memory", "--child", what, str(calls)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    figure: float = json.loads(done.stdout)
    return figure


def rows(options: Options) -> Iterator[Row]:
    """Measure."""
    for name, what in (("waits", "waiting"), ("runs, poll", "in_flight")):
        used_kb = in_fresh_process(what, OUTSTANDING) / 1e3
        yield at_most(f"client memory per call that {name}", used_kb, "KB", CALL_GOAL_KB)
    kept = in_fresh_process("delivered", options.pick(5000, 50_000))
    yield at_most("client memory per delivered call", kept, "bytes", DELIVERED_GOAL_BYTES)
    calls = options.pick(20_000, 1_000_000)
    peak_mb = in_fresh_process("windowed", calls) / 1e6
    name = f"client's peak, windowed map of {calls:,}"
    yield at_most(name, peak_mb, "MB", WINDOWED_GOAL_MB)


MEASURES = {each.__name__: each for each in (waiting, in_flight, delivered, windowed)}


def main() -> None:
    """Measure, or print the figure that a parent has asked for."""
    if sys.argv[1:2] == ["--child"]:
        print(MEASURES[sys.argv[2]](int(sys.argv[3])))
    else:
        table.main(rows, __doc__)


if __name__ == "__main__":
    main()
