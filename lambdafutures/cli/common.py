"""What the verbs that speak to AWS share: arguments, the way there, and errors in words."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from lambdafutures.deployment import (
    DEFAULT_NAME,
    DEPLOYMENT_VARIABLE,
    Deployment,
    find_deployment,
)

if TYPE_CHECKING:
    from lambdafutures.deploy.session import Aws


def add_place_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which deployment is meant, and how to get there.

    Args:
        parser: The verb's parser.
    """
    parser.add_argument(
        "--name",
        metavar="NAME",
        help=f"the deployment (default: ${DEPLOYMENT_VARIABLE}, else {DEFAULT_NAME})",
    )
    parser.add_argument(
        "--region",
        metavar="REGION",
        help="AWS region (default: the remembered deployment's, else $AWS_REGION, else the "
        "profile's)",
    )
    parser.add_argument(
        "--profile", metavar="PROFILE", help="profile of ~/.aws/config (default: $AWS_PROFILE)"
    )


def chosen_name(arguments: argparse.Namespace) -> str:
    """Return the deployment's name.

    Args:
        arguments: With `name`.
    """
    return arguments.name or os.environ.get(DEPLOYMENT_VARIABLE) or DEFAULT_NAME


def connect(
    arguments: argparse.Namespace, *, is_asking: bool = False
) -> tuple[Aws, Deployment | None]:
    """Return the way to AWS, and the deployment as it is remembered.

    Args:
        arguments: With `name`, `region` and `profile`.
        is_asking: Give up soon; for what only asks.
    """
    from lambdafutures.deploy import session

    remembered = find_deployment(chosen_name(arguments))
    aws = session.connect(
        region=arguments.region,
        profile=arguments.profile,
        remembered=remembered,
        attempts=session.ATTEMPTS_WHEN_ASKING if is_asking else session.ATTEMPTS,
    )
    return aws, remembered


def explain(
    run: Callable[[argparse.Namespace], int],
) -> Callable[[argparse.Namespace], int]:
    """Return `run` with what it refuses told in words instead of a traceback.

    Args:
        run: What a verb does.
    """

    def explained(arguments: argparse.Namespace) -> int:
        from lambdafutures.deploy.errors import AwsFault, DeployError
        from lambdafutures.deploy.remedies import remedy
        from lambdafutures.exceptions import BackendError, MissingExtra, PackageError

        try:
            return run(arguments)
        except AwsFault as fault:
            mended_by = remedy(
                fault,
                name=chosen_name(arguments),
                region=fault.region,
                profile=arguments.profile,
            )
            print(f"lambdafutures: {fault}\n  -> {mended_by}", file=sys.stderr)
        except (BackendError, DeployError, MissingExtra, PackageError, ValueError) as error:
            print(f"lambdafutures: {error}", file=sys.stderr)
        return 1

    return explained


def confirm(question: str, arguments: argparse.Namespace) -> bool:
    """Ask the user to agree, unless `--yes` was given.

    Args:
        question: What to ask.
        arguments: With `yes`.

    Raises:
        ValueError: If there is nobody to ask.
    """
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise ValueError("there is no terminal to ask on: give --yes to go ahead")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
