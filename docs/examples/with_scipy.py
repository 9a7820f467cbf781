"""SciPy: whatever takes `workers=` takes the executor's map."""

from functools import partial

import numpy as np
from scipy.integrate import quad_vec
from scipy.optimize import differential_evolution, rosen

from lambdafutures import LambdaPoolExecutor


def spectrum(x: float) -> np.ndarray:
    return np.sin(np.arange(1, 50) * x) * np.exp(-x)


def main() -> None:
    # Deferred updating is what `workers=` needs; serially SciPy would update as it goes.
    options = {"rng": 1, "updating": "deferred", "maxiter": 20}
    minimum = partial(differential_evolution, rosen, [(-2, 2)] * 2, **options)
    integral = partial(quad_vec, spectrum, 0, 10)
    with LambdaPoolExecutor() as ex:
        best, area = minimum(workers=ex.map), integral(workers=ex.map)
    serial_best, serial_area = minimum(), integral()
    if (best.x != serial_best.x).any() or (area[0] != serial_area[0]).any():
        raise SystemExit(f"{best.x} and {area[0]}, serially {serial_best.x} and {serial_area[0]}")
    print(f"the minimum is at {best.x.round(3)}, the area is {area[0].sum():.6f}, as serially")


if __name__ == "__main__":
    main()
