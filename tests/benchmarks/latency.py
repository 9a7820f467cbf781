"""How long one warm call takes beyond the network's own, where S3 takes 20 ms and Lambda 30 ms.

Run as ``python -m tests.benchmarks.latency [--full] [--peers]``.
"""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Callable, Iterator

from lambdafutures import LambdaPoolExecutor
from tests.benchmarks import table
from tests.benchmarks.instant_aws import BUCKET, InstantAws
from tests.benchmarks.table import Options, Row, at_most
from tests.benchmarks.work import no_op

S3_S = 0.020
LAMBDA_S = 0.030
WARM_CALLS = 5
LITHOPS_CALLS = 3
# Above the network's own: for the response, and for one round trip to S3 more.
RESPONSE_GOAL_MS = 5.0
POLL_GOAL_MS = S3_S * 1e3 + 10.0


def median_ms(do: Callable[[], object], times: int) -> float:
    """Return the median milliseconds of doing something."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        do()
        found.append(time.perf_counter() - began)
    return statistics.median(found) * 1e3


def network_ms(aws: InstantAws, times: int) -> float:
    """Return the milliseconds of a bare client's GET: the server and its timers take some, too."""
    connection = http.client.HTTPConnection("127.0.0.1", aws.port)

    def get() -> None:
        connection.request("GET", f"/{BUCKET}/none")
        connection.getresponse().read()

    try:
        return median_ms(get, times)
    finally:
        connection.close()


def rows(options: Options) -> Iterator[Row]:
    """Measure."""
    calls = options.pick(20, 100)
    with InstantAws(s3_s=S3_S, lambda_s=LAMBDA_S) as aws:
        extra_ms = network_ms(aws, calls) - S3_S * 1e3
        # Poll: the Invoke is accepted, the worker's PUT and our GET follow.
        own_ms = {
            "response": LAMBDA_S * 1e3 + extra_ms,
            "poll": (LAMBDA_S + 2 * S3_S) * 1e3 + extra_ms,
        }
        goals_ms = {"response": RESPONSE_GOAL_MS, "poll": POLL_GOAL_MS}
        found: dict[str, float] = {}
        for mode, own in own_ms.items():
            with LambdaPoolExecutor(1, backend="aws", completion=mode) as ex:  # type: ignore[arg-type]
                for _ in range(WARM_CALLS):
                    ex.submit(no_op, 1).result()
                found[mode] = median_ms(lambda e=ex: e.submit(no_op, 1).result(), calls)
            yield at_most(
                f"one warm call, {mode}: above the network's {own:.1f} ms",
                max(0.0, found[mode] - own),
                "ms",
                goals_ms[mode],
            )
        if options.peers is not None:
            told = options.peers.run("peer_lithops.py", "latency", aws.endpoint_url, LITHOPS_CALLS)
            other = told["wall_s"] * 1e3
            for mode, ours in found.items():
                yield at_most(f"one warm call, {mode}", ours, "ms", None, other, "Lithops")


if __name__ == "__main__":
    table.main(rows, __doc__)
