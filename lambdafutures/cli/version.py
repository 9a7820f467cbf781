"""`lambdafutures version`: what is installed here."""

from __future__ import annotations

import argparse
import platform
from typing import Any

import lambdafutures


def add_parser(verbs: Any) -> None:
    """Add the verb to the command.

    Args:
        verbs: The command's subparsers.
    """
    parser = verbs.add_parser("version", help="print the versions of lambdafutures and Python")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the versions.

    Args:
        arguments: None are used.
    """
    print(
        f"lambdafutures {lambdafutures.__version__} on {platform.python_implementation()} "
        f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    return 0
