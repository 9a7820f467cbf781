"""What calls cost on AWS: requests per call, latency of a warm call, import time of the handler.

Run as ``python -m tests.benchmarks.requests``. AWS is the strict fake with zero latency, so times
are our own and the fake's; requests are as on AWS.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lambdafutures import LambdaPoolExecutor
from lambdafutures._wire import codec, frames, invocation, outcome, seal
from lambdafutures._wire.invocation import Invocation
from lambdafutures._wire.outcome import Entry, Outcome
from lambdafutures.deploy import bundle
from lambdafutures.deployment import Deployment, remember
from tests.strict_aws import StrictAws

BUCKET = "jobs"
FUNCTION = "lf"
CALLS = 300
CALL_S = 2.0
WARM_CALLS = 50
IMPORT_RUNS = 15
OPERATIONS = ("Invoke", "GetObject", "PutObject", "ListObjectsV2", "DeleteObjects")
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")


@contextmanager
def deployed(**function: object) -> Iterator[StrictAws]:
    """Run the fake with our worker, or with what answers in its place."""
    saved = dict(os.environ)
    with tempfile.TemporaryDirectory() as home, StrictAws(buckets=[BUCKET]) as aws:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ.update(aws.environ(), LAMBDAFUTURES_HOME=home)
        if "respond" in function:
            aws.create_function(FUNCTION, **function)  # type: ignore[arg-type]
        else:
            aws.create_function(FUNCTION, bundle.build().data, bundle.HANDLER)
        remember(Deployment("lambdafutures", aws.region, BUCKET, {1769: FUNCTION}, timeout_s=30))
        try:
            yield aws
        finally:
            os.environ.clear()
            os.environ.update(saved)


def stand_in(aws: Callable[[], StrictAws], seconds: float) -> Callable[[bytes], object]:
    """Return what answers invocations as our worker does after some seconds, without a process.

    300 calls at once are too many processes for one machine.
    """

    async def respond(body: bytes) -> bytes:
        received_s = time.time()
        asked = Invocation.decode(json.loads(body))
        await asyncio.sleep(seconds)
        payload = asked.payload
        count = len(codec.loads(payload.arguments))
        done = Outcome(
            payload.chunk,
            payload.attempt,
            [Entry(0, count, outcome.OK, codec.dumps([None] * count).parts)],
            received_s=received_s,
            run_s=array("f", [seconds] * count),
        )
        frame = frames.pack(frames.OUTCOME, *done.encode())
        name = asked.session.session, payload.chunk, payload.attempt
        sealed = seal.seal(asked.key, *name, frame)
        if asked.reply == invocation.RESPONSE:
            return json.dumps(invocation.answer(outcome=invocation.to_text(sealed))).encode()
        aws().s3.put(BUCKET, asked.out_key, sealed)
        return json.dumps(invocation.answer(stored=asked.out_key)).encode()

    return respond


def count_requests(completion: str, run: Callable[[LambdaPoolExecutor], object]) -> dict[str, int]:
    """Return the requests of a job of `CALLS` calls of `CALL_S` each, by operation."""
    holder: list[StrictAws] = []
    with deployed(respond=stand_in(lambda: holder[0], CALL_S)) as aws:
        holder.append(aws)
        with LambdaPoolExecutor(CALLS, backend="aws", completion=completion) as ex:  # type: ignore[arg-type]
            run(ex)
        return dict(aws.requests)


def submits(ex: LambdaPoolExecutor) -> None:
    """Submit calls one by one."""
    for future in [ex.submit(abs, x) for x in range(CALLS)]:
        future.result()


def one_map(ex: LambdaPoolExecutor) -> None:
    """Map over as many items."""
    list(ex.map(abs, range(CALLS)))


def closure_requests(completion: str) -> dict[str, int]:
    """Return the requests of a closure of 100 KB over 1,000 items, ten to a chunk."""
    data = os.urandom(100_000)

    def closure(x: int) -> int:
        return x + len(data)

    with deployed() as aws:
        with LambdaPoolExecutor(2, backend="aws", completion=completion) as ex:  # type: ignore[arg-type]
            list(ex.map(closure, range(1000), chunksize=10))
        return dict(aws.requests)


def warm_latencies_s(completion: str) -> list[float]:
    """Return the seconds of warm calls that do nothing, one after the other, sorted."""
    with deployed(), LambdaPoolExecutor(1, backend="aws", completion=completion) as ex:  # type: ignore[arg-type]
        found = []
        for _ in range(3):
            ex.submit(abs, 1).result()
        for _ in range(WARM_CALLS):
            began = time.perf_counter()
            ex.submit(abs, 1).result()
            found.append(time.perf_counter() - began)
        return sorted(found)


def find_pythons() -> dict[str, str]:
    """Return the supported Pythons on this machine, by version."""
    found = {}
    for name in PYTHONS:
        version = name.removeprefix("python")
        for path in (sys.executable, shutil.which(name), f"/opt/{name}/bin/{name}"):
            if path is not None and Path(path).exists() and _version_of(path) == version:
                found[version] = path
                break
    return found


def _version_of(python: str) -> str:
    """Return an interpreter's version; nothing if it is a placeholder for one."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-I", "-S", "-c", code], capture_output=True, text=True)
    return done.stdout.strip()


def import_ms(python: str) -> tuple[float, float]:
    """Return the milliseconds of a bare interpreter, and what importing the handler adds.

    The least of several runs, in turns; compiled once, as Lambda's sandboxes are not: there the
    sources of the zip are compiled at each start unless it brings their bytecode.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "worker.zip"
        archive.write_bytes(bundle.build().data)
        shutil.unpack_archive(archive, folder)
        load = (
            f"import sys; sys.path.insert(0, {folder!r}); import lambdafutures._worker.supervisor"
        )
        best = {"import sys": float("inf"), load: float("inf")}
        for _ in range(IMPORT_RUNS):
            for code in best:
                began = time.perf_counter()
                subprocess.run([python, "-I", "-S", "-c", code], check=True)
                best[code] = min(best[code], time.perf_counter() - began)
    bare_s, loaded_s = best.values()
    return bare_s * 1000, (loaded_s - bare_s) * 1000


def main() -> None:
    """Measure and print."""
    print(f"{'requests of':34}" + "".join(f"{name:>15}" for name in OPERATIONS))
    for completion in ("response", "poll"):
        for name, run in (("submits", submits), ("calls of one map", one_map)):
            found = count_requests(completion, run)
            _row(f"{CALLS} {name} of {CALL_S:g} s, {completion}", found)
        _row(f"100 KB closure, 1,000 items, {completion}", closure_requests(completion))
    for completion in ("response", "poll"):
        found_s = warm_latencies_s(completion)
        median_ms, worst_ms = found_s[len(found_s) // 2] * 1000, found_s[-1] * 1000
        print(f"warm no-op, {completion}: median {median_ms:.1f} ms, slowest {worst_ms:.1f} ms")
    for version, path in find_pythons().items():
        bare_ms, added_ms = import_ms(path)
        print(f"Python {version}: bare {bare_ms:.1f} ms, the handler adds {added_ms:.1f} ms")


def _row(name: str, found: dict[str, int]) -> None:
    print(f"{name:34}" + "".join(f"{found.get(operation, 0):>15}" for operation in OPERATIONS))


if __name__ == "__main__":
    main()
