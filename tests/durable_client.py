"""A client of a durable job that is killed, and what is looked at afterwards.

Run as ``python -m tests.durable_client BACKEND FOLDER CALLS CHUNKSIZE WORKERS``: it submits a map
whose calls leave a trace of each run in the folder, waits until all is stored, prints the handle's
file, and goes on until it is killed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from lambdafutures import LambdaPoolExecutor
from lambdafutures._backends import lambda_invoker
from lambdafutures._engine.durable import recording_invoker
from tests import calls

ROOT = Path(__file__).parents[1]


def hurry() -> None:
    """Have attempts given up soon: what was never sent is waited for no longer."""
    lambda_invoker.QUEUE_S = 0.5
    recording_invoker.ROW_S = 0.5


class Found(NamedTuple):
    """What a process that attached has found.

    Attributes:
        runs: Runs that the calls counted themselves.
        attempts: Attempts that were recorded, over all calls.
        too_many: Calls that ran more often than attempts were recorded.
        wrong: Calls with a wrong result.
        seconds: How long it took to get every result.
    """

    runs: int
    attempts: int
    too_many: list[int]
    wrong: list[int]
    seconds: float


def start(backend: str, folder: Path, count: int, chunksize: int, workers: int) -> subprocess.Popen:
    """Start a client in a process of its own."""
    arguments = [backend, str(folder), str(count), str(chunksize), str(workers)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.durable_client", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def kill_and_attach(
    backend: str,
    folder: Path,
    count: int,
    *,
    chunksize: int,
    workers: int,
    within_s: float,
    source: random.Random,
) -> Found:
    """Kill a client at a random point after all was stored, attach, and get every result.

    Args:
        backend: Where calls run.
        folder: Where they leave their traces.
        count: How many there are.
        chunksize: Calls that travel together.
        workers: Calls that run at once.
        within_s: It is killed after up to this many seconds.
        source: Of the random point.
    """
    client = start(backend, folder, count, chunksize, workers)
    try:
        path = client.stdout.readline().strip()
        assert path, "the client has ended before all was stored"
        time.sleep(source.uniform(0, within_s))
    finally:
        client.send_signal(signal.SIGKILL)
        client.wait()
        client.stdout.close()
    begun = time.monotonic()
    with LambdaPoolExecutor.attach(path, workers) as ex:
        wrong = [x for x, future in enumerate(ex.futures) if future.result(120) != x]
        assert len(ex.futures) == count
        attempts = [future.attempts for future in ex.futures]
    seconds = time.monotonic() - begun
    runs = [calls.runs(folder, x) for x in range(count)]
    too_many = [x for x in range(count) if runs[x] > attempts[x]]
    return Found(sum(runs), sum(attempts), too_many, wrong, seconds)


def main() -> None:
    """Be the client."""
    backend, folder, count, chunksize, workers = sys.argv[1:]
    hurry()
    ex = LambdaPoolExecutor(int(workers), backend=backend, durable=True)
    numbers = range(int(count))
    results = ex.map(calls.note_run, [folder] * len(numbers), numbers, chunksize=int(chunksize))
    ex.wait_durable()
    print(ex.handle.path, flush=True)
    list(results)
    signal.pause()


if __name__ == "__main__":
    main()
