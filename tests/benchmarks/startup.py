"""How long it takes to import lambdafutures, to import the worker, and to answer when it is warm.

Run as ``python -m tests.benchmarks.startup [--full]``.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lambdafutures._wire import blob, codec
from lambdafutures._wire.invocation import Invocation
from lambdafutures._wire.payload import Payload, SessionHead
from lambdafutures.deploy import bundle
from tests.benchmarks import table
from tests.benchmarks.instant_aws import ROOT
from tests.benchmarks.table import Options, Row, at_most

IMPORT_GOAL_MS = 10.0
WORKER_GOAL_MS = 45.0
INVOCATION_GOAL_MS = 3.0

BARE = "import sys"
HERE = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
CLIENT = f"{HERE}import lambdafutures"
EXECUTOR = f"{HERE}from lambdafutures import LambdaPoolExecutor"
WORKER = "import sys; sys.path.insert(0, {folder!r}); import lambdafutures._worker.supervisor"

# Invokes the worker's handler again and again, each time with another attempt.
SERVE = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from lambdafutures._worker.supervisor import handler

class Context:
    memory_limit_in_mb = "1769"
    def get_remaining_time_in_millis(self):
        return 30_000

found = []
for line in sys.stdin:
    event = json.loads(line)
    began = time.perf_counter()
    answer = handler(event, Context())
    found.append(time.perf_counter() - began)
    assert "outcome" in answer, answer
print(json.dumps(found))
"""


def start_ms(codes: list[str], rounds: int) -> list[float]:
    """Return the milliseconds of starting an interpreter with each code: medians, in turns."""
    found: dict[str, list[float]] = {code: [] for code in codes}
    for _ in range(rounds):
        for code in codes:
            began = time.perf_counter()
            subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
            found[code].append(time.perf_counter() - began)
    return [statistics.median(found[code]) * 1e3 for code in codes]


def unpacked(folder: str) -> str:
    """Unpack the worker's zip."""
    archive = Path(folder) / "worker.zip"
    archive.write_bytes(bundle.build().data)
    shutil.unpack_archive(archive, folder)
    return folder


def invocation_ms(folder: str, times: int) -> float:
    """Return the median milliseconds of a warm invocation whose call does nothing."""
    function = codec.dumps(abs).parts
    session = SessionHead("s", f"{sys.version_info.major}.{sys.version_info.minor}")
    lines = []
    for number in range(times):
        arguments = codec.dumps([(-1,)]).parts
        payload = Payload(number, 1, blob.digest(function), arguments, function_parts=function)
        asked = Invocation(
            session,
            payload,
            bucket="b",
            prefix="p",
            reply="response",
            out_key="k",
            key=bytes(32),
            deadline_s=time.time() + 3600,
        )
        lines.append(asked.encode().decode())
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", SERVE, folder],
        input="\n".join(lines),
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "AWS_REGION": "us-east-1"},
    )
    found = json.loads(done.stdout)[times // 4 :]
    return statistics.median(found) * 1e3


def rows(options: Options) -> Iterator[Row]:
    """Measure."""
    rounds = options.pick(9, 25)
    with tempfile.TemporaryDirectory() as folder:
        unpacked(folder)
        codes = [BARE, CLIENT, EXECUTOR, WORKER.format(folder=folder)]
        bare, client, executor, worker = start_ms(codes, rounds)
        bare_name = f"above the bare interpreter's {bare:.0f} ms"
        yield at_most(f"import lambdafutures, {bare_name}", client - bare, "ms", IMPORT_GOAL_MS)
        yield at_most("from lambdafutures import LambdaPoolExecutor", executor - bare, "ms")
        yield at_most(f"import the worker, {bare_name}", worker - bare, "ms", WORKER_GOAL_MS)
        warm = invocation_ms(folder, options.pick(100, 1000))
        yield at_most("warm invocation, supervisor and runner", warm, "ms", INVOCATION_GOAL_MS)


if __name__ == "__main__":
    table.main(rows, __doc__)
