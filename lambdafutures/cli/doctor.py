"""`lambdafutures doctor`: why does it not work, and what mends it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from lambdafutures.cli import common

if TYPE_CHECKING:
    from lambdafutures.deploy.checks import Check
    from lambdafutures.deploy.doctor import RoundTrip
    from lambdafutures.deployment import Deployment


def add_parser(verbs: Any) -> None:
    """Add the verb to the command.

    Args:
        verbs: The command's subparsers.
    """
    parser = verbs.add_parser(
        "doctor",
        help="find out why it does not work, and what mends it",
        description="Check credentials, region, bucket, permissions and functions of a "
        "deployment. Each line that fails is followed by what mends it; the exit status is 1 then.",
    )
    common.add_place_arguments(parser)
    parser.set_defaults(run=common.explain(run))


def find_round_trip(deployment: Deployment | None) -> RoundTrip | None:
    """Return what runs one call on a deployment, or None if nothing here can.

    This is the one place where the AWS backend is to be wired in.

    Args:
        deployment: The deployment that is remembered, or None.
    """
    return None


def run(arguments: argparse.Namespace) -> int:
    """Examine a deployment; return 1 if a check failed.

    Args:
        arguments: `name`, `region` and `profile`.
    """
    from lambdafutures.deploy import bundle
    from lambdafutures.deploy.checks import State
    from lambdafutures.deploy.doctor import examine
    from lambdafutures.deploy.options import running_python

    aws, remembered = common.connect(arguments, is_asking=True)
    has_failed = False
    with aws:
        for check in examine(
            aws,
            common.chosen_name(arguments),
            remembered,
            python=running_python(),
            bundle=bundle.build(),
            round_trip=find_round_trip(remembered),
        ):
            _show(check)
            has_failed = has_failed or check.state is State.FAILED
    return int(has_failed)


def _show(check: Check) -> None:
    print(f"{check.state.value:8}{check.name}: {check.finding}", flush=True)
    if check.remedy:
        print(f"        -> {check.remedy}", flush=True)
