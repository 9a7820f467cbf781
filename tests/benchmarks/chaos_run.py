"""One run of the chaos: a job, the faults that come over it, and what must hold in the end."""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lambdafutures import RetryPolicy
from lambdafutures._backends import lambda_invoker
from lambdafutures._engine import concurrency
from lambdafutures._wire.invocation import Invocation
from lambdafutures.deploy import bundle
from lambdafutures.events import AttemptSent, CallsEnded
from lambdafutures.futures import LambdaFuture
from tests import calls
from tests.aws_cloud import BUCKET, Aws, make_layer
from tests.benchmarks.chaos_faults import LATENCY, Faults
from tests.conftest import _belongings, left_since, wait_until
from tests.strict_aws import StrictAws, heavy_tail

WORKERS = 16
# With completion="auto", so many outcomes come in responses and the others are collected.
IN_RESPONSE = 4
# One attempt in six ends in a fault that counts, so one call in 2,000 millions has none left.
RETRY = RetryPolicy(attempts=12, backoff_s=0.05)

# Waits are shorter than in earnest: an Event counts as lost after 5 s (not 60 s and the function's
# time-out), and a throttle holds everything up for 50 ms (not 250). What a busy machine takes
# longer for is not ended then, but late.
TIMEOUT_S = 20
LOST_AFTER_S = 5
PAUSE_S = 0.05
RUN_S = heavy_tail(0.005, longest_s=0.5)
# All duplicates have fired by then, all the more what else is under way.
QUIET_S = 60.0

# Of the calls, every so many: come from a map, raise, have a large argument, a large result.
MAPPED, FAILING, LARGE_ARGUMENT, LARGE_RESULT = 10, 20, 250, 1000
CHUNKSIZE = 5
# Does not ride in payloads: above `spill.INLINE_BYTES`.
CLOSURE_BYTES = 40_000
# Does not fit an Event, or an answer.
ARGUMENT_BYTES = 1_000_000
RESULT_BYTES = 5_000_000


@dataclass
class Figures:
    """What a run has come to.

    Attributes:
        seconds: How long it took, the executor's end included.
        attempts: Tries per call, by the futures' own account; throttles are none.
        most_attempts: The most that one call needed.
        invokes: Invokes per chunk, those included that were throttled.
        runs: How often calls ran, per call, by their own account.
        late_duplicates: Events that came once more when the executor had ended.
        faults: How many there were of each kind.
    """

    seconds: float
    attempts: float
    most_attempts: int
    invokes: float
    runs: float
    late_duplicates: int
    faults: dict[str, int]


class Watcher:
    """An observer that counts what was sent, and what has ended, by chunk."""

    def __init__(self) -> None:
        self.sent: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()

    def on_event(self, event: object) -> None:
        if isinstance(event, AttemptSent):
            self.sent[event.chunk] += 1
        elif isinstance(event, CallsEnded):
            self.ended[event.chunk] += 1


class Job:
    """Calls of all kinds, each of which counts its runs in a file.

    Args:
        count: How many.
        seed: Of how long they take.
        path: The file.
    """

    def __init__(self, count: int, seed: int, path: Path) -> None:
        self.path = path
        self.futures: dict[int, LambdaFuture[Any]] = {}
        self.mapped = [x for x in range(count) if x % MAPPED == MAPPED - 1]
        self.delivered: Counter[int] = Counter()
        self._source = random.Random(seed)
        self._count = count

    def run(self, ex: Any) -> None:
        """Have all calls made; check what each has come to."""
        ballast = bytes(CLOSURE_BYTES)
        path = str(self.path)

        def closure(x: int) -> int:
            return calls.count_run(path, x) + len(ballast)

        results = ex.map(closure, self.mapped, chunksize=CHUNKSIZE)
        mapped = set(self.mapped)
        for x in range(self._count):
            if x not in mapped:
                future = self.futures[x] = self._submit(ex, x)
                future.add_done_callback(lambda _, x=x: self.delivered.update([x]))
        assert list(results) == [x + CLOSURE_BYTES for x in self.mapped]
        for x, future in self.futures.items():
            self._check(x, future)

    def _submit(self, ex: Any, x: int) -> LambdaFuture[Any]:
        path, run_s = str(self.path), RUN_S(self._source)
        if x % FAILING == 0:
            return ex.submit(calls.count_run_and_fail, path, x, run_s)
        if x % LARGE_ARGUMENT == 1:
            return ex.submit(calls.count_run, path, x, run_s, bytes(ARGUMENT_BYTES))
        if x % LARGE_RESULT == 2:
            return ex.submit(calls.count_run_and_make, path, x, RESULT_BYTES)
        return ex.submit(calls.count_run, path, x, run_s)

    def _check(self, x: int, future: LambdaFuture[Any]) -> None:
        if x % FAILING == 0:
            error = future.exception()
            assert type(error) is ValueError, repr(error)
            assert str(error) == f"bad {x}"
        elif x % LARGE_RESULT == 2:
            assert future.result() == x.to_bytes(4, "big") * (RESULT_BYTES // 4)
        else:
            assert future.result() == x

    @property
    def failing(self) -> int:
        """How many calls raise."""
        return sum(1 for x in self.futures if x % FAILING == 0)

    def chunk_of(self, x: int) -> int:
        """Return the number of a call's chunk: those of the map come first."""
        if x in self.futures:
            return int(self.futures[x].call_id.rpartition("-")[2])
        return self.mapped.index(x) // CHUNKSIZE

    def runs(self) -> Counter[int]:
        """Return how often each call ran."""
        return Counter(map(int, self.path.read_text().split()))


@contextmanager
def deployed(seed: int) -> Iterator[tuple[Aws, Path]]:
    """Run the fake with our worker, and a client that waits less than in earnest."""
    with (
        tempfile.TemporaryDirectory() as name,
        pytest.MonkeyPatch.context() as patch,
        StrictAws(buckets=[BUCKET], seed=seed) as fake,
    ):
        folder = Path(name)
        patch.setenv("LAMBDAFUTURES_HOME", str(folder / "home"))
        patch.setattr(lambda_invoker, "QUEUE_S", 0.0)
        patch.setattr(lambda_invoker, "max_in_response", lambda: IN_RESPONSE)
        patch.setattr(concurrency, "PAUSE_S", PAUSE_S)
        (folder / "layer").mkdir()
        aws = Aws(fake, bundle.build().data, make_layer(folder / "layer"))
        aws.begin(patch)
        aws.deploy(timeout_s=TIMEOUT_S)
        aws.remember(timeout_s=LOST_AFTER_S)
        fake.latency.update(LATENCY)
        yield aws, folder


def run(mode: str, seed: int, count: int, *, is_calm: bool = False) -> Figures:
    """Run a job in the chaos, and check that nobody would notice.

    Args:
        mode: How outcomes come home.
        seed: Of the faults and the calls' durations.
        count: How many calls.
        is_calm: Run it without faults.
    """
    before = _belongings()
    with deployed(seed) as (aws, folder):
        faults = Faults(aws.fake.script, seed, is_calm)
        watcher = Watcher()
        job = Job(count, seed, folder / "runs")
        begun_s = time.monotonic()
        with aws.executor(WORKERS, mode, retry=RETRY, observers=[watcher]) as ex:
            job.run(ex)
        seconds = time.monotonic() - begun_s
        late = [each for each in aws.fake.events if each.is_duplicate and each.status == "queued"]
        _check_delivery(job, watcher, ex)
        aws.fake.wait_quiet(QUIET_S)
        assert [key for key in aws.fake.objects(BUCKET) if "/sessions/" in key] == []
        assert aws.fake.uploads(BUCKET) == []
        _check_runs(job, watcher, aws)
        attempts = [future.attempts for future in job.futures.values()]
        figures = Figures(
            seconds=seconds,
            attempts=sum(attempts) / len(attempts),
            most_attempts=max(attempts),
            invokes=watcher.sent.total() / len(watcher.ended),
            runs=job.runs().total() / count,
            late_duplicates=len(late),
            faults=faults.fired(),
        )
    wait_until(lambda: not left_since(before), lambda: f"left: {left_since(before)}")
    return figures


def _check_delivery(job: Job, watcher: Watcher, ex: Any) -> None:
    """Every call has ended, and was told of once."""
    assert set(job.delivered.values()) == {1}
    assert job.delivered.keys() == job.futures.keys()
    chunks = {job.chunk_of(x) for x in [*job.futures, *job.mapped]}
    assert watcher.ended == dict.fromkeys(chunks, 1)
    found = ex.statistics()
    assert found.calls_submitted == found.calls_done == len(job.futures) + len(job.mapped)
    assert found.calls_failed == job.failing
    assert found.chunks_open == found.calls_cancelled == 0


def _check_runs(job: Job, watcher: Watcher, aws: Aws) -> None:
    """No call ran that was not sent: by us, or a second time by Lambda."""
    duplicates = Counter(
        Invocation.decode(json.loads(event.invocation.payload)).payload.chunk
        for event in aws.fake.events
        if event.is_duplicate and event.runs
    )
    runs = job.runs()
    assert runs.keys() == set(job.futures) | set(job.mapped)
    for x, count in runs.items():
        chunk = job.chunk_of(x)
        assert count <= watcher.sent[chunk] + duplicates[chunk], x
        if x in job.futures:
            assert count <= job.futures[x].attempts + duplicates[chunk], x
