"""`lambdafutures status`: what is deployed, and what it holds."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from lambdafutures.cli import common

IMAGE = "image"

if TYPE_CHECKING:
    from lambdafutures.deploy.status import FunctionStatus, Holdings


def add_parser(verbs: Any) -> None:
    """Add the verb to the command.

    Args:
        verbs: The command's subparsers.
    """
    parser = verbs.add_parser(
        "status",
        help="show what is deployed",
        description="Show the stack's state, the functions, and what sessions have left in the "
        "bucket. The exit status is 1 if nothing is deployed.",
    )
    common.add_place_arguments(parser)
    parser.add_argument(
        "--print-policy",
        action="store_true",
        help="print the least that a user of the deployment must be allowed, as an IAM policy, and "
        "nothing else",
    )
    parser.set_defaults(run=common.explain(run))


def run(arguments: argparse.Namespace) -> int:
    """Show what is deployed; return 1 if nothing is.

    Args:
        arguments: `name`, `region`, `profile` and `print_policy`.
    """
    if arguments.print_policy:
        return _print_policy(arguments)
    from lambdafutures.deploy import bundle
    from lambdafutures.deploy.status import read_status

    name = common.chosen_name(arguments)
    aws, remembered = common.connect(arguments, is_asking=True)
    with aws:
        status = read_status(aws, name)
    if status is None:
        print(f"nothing is deployed as {name} in {aws.region}: run `lambdafutures deploy`")
        return 1
    print(f"{'deployment':12}{name} in {aws.region}, by lambdafutures {status.version or '?'}")
    print(f"{'stack':12}{status.stack}")
    print(f"{'bucket':12}{status.bucket or 'gone: run `lambdafutures deploy`'}")
    print(f"{'sessions':12}{_holdings(status.holdings)}")
    expected = bundle.build(nested=status.nested).code_sha256
    for function in status.functions:
        print(f"{'function':12}{function.name}: {_describe(function, expected)}")
    known = "yes" if remembered else "no: run `lambdafutures deploy`"
    print(f"{'remembered':12}{known}")
    return 0


def _print_policy(arguments: argparse.Namespace) -> int:
    from lambdafutures.deploy.policy import Place, client_statements

    aws, remembered = common.connect(arguments, is_asking=True)
    with aws:
        if remembered is None:
            raise ValueError("nothing is deployed: run `lambdafutures deploy`")
        caller = aws.call("sts", "get_caller_identity")
    place = Place.of_caller(caller["Arn"], remembered.region)
    statements = client_statements(remembered, place)
    print(json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2))
    return 0


def _holdings(holdings: Holdings) -> str:
    qualifier = "more than " if holdings.has_more else ""
    return (
        f"{qualifier}{holdings.objects} objects of {holdings.sessions} sessions, "
        f"{holdings.size_bytes / 1e6:.1f} MB"
    )


def _describe(function: FunctionStatus, expected: str) -> str:
    if not function.runtime:
        return "gone: run `lambdafutures deploy`"
    told = f"{function.runtime}, {function.arch}, {function.memory_mb} MB, {function.timeout_s} s"
    if function.runtime == IMAGE:
        return told
    is_current = function.code_sha256 == expected
    code = "this version" if is_current else "another version: run `lambdafutures deploy`"
    return f"{told}, code of {code}"
