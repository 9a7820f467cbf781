"""The local backend beside `ProcessPoolExecutor` (spawn), two workers each, on the same work.

Run as ``python -m tests.benchmarks.local [--full] [--peers]``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor

from lambdafutures import LambdaPoolExecutor
from tests.benchmarks import paired, table
from tests.benchmarks.paired import Pair
from tests.benchmarks.peers import Peers
from tests.benchmarks.table import Options, Row, of_pair

CALLS = 10_000
WORKERS = 2
ARRAY_BYTES = 64 * 1024 * 1024
PEAK_CALLS = 200_000
LITHOPS_CALLS = 60
WHOSE = "ProcessPoolExecutor"


def identity(x: object) -> object:
    return x


def make_array(nbytes: int) -> object:
    import numpy

    return numpy.ones(nbytes // 8)


def ours() -> Executor:
    return LambdaPoolExecutor(WORKERS, backend="local")


def theirs() -> Executor:
    return ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn"))


MAKERS: dict[str, Callable[[], Executor]] = {"ours": ours, "theirs": theirs}


def timed_map(ex: Executor, chunksize: int) -> float:
    """Return the seconds of a map of `CALLS`; of several in a row where one is too short."""
    maps = 20 if chunksize > 1 else 1
    began = time.perf_counter()
    total = 0
    for _ in range(maps):
        total += sum(ex.map(identity, range(CALLS), chunksize=chunksize))  # type: ignore[arg-type]
    seconds = time.perf_counter() - began
    assert total == maps * CALLS * (CALLS - 1) // 2
    return seconds / maps


def timed_submits(ex: Executor) -> float:
    began = time.perf_counter()
    futures = [ex.submit(identity, x) for x in range(CALLS)]
    total = sum(future.result() for future in futures)  # type: ignore[misc]
    seconds = time.perf_counter() - began
    assert total == CALLS * (CALLS - 1) // 2
    return seconds


def timed_call(ex: Executor, function: Callable[..., object], *arguments: object) -> float:
    began = time.perf_counter()
    ex.submit(function, *arguments).result()
    return time.perf_counter() - began


def warm(ex: Executor) -> Executor:
    list(ex.map(make_array, [8] * 50))
    return ex


def in_fresh_process(what: str, whose: str) -> float:
    """Measure in an interpreter of its own; return the figure that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.local", "--child", what, whose],
        capture_output=True,
        text=True,
        check=True,
    )
    figure: float = json.loads(done.stdout)
    return figure


def child(what: str, whose: str) -> None:
    """Print one figure of one candidate: what `in_fresh_process` asked for."""
    if what == "first":
        with MAKERS[whose]() as ex:
            ex.submit(abs, -1).result()
            # The clock of this process began with it: start-up and imports count.
            print(time.clock_gettime(time.CLOCK_BOOTTIME) - started_at_s())
    elif what == "peak":
        with MAKERS[whose]() as ex:
            for _ in ex.map(identity, range(PEAK_CALLS), chunksize=100):
                pass
            print(peak_memory_bytes())
    elif what == "peak-submit":
        with MAKERS[whose]() as ex:
            futures = [ex.submit(identity, x) for x in range(CALLS)]
            for future in futures:
                future.result()
            print(peak_memory_bytes())


def started_at_s() -> float:
    """Return when this process began, in seconds since the machine's start."""
    with open("/proc/self/stat") as stat:
        ticks = int(stat.read().rpartition(")")[2].split()[19])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_memory_bytes() -> int:
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell the peak of this process")


def rows(options: Options) -> Iterator[Row]:
    """Measure."""
    rounds = options.pick(3, 7)
    with warm(ours()) as mine, warm(theirs()) as other:
        for name, work in (
            ("local no-op calls by map, chunksize 1", lambda ex: timed_map(ex, 1)),
            ("local no-op calls by map, chunksize 100", lambda ex: timed_map(ex, 100)),
            ("local no-op calls by submit", timed_submits),
        ):
            pair = paired.measure(lambda w=work: w(mine), lambda w=work: w(other), rounds)
            yield of_pair(name, pair, "calls/s", WHOSE, scale=-float(CALLS))
        if options.peers is not None:
            yield from beside_peers(options.peers, mine)
        array = make_array(ARRAY_BYTES)
        for name, call in (
            ("local, 64 MiB array as argument", (len, array)),
            ("local, 64 MiB array as result", (make_array, ARRAY_BYTES)),
            ("local, 64 MiB array both ways", (identity, array)),
        ):
            pair = paired.measure(
                lambda c=call: timed_call(mine, *c), lambda c=call: timed_call(other, *c), rounds
            )
            yield of_pair(name, pair, "ms", WHOSE, goal=2.0, scale=1e3)
        del array
    for name, what, unit, scale in (
        ("local, first result, interpreter start included", "first", "ms", 1e3),
        (f"client's peak, local map of {PEAK_CALLS:,}, chunksize 100", "peak", "MB", 1e-6),
        (f"client's peak, {CALLS:,} local submits", "peak-submit", "MB", 1e-6),
    ):
        pair = paired.measure(
            lambda w=what: in_fresh_process(w, "ours"),
            lambda w=what: in_fresh_process(w, "theirs"),
            rounds,
        )
        yield of_pair(name, pair, unit, WHOSE, scale=scale)


def beside_peers(peers: Peers, mine: Executor) -> Iterator[Row]:
    """Measure no-op calls of other libraries, each followed by ours."""
    for whose, goal, arguments in (
        ("loky", 1.0, ("peer_loky.py", CALLS, WORKERS)),
        ("Lithops localhost v1", 50.0, ("peer_lithops.py", "local-v1", "-", LITHOPS_CALLS)),
        ("Lithops localhost v2", 50.0, ("peer_lithops.py", "local-v2", "-", LITHOPS_CALLS)),
    ):
        pair = Pair([timed_map(mine, 1)], [CALLS / peers.run(*arguments)["calls_per_s"]])
        name = f"local no-op calls by map, beside {whose}"
        yield of_pair(name, pair, "calls/s", whose, goal, scale=-float(CALLS))


def main() -> None:
    """Measure, or print the figure that a parent has asked for."""
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        table.main(rows, __doc__)


if __name__ == "__main__":
    main()
