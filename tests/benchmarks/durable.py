"""Kill -9 of a durable job's client, again and again: does who attaches get every result?

Run as ``python -m tests.benchmarks.durable``. The client maps 2,000 calls, waits until all is
stored, and is killed at a random point after that; another process attaches. Each call counts its
runs in a file: they must be no more than the attempts that were recorded. On the local backend, and
on the strict fake over HTTP.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lambdafutures.deploy import bundle
from lambdafutures.deployment import Deployment, remember
from tests import calls
from tests.durable_client import Found, hurry, kill_and_attach
from tests.strict_aws import StrictAws

CALLS = 2000
TIMES = 20
WORKERS = {"local": 2, "aws": 4}
# Calls that travel together: few enough that some chunks are done, some run and some wait.
CHUNKSIZE = {"local": 1, "aws": 10}
# By then the client has got all results, more or less.
WITHIN_S = {"local": 1.5, "aws": 6.0}
BUCKET = "jobs"
FUNCTION = "lf"


@contextmanager
def backend_of(name: str) -> Iterator[None]:
    """Have a backend at hand, with a home of its own."""
    saved = dict(os.environ)
    with tempfile.TemporaryDirectory() as home:
        os.environ["LAMBDAFUTURES_HOME"] = home
        try:
            if name == "local":
                yield
                return
            with StrictAws(buckets=[BUCKET]) as aws:
                for variable in [each for each in os.environ if each.startswith("AWS_")]:
                    del os.environ[variable]
                os.environ.update(aws.environ(), LAMBDAFUTURES_HOME=home)
                layer = Path(home, "layer")
                (layer / "tests").mkdir(parents=True)
                (layer / "tests" / "__init__.py").touch()
                shutil.copy(calls.__file__, layer / "tests" / "calls.py")
                aws.create_function(
                    FUNCTION, bundle.build().data, bundle.HANDLER, layers=[str(layer)],
                    timeout_s=3, memory_mb=1769, max_retries=0,
                )  # fmt: skip
                remember(
                    Deployment("lambdafutures", aws.region, BUCKET, {1769: FUNCTION}, timeout_s=3)
                )
                yield
        finally:
            os.environ.clear()
            os.environ.update(saved)


def once(name: str, count: int, seed: int) -> Found:
    """Kill one client."""
    with tempfile.TemporaryDirectory() as folder:
        return kill_and_attach(
            name,
            Path(folder),
            count,
            chunksize=CHUNKSIZE[name],
            workers=WORKERS[name],
            within_s=WITHIN_S[name],
            source=random.Random(seed),
        )


def main() -> int:
    """Kill and print; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--backends", nargs="+", choices=sorted(WORKERS), default=["local", "aws"])
    arguments = parser.parse_args()
    hurry()
    bad = 0
    for name in arguments.backends:
        print(f"{name}: {arguments.calls} calls, client killed {arguments.times} times")
        for seed in range(arguments.times):
            with backend_of(name):
                found = once(name, arguments.calls, seed)
            bad += bool(found.wrong or found.too_many)
            print(
                f"  {seed:2}  wrong {len(found.wrong)}  runs {found.runs}  "
                f"attempts recorded {found.attempts}  ran more often than recorded "
                f"{len(found.too_many)}  {found.seconds:.1f} s",
                flush=True,
            )
    print("all results right, no run unrecorded" if not bad else f"WRONG in {bad} cases")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
