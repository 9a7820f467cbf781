"""adaptive: points are chosen where they tell most; their calls run on the executor."""

import adaptive

from lambdafutures import LambdaPoolExecutor

POINTS = 60


def peak(x: float) -> float:
    return x + 0.01**2 / (0.01**2 + (x - 0.3) ** 2)


def main() -> None:
    learner = adaptive.Learner1D(peak, bounds=(-1, 1))
    with LambdaPoolExecutor() as ex:
        # adaptive knows the number of workers of a few executors only: `ntasks` tells it.
        adaptive.BlockingRunner(learner, npoints_goal=POINTS, executor=ex, ntasks=ex._max_workers)
    serial = adaptive.Learner1D(peak, bounds=(-1, 1))
    adaptive.runner.simple(serial, npoints_goal=POINTS)
    # Which points are chosen depends on which results are there; what they are does not.
    if any(y != peak(x) for x, y in learner.data.items()):
        raise SystemExit("values differ from those of plain calls")
    if abs(learner.loss() - serial.loss()) > serial.loss():
        raise SystemExit(f"a loss of {learner.loss()}, but {serial.loss()} serially")
    print(
        f"{learner.npoints} points, a loss of {learner.loss():.3f} ({serial.loss():.3f} serially)"
    )


if __name__ == "__main__":
    main()
