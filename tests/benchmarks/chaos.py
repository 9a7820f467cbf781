"""Calls through AWS on a very bad day: all results right, each delivered once, nothing left.

Run as ``python -m tests.benchmarks.chaos``; ``--calls``, ``--seeds`` and ``--modes`` choose less.
AWS is the strict fake, over HTTP, with the real worker in processes of its own under AWS's runtime
client. `chaos_faults.py` says which faults there are, `chaos_run.py` what must hold in the end; a
run that fails says so with its mode and seed and ends the program.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tests.benchmarks import chaos_run
from tests.benchmarks.chaos_run import Figures

CALLS = 10_000
SEEDS = (1, 2, 3)
MODES = ("response", "poll", "auto")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.chaos", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--calls", type=int, default=CALLS, help="calls of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    asked = parser.parse_args(arguments)
    print(f"{asked.calls:,} calls, each run checked. Seconds: with the faults, and without any.")
    print(
        f"{'mode':>8}{'seed':>6}{'seconds':>9}{'calm':>8}{'ratio':>7}{'attempts':>10}{'most':>6}"
        f"{'runs':>7}{'Invokes':>9}{'late':>6}"
    )
    for mode in asked.modes:
        calm = chaos_run.run(mode, 0, asked.calls, is_calm=True)
        for seed in asked.seeds:
            try:
                found = chaos_run.run(mode, seed, asked.calls)
            except BaseException:
                print(f"{mode:>8}{seed:>6} FAILED", flush=True)
                raise
            _print_row(mode, seed, found, calm)
    print(
        "attempts, runs: per call; most: attempts at one call; Invokes: per chunk, throttled ones "
        "included; late: duplicates that came when the executor had ended"
    )


def _print_row(mode: str, seed: int, found: Figures, calm: Figures) -> None:
    print(
        f"{mode:>8}{seed:>6}{found.seconds:>9.1f}{calm.seconds:>8.1f}"
        f"{found.seconds / calm.seconds:>7.1f}{found.attempts:>10.3f}{found.most_attempts:>6}"
        f"{found.runs:>7.3f}{found.invokes:>9.3f}{found.late_duplicates:>6}"
    )
    faults = ", ".join(f"{count:,} {name}" for name, count in found.faults.items())
    print(f"{'':>14}  {faults}", flush=True)


if __name__ == "__main__":
    main()
