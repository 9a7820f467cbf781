"""The local backend beside `ProcessPoolExecutor` (spawn), two workers each, on the same work.

Run as ``python -m tests.benchmarks.local [--rounds N]``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor

from lambdafutures import LambdaPoolExecutor
from tests.benchmarks import paired

CALLS = 10_000
WORKERS = 2
ARRAY_BYTES = 64 * 1024 * 1024
PEAK_CALLS = 200_000


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of each row")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "WHOSE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    rounds = arguments.rounds
    print(
        f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} cores "
        f"({platform.machine()}), {WORKERS} workers, median of {rounds} pairs"
    )
    print(f"{'':44s} {'ours':>12s} {'PPE spawn':>12s} {'':10s} {'ratio':>7s} {'goal':>5s}")
    with warm(ours()) as mine, warm(theirs()) as other:
        for name, work in (
            ("no-op calls by map, chunksize 1", lambda ex: timed_map(ex, 1)),
            ("no-op calls by map, chunksize 100", lambda ex: timed_map(ex, 100)),
            ("no-op calls by submit", timed_submits),
        ):
            pair = paired.measure(lambda w=work: w(mine), lambda w=work: w(other), rounds)
            print(paired.row(name, pair, "calls/s", scale=-float(CALLS)), flush=True)
        array = make_array(ARRAY_BYTES)
        for name, call in (
            ("64 MiB array as argument", (len, array)),
            ("64 MiB array as result", (make_array, ARRAY_BYTES)),
            ("64 MiB array both ways", (identity, array)),
        ):
            pair = paired.measure(
                lambda c=call: timed_call(mine, *c), lambda c=call: timed_call(other, *c), rounds
            )
            print(paired.row(name, pair, "ms", scale=1e3, goal=2.0), flush=True)
        del array
    for name, what, unit, scale in (
        ("first result, interpreter start included", "first", "ms", 1e3),
        (f"client's peak, map of {PEAK_CALLS:,}, chunksize 100", "peak", "MB", 1e-6),
        (f"client's peak, {CALLS:,} submits", "peak-submit", "MB", 1e-6),
    ):
        pair = paired.measure(
            lambda w=what: in_fresh_process(w, "ours"),
            lambda w=what: in_fresh_process(w, "theirs"),
            rounds,
        )
        print(paired.row(name, pair, unit, scale=scale), flush=True)


if __name__ == "__main__":
    main()
