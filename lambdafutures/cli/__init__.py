"""The `lambdafutures` command: one module per verb."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Args:
        argv: Arguments; the process's own by default.
    """
    # Here, since a worker imports this package for the function that the demonstration counts with.
    import argparse

    from lambdafutures.cli import (
        clean,
        demo,
        deploy,
        destroy,
        doctor,
        jobs,
        runtime,
        status,
        version,
    )

    parser = argparse.ArgumentParser(
        prog="lambdafutures", description="ProcessPoolExecutor, with AWS Lambda for processes."
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for module in (demo, deploy, doctor, status, runtime, destroy, jobs, clean, version):
        module.add_parser(verbs)
    arguments = parser.parse_args(argv)
    exit_status: int = arguments.run(arguments)
    return exit_status
