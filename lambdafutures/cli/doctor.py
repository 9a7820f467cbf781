"""`lambdafutures doctor`: why does it not work, and what mends it."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from lambdafutures.cli import common

if TYPE_CHECKING:
    from lambdafutures.deploy.checks import Check
    from lambdafutures.deploy.doctor import RoundTrip
    from lambdafutures.deployment import Deployment

# A cold start is over within 10 s, after which Lambda ends the sandbox; then what it queued for.
ROUND_TRIP_MAX_S = 20.0
# What goes before a profile in botocore's chain, unless the profile is chosen in code.
_KEY_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def add_parser(verbs: Any) -> None:
    """Add the verb to the command.

    Args:
        verbs: The command's subparsers.
    """
    parser = verbs.add_parser(
        "doctor",
        help="find out why it does not work, and what mends it",
        description="Check credentials, region, bucket, permissions and functions of a "
        "deployment, and run calls on it. Each line that fails is followed by what mends it; the "
        "exit status is 1 then.",
    )
    common.add_place_arguments(parser)
    parser.set_defaults(run=common.explain(run))


def find_round_trip(deployment: Deployment | None) -> RoundTrip | None:
    """Return what runs calls on a deployment, or None if there is none.

    Args:
        deployment: The deployment that is remembered, or None.
    """
    return None if deployment is None else partial(_round_trip, deployment.name)


def _round_trip(name: str, path: Literal["response", "poll"]) -> float:
    """Run two calls, of which the second meets a warm worker, and return how long that one took."""
    from concurrent.futures import TimeoutError as GivenUp

    from lambdafutures.executor import LambdaPoolExecutor

    ex = LambdaPoolExecutor(1, deployment=name, completion=path)
    try:
        for _ in range(2):
            began_s = time.perf_counter()
            ex.submit(abs, -1).result(ROUND_TRIP_MAX_S)
            took_s = time.perf_counter() - began_s
    except GivenUp as error:
        raise GivenUp(f"no outcome within {ROUND_TRIP_MAX_S:g} s") from error
    finally:
        ex.kill_workers()  # nothing is to be waited for
    return took_s


@contextlib.contextmanager
def _executors_use(profile: str | None) -> Iterator[None]:
    """Have executors use the profile that the command was given."""
    before = dict(os.environ)
    if profile:
        os.environ["AWS_PROFILE"] = profile
        for variable in _KEY_VARIABLES:
            os.environ.pop(variable, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


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
    with aws, _executors_use(arguments.profile):
        for check in examine(
            aws,
            common.chosen_name(arguments),
            remembered,
            python=running_python(),
            bundle=bundle.build(nested=remembered is not None and remembered.nested),
            round_trip=find_round_trip(remembered),
        ):
            _show(check)
            has_failed = has_failed or check.state is State.FAILED
    return int(has_failed)


def _show(check: Check) -> None:
    print(f"{check.state.value:8}{check.name}: {check.finding}", flush=True)
    if check.remedy:
        print(f"        -> {check.remedy}", flush=True)
