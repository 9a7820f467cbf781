"""All benchmarks, or some, in one table: ``python -m tests.benchmarks all [--full] [--peers]``."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator

from tests.benchmarks import table
from tests.benchmarks.table import Options, Row

NAMES = ("startup", "local", "client_cpu", "latency", "traffic", "memory", "simulate")


def rows(names: list[str], options: Options) -> Iterator[Row]:
    """Measure each in turn; a module is loaded when its turn comes."""
    for name in names:
        yield from importlib.import_module(f"tests.benchmarks.{name}").rows(options)


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="+", choices=("all", *NAMES), metavar="NAME")
    table.arguments(parser)
    given = parser.parse_args()
    names = list(NAMES) if "all" in given.name else given.name
    print(table.machine())
    missed = table.show(rows(names, table.options_of(given)), markdown=given.markdown)
    print(f"{missed} goals missed" if missed else "all goals reached")


if __name__ == "__main__":
    main()
