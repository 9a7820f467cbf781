"""The real engine against a simulated Lambda, in virtual time: makespan beside the law's ideal.

Run as ``python -m tests.benchmarks.simulate [--full]``, or with ``--calls`` and the rest for one
case. Executor, scheduler, chunking, invoker, collector and wire are the real ones; in place of the
two HTTP clients stand a Lambda that follows `lambda_law.py` and a store with S3's latency. Waiting
takes no time: 10,000 calls on 10,000 workers take some seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest import mock

from botocore.exceptions import ClientError

from lambdafutures import LambdaPoolExecutor, events
from lambdafutures._backends import lambda_invoker
from lambdafutures._backends.base import StoredObject
from lambdafutures._backends.lambda_client import InvokeAnswer
from lambdafutures._backends.memory_store import MemoryStore
from lambdafutures.deployment import Deployment, remember
from tests.benchmarks import answers, table
from tests.benchmarks.lambda_law import Environments, Law, heavy_tail, ideal_s
from tests.benchmarks.table import Options, Row
from tests.benchmarks.virtual_time import VirtualTime
from tests.benchmarks.work import no_op

# us-east-1, November 2026.
GB_SECOND_DOLLARS = 0.0000166667
REQUEST_DOLLARS = {"Invoke": 0.2e-6, "GetObject": 0.4e-6, "PutObject": 5e-6, "ListObjectsV2": 5e-6}
# Lambda's queue of Events tries what found no room again after a second, then twice as long each
# time, up to five minutes (Lambda Developer Guide, "Asynchronous invocation").
EVENT_WAIT_S = 1.0
EVENT_WAIT_MAX_S = 300.0
MAKESPAN_GOAL = 1.05


@dataclass(frozen=True)
class Case:
    """Say what is simulated.

    Args:
        calls: Calls of the map.
        run_s: What most of them take, in seconds.
        stragglers: Share of the calls that take ten times as long.
        completion: How outcomes come home.
        chunksize: Calls per chunk, or "auto".
        workers: The executor's `max_workers`; by default the law's limit.
        law: What the account has.
        lambda_s: An Invoke besides its calls, in seconds; the median.
        s3_s: A request to S3, in seconds; the median.
        client_s: CPU that the client spends on a request, one after the other.
        retry_after_s: What a throttle asks to wait.
        seed: Of all that is drawn.
    """

    calls: int = 10_000
    run_s: float = 2.0
    stragglers: float = 0.0
    completion: str = "auto"
    chunksize: int | str = 1
    workers: int | None = None
    law: Law = field(default_factory=Law)
    lambda_s: float = 0.030
    s3_s: float = 0.020
    client_s: float = 0.0002
    retry_after_s: float = 1.0
    seed: int = 1


@dataclass(frozen=True)
class Found:
    """Hold what a case came to.

    Args:
        makespan_s: From the first call's being sent to the last outcome's reaching the client.
        ideal_s: What the law allows at best.
        requests: Requests by operation.
        throttles: Invocations for which there was no environment, each time they were tried.
        peak: The most that ran at once.
        dollars: What it costs at 1,769 MB.
    """

    makespan_s: float
    ideal_s: float
    requests: Counter[str]
    throttles: int
    peak: int
    dollars: float


class World:
    """Simulate Lambda and S3 for one case."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.source = random.Random(case.seed)
        self.environments = Environments(case.law, time.monotonic)
        self.store = MemoryStore()
        self.requests: Counter[str] = Counter()
        self.billed_s = 0.0
        self.chunks_s: list[float] = []
        self._client_free_s = 0.0
        self._events: set[asyncio.Task[None]] = set()

    async def request(self, operation: str, median_s: float) -> None:
        """Let one way of a request pass, after the client's own work on it."""
        self.requests[operation] += 1
        now_s = time.monotonic()
        self._client_free_s = max(now_s, self._client_free_s) + self.case.client_s
        await asyncio.sleep(self._client_free_s - now_s + self.way_s(median_s))

    def way_s(self, median_s: float) -> float:
        """Draw the time of one way of a request."""
        return heavy_tail(self.source, median_s / 2)

    async def run(self, start_s: float, calls: int) -> None:
        """Run a chunk in an environment that was taken, and give that back."""
        run_s = sum(self._call_s() for _ in range(calls))
        self.chunks_s.append(run_s)
        await asyncio.sleep(start_s + run_s)
        self.billed_s += start_s + run_s
        self.environments.give_back()

    def _call_s(self) -> float:
        case = self.case
        return case.run_s * (10.0 if self.source.random() < case.stragglers else 1.0)

    def deliver(self, body: bytes) -> None:
        """Take an Event into Lambda's queue."""
        task = asyncio.get_running_loop().create_task(self._deliver(body))
        self._events.add(task)
        task.add_done_callback(self._events.discard)

    async def _deliver(self, body: bytes) -> None:
        wait_s = EVENT_WAIT_S
        while (start_s := self.environments.take()) is None:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, EVENT_WAIT_MAX_S)
        answer = answers.answer(body, self.case.run_s, time.time())
        await self.run(start_s, answer.calls)
        await asyncio.sleep(self.way_s(self.case.s3_s))
        self.requests["PutObject"] += 1
        await self.store.put(answer.asked.out_key, answer.sealed)


class SimulatedClient:
    """Stand in for `LambdaClient`."""

    def __init__(self, world: World, *_: object) -> None:
        self._world = world

    async def invoke(self, function: str, payload: bytes, *, is_event: bool) -> InvokeAnswer:
        """Invoke as Lambda would."""
        world, case = self._world, self._world.case
        await world.request("Invoke", case.lambda_s)
        if is_event:
            world.deliver(payload)
            await asyncio.sleep(world.way_s(case.lambda_s))
            return InvokeAnswer("", b"", None)
        start_s = world.environments.take()
        if start_s is None:
            await asyncio.sleep(world.way_s(case.lambda_s))
            raise _throttle(case.retry_after_s)
        answer = answers.answer(payload, case.run_s, time.time())
        await world.run(start_s, answer.calls)
        if answer.is_stored:
            world.requests["PutObject"] += 1
            await world.store.put(answer.asked.out_key, answer.sealed)
        await asyncio.sleep(world.way_s(case.lambda_s))
        return InvokeAnswer("", answer.body(), None)

    async def close(self) -> None:
        """Close nothing."""


class SimulatedStore:
    """Stand in for `S3Store`."""

    def __init__(self, world: World, *_: object) -> None:
        self._world = world
        self.requests: Counter[str] = Counter()

    async def _request(self, operation: str) -> None:
        await self._world.request(operation, self._world.case.s3_s)

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> bool:
        """Store an object."""
        await self._request("PutObject")
        return await self._world.store.put(key, body, only_if_absent=only_if_absent)

    async def get(self, key: str, **where: Any) -> bytes:
        """Return an object as it was half-way."""
        await self._request("GetObject")
        try:
            return await self._world.store.get(key, **where)
        finally:
            await asyncio.sleep(self._world.way_s(self._world.case.s3_s))

    async def head(self, key: str) -> StoredObject | None:
        """Return an object's description, or None if there is none."""
        await self._request("HeadObject")
        return await self._world.store.head(key)

    async def list(
        self, prefix: str, *, start_after: str = ""
    ) -> AsyncIterator[Sequence[StoredObject]]:
        """Yield pages as they were half-way."""
        await self._request("ListObjectsV2")
        async for page in self._world.store.list(prefix, start_after=start_after):
            await asyncio.sleep(self._world.way_s(self._world.case.s3_s))
            yield page
            if len(page) == 1000:
                await self._request("ListObjectsV2")

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects."""
        await self._world.store.delete(keys)

    async def close(self) -> None:
        """Close nothing."""


def _throttle(retry_after_s: float) -> ClientError:
    metadata = {"HTTPStatusCode": 429, "HTTPHeaders": {"retry-after": f"{retry_after_s:g}"}}
    error = {"Code": "TooManyRequestsException", "Message": "Rate Exceeded."}
    reason = "FunctionInvocationRateLimitExceeded"
    return ClientError(
        {"Error": error, "ResponseMetadata": metadata, "Reason": reason},  # type: ignore[typeddict-item, typeddict-unknown-key]
        "Invoke",
    )


class LastEnding:
    """Observe when the last call ended."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def on_event(self, event: events.Event) -> None:
        """Take note of an event."""
        if isinstance(event, events.CallsEnded):
            self.at_s = max(self.at_s, event.time_s)


def simulate(case: Case) -> Found:
    """Run a map in virtual time.

    Args:
        case: What to simulate.
    """
    with (
        VirtualTime() as clock,
        tempfile.TemporaryDirectory() as home,
        mock.patch.dict("os.environ", LAMBDAFUTURES_HOME=home),
    ):
        world = World(case)
        remember(
            Deployment(
                "lambdafutures", "us-east-1", "jobs", {1769: "lf"}, concurrency=case.law.limit
            )
        )
        last = LastEnding()
        with (
            mock.patch.object(lambda_invoker, "LambdaClient", partial(SimulatedClient, world)),
            mock.patch.object(lambda_invoker, "S3Store", partial(SimulatedStore, world)),
            mock.patch.object(lambda_invoker, "max_in_response", return_value=800),
            LambdaPoolExecutor(
                case.workers or case.law.limit,
                backend="aws",
                completion=case.completion,  # type: ignore[arg-type]
                observers=[last],
            ) as ex,
        ):
            results = ex.map(no_op, range(case.calls), chunksize=case.chunksize)  # type: ignore[arg-type]
            began_s = time.time()
            clock.release()
            assert list(results) == [None] * case.calls
            dollars = sum(price * world.requests[name] for name, price in REQUEST_DOLLARS.items())
            requests = Counter(world.requests)
        dollars += world.billed_s * 1769 / 1024 * GB_SECOND_DOLLARS
        return Found(
            last.at_s - began_s,
            ideal_s(case.law, world.chunks_s),
            requests,
            world.environments.throttles,
            world.environments.peak,
            dollars,
        )


def row(what: str, case: Case, goal: float | None = None) -> Row:
    """Return the row of a case: its makespan beside the ideal."""
    found = simulate(case)
    return Row(
        f"simulated {what}",
        found.makespan_s,
        "s",
        "" if goal is None else f"<= {goal:g} x ideal",
        found.ideal_s,
        "ideal",
        found.ideal_s / found.makespan_s,
        None if goal is None else found.makespan_s <= goal * found.ideal_s,
    )


def rows(options: Options) -> Iterator[Row]:
    """Simulate the case of the goal, and others."""
    yield row("10,000 x 2 s, limit 10,000, 1,000 warm", Case(), MAKESPAN_GOAL)
    yield row("10,000 x 2 s, none warm", Case(law=Law(warm=0)))
    yield row("10,000 x 2 s, 1 in 100 takes 20 s", Case(stragglers=0.01))
    yield row("1,000 x 2 s, 1,000 warm", Case(calls=1000, law=Law(1000, 1000)))
    yield row("5,000 x 2 s, limit 100, 100 warm", Case(calls=5000, law=Law(100, 100)))
    for chunksize in (1, "auto"):
        case = Case(calls=20_000, run_s=0.05, law=Law(1000, 1000), chunksize=chunksize)
        yield row(f"20,000 x 50 ms, 1,000 warm, chunksize {chunksize}", case)
    if not options.small:
        yield row("100,000 x 10 s, limit 10,000, 1,000 warm", Case(calls=100_000, run_s=10.0))


def main() -> None:
    """Simulate what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    table.arguments(parser)
    parser.add_argument("--calls", type=int, help="one case: how many calls")
    parser.add_argument("--run-s", type=float, default=2.0)
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--warm", type=int, default=1000)
    parser.add_argument("--completion", default="auto")
    parser.add_argument("--chunksize", default="1")
    parser.add_argument("--stragglers", type=float, default=0.0)
    parser.add_argument("--retry-after-s", type=float, default=1.0)
    given = parser.parse_args()
    if given.calls is None:
        table.show(rows(table.options_of(given)), markdown=given.markdown)
        return
    chunksize = "auto" if given.chunksize == "auto" else int(given.chunksize)
    case = Case(
        given.calls,
        given.run_s,
        given.stragglers,
        given.completion,
        chunksize,
        law=Law(given.warm, given.limit),
        retry_after_s=given.retry_after_s,
    )
    print(simulate(case))


if __name__ == "__main__":
    main()
