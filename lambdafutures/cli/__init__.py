"""The `lambdafutures` command: one module per verb."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lambdafutures.cli import demo, deploy, destroy, doctor, status, version

_VERBS = (demo, deploy, doctor, status, destroy, version)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Args:
        argv: Arguments; the process's own by default.
    """
    parser = argparse.ArgumentParser(
        prog="lambdafutures", description="ProcessPoolExecutor, with AWS Lambda for processes."
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for module in _VERBS:
        module.add_parser(verbs)
    arguments = parser.parse_args(argv)
    status: int = arguments.run(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main())
