"""How many requests a map of 10,000 calls makes, where each call is an invocation.

Run as ``python -m tests.benchmarks.traffic [--full]``. AWS is the instant one, which takes 20 ms
for S3 and 30 ms for Lambda, and runs as many calls as it is asked to.
"""

from __future__ import annotations

from collections.abc import Iterator

from lambdafutures import LambdaPoolExecutor
from tests.benchmarks import table
from tests.benchmarks.instant_aws import InstantAws
from tests.benchmarks.table import Options, Row, at_most
from tests.benchmarks.work import no_op

WORKERS = 1000
# us-east-1, November 2026.
DOLLARS = {
    "Invoke": 0.20 / 1e6,
    "GetObject": 0.0004 / 1e3,
    "PutObject": 0.005 / 1e3,
    "worker PutObject": 0.005 / 1e3,
    "ListObjectsV2": 0.005 / 1e3,
}


def counts(mode: str, calls: int, run_s: float) -> dict[str, int]:
    """Return the requests of a map, by operation; those for deleting are made after it."""
    with (
        InstantAws(s3_s=0.020, lambda_s=0.030, run_s=run_s) as aws,
        LambdaPoolExecutor(WORKERS, backend="aws", completion=mode) as ex,  # type: ignore[arg-type]
    ):
        assert list(ex.map(no_op, range(calls))) == [None] * calls
        return aws.counts()


def rows(options: Options) -> Iterator[Row]:
    """Measure."""
    calls, run_s = options.pick(3000, 10_000), float(options.pick(1, 2))
    for mode in ("response", "poll"):
        found = counts(mode, calls, run_s)
        is_poll = mode == "poll"
        for operation, goal in (
            ("Invoke", 1.0),
            ("worker PutObject", float(is_poll)),
            ("GetObject", float(is_poll)),
            ("ListObjectsV2", is_poll / 250),
        ):
            per_call = found.get(operation, 0) / calls
            yield at_most(f"{operation} per call, {mode}, {calls:,} calls", per_call, "", goal)
        dollars = sum(price * found.get(name, 0) for name, price in DOLLARS.items())
        yield Row(f"requests of a million such calls, {mode}", dollars / calls * 1e6, "$")


if __name__ == "__main__":
    table.main(rows, __doc__)
