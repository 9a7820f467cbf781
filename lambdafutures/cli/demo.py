"""`lambdafutures demo wordcount`: real work on real input, checked against a serial run."""

from __future__ import annotations

import argparse
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lambdafutures.cli.words import count_words
from lambdafutures.executor import LambdaPoolExecutor

TOP = 20
_SKIPPED = {"__pycache__", "site-packages", "dist-packages"}


def add_parser(verbs: Any) -> None:
    """Add the verb to the command.

    Args:
        verbs: The command's subparsers.
    """
    parser = verbs.add_parser("demo", help="run a demonstration on real data")
    demos = parser.add_subparsers(title="demonstrations", metavar="NAME", required=True)
    wordcount = demos.add_parser(
        "wordcount", help="count the words of Python's standard library, and check the totals"
    )
    wordcount.add_argument("--backend", choices=("local", "aws"), help="where to run")
    wordcount.add_argument("--workers", type=int, metavar="N", help="calls that run at once")
    wordcount.add_argument(
        "--files", type=int, metavar="N", help="count only the first N files (default: all)"
    )
    wordcount.add_argument("--progress", action="store_true", help="show a progress bar")
    wordcount.set_defaults(run=run)


def find_sources() -> list[Path]:
    """Return the ``.py`` files of the running Python's standard library, in order."""
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(path for path in root.rglob("*.py") if not _SKIPPED.intersection(path.parts))


def _texts(paths: Iterable[Path]) -> Iterable[str]:
    for path in paths:
        yield path.read_text(encoding="utf-8", errors="replace")


def run(arguments: argparse.Namespace) -> int:
    """Count the words by `map` and serially, and compare; return 1 if the totals differ.

    Args:
        arguments: `backend`, `workers`, `files` and `progress`.
    """
    texts = list(_texts(find_sources()[: arguments.files]))
    print(f"{len(texts)} files, {sum(map(len, texts)) / 1e6:.1f} million characters")

    began = time.perf_counter()
    expected: Counter[str] = Counter()
    for text in texts:
        expected.update(count_words(text))
    serial_s = time.perf_counter() - began

    began = time.perf_counter()
    total: Counter[str] = Counter()
    with LambdaPoolExecutor(
        arguments.workers, backend=arguments.backend, progress=arguments.progress
    ) as ex:
        for counts in ex.map(count_words, texts, chunksize="auto"):
            total.update(counts)
        statistics = ex.statistics()
    parallel_s = time.perf_counter() - began

    for word, times in total.most_common(TOP):
        print(f"{times:10,d}  {word}")
    print(f"serial        {serial_s:8.2f} s")
    print(f"{ex!r}")
    # Lambda does not tell how many sandboxes it started.
    workers = f" on {statistics.workers_started} workers" if statistics.workers_started else ""
    print(
        f"lambdafutures {parallel_s:8.2f} s   speed-up {serial_s / parallel_s:.2f}   "
        f"{statistics.attempts} chunks{workers}"
    )
    print(
        f"set-up        {statistics.setup_share:8.1%} of the time between sending a chunk and "
        "receiving its outcome"
    )
    if total != expected:
        print("the totals DIFFER from the serial count", file=sys.stderr)
        return 1
    print(f"the totals equal the serial count: {sum(total.values()):,d} words")
    return 0
