"""Dask: the executor is the scheduler."""

import random

import dask.bag

from lambdafutures import LambdaPoolExecutor


def is_in_circle(seed: int) -> bool:
    """Throw a dart at a square; tell whether it hits the circle in it."""
    dart = random.Random(seed)
    return dart.random() ** 2 + dart.random() ** 2 < 1


def main() -> None:
    hits = dask.bag.from_sequence(range(10_000), npartitions=8).map(is_in_circle).sum()
    with LambdaPoolExecutor() as ex:
        found = hits.compute(scheduler=ex)
    serial = hits.compute(scheduler="synchronous")
    if found != serial:
        raise SystemExit(f"{found} hits, but {serial} serially")
    print(f"pi is about {4 * found / 10_000}, as serially")


if __name__ == "__main__":
    main()
