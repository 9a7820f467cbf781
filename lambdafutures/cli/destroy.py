"""`lambdafutures destroy`: remove a deployment with all that it holds."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from lambdafutures.cli import common

if TYPE_CHECKING:
    from lambdafutures.deploy.session import Aws


def add_parser(verbs: Any) -> None:
    """Add the verb to the command.

    Args:
        verbs: The command's subparsers.
    """
    parser = verbs.add_parser(
        "destroy",
        help="remove what deploy has set up, and all objects in its bucket",
        description="Empty the deployment's bucket, delete its CloudFormation stack and forget it. "
        "Nothing that deploy has not made is touched.",
    )
    common.add_place_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would be done")
    parser.add_argument("--yes", action="store_true", help="do not ask before deleting anything")
    parser.set_defaults(run=common.explain(run))


def run(arguments: argparse.Namespace) -> int:
    """Destroy a deployment and return the exit status.

    Args:
        arguments: `name`, `region`, `profile`, `dry_run` and `yes`.
    """
    aws, _ = common.connect(arguments)
    with aws:
        return _destroy(arguments, aws)


def _destroy(arguments: argparse.Namespace, aws: Aws) -> int:
    from lambdafutures.deploy import apply, survey

    name = common.chosen_name(arguments)
    found = survey.look(aws, name)
    if found.status is None:
        print(f"there is no stack {name} in {aws.region}")
    else:
        holding = f" and bucket {found.bucket} with all objects" if found.bucket else ""
        print(f"stack {name} in {aws.region}{holding} will be deleted")
    if arguments.dry_run:
        return 0
    if found.status is not None and not common.confirm("Go ahead?", arguments):
        print("nothing was deleted")
        return 1
    if apply.destroy(aws, name):
        print("deleted")
    return 0
