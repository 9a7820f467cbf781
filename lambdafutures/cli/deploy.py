"""`lambdafutures deploy`: set up bucket, role and functions, or bring them up to date."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lambdafutures
from lambdafutures.cli import common

if TYPE_CHECKING:
    from lambdafutures.deploy.session import Aws
    from lambdafutures.deployment import Deployment


def add_parser(verbs: Any) -> None:
    """Add the verb to the command.

    Args:
        verbs: The command's subparsers.
    """
    parser = verbs.add_parser(
        "deploy",
        help="set up AWS, or bring it up to date",
        description="Set up a bucket, a role and one function per memory size as one "
        "CloudFormation stack, or bring them up to date. Options that are not given stay as they "
        "were deployed.",
    )
    common.add_place_arguments(parser)
    parser.add_argument(
        "--memory",
        type=int,
        nargs="+",
        metavar="MB",
        help="memory of the functions, one function per size (default: 1769, one whole processor)",
    )
    parser.add_argument(
        "--timeout",
        type=int,
        metavar="SECONDS",
        help="time-out of the functions (default: 900, the longest)",
    )
    parser.add_argument(
        "--arch", choices=("x86_64", "arm64"), help="their processors (default: x86_64)"
    )
    parser.add_argument(
        "--nested",
        action=argparse.BooleanOptionalAction,
        help="have workers able to open executors themselves: the zip grows from 0.6 to 7 MB",
    )
    parser.add_argument(
        "--print-template",
        action="store_true",
        help="print the CloudFormation template and do nothing else; does not ask AWS",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be done")
    parser.add_argument("--yes", action="store_true", help="do not ask before changing anything")
    parser.set_defaults(run=common.explain(run))


def run(arguments: argparse.Namespace) -> int:
    """Deploy and return the exit status.

    Args:
        arguments: `name`, `region`, `profile`, `memory`, `timeout`, `arch`, `nested`,
            `print_template`, `dry_run` and `yes`.
    """
    from lambdafutures.deploy import bundle, plan, template

    name = common.chosen_name(arguments)
    given = {
        "memory_mb": arguments.memory and tuple(arguments.memory),
        "timeout_s": arguments.timeout,
        "arch": arguments.arch,
        "nested": arguments.nested,
    }
    options = plan.choose_options(name, given, None)  # refuses bad values before AWS is asked
    if arguments.print_template:
        worker = bundle.build(nested=options.nested)
        whole = template.full_template(options, worker.sha256, lambdafutures.__version__)
        print(json.dumps(whole, indent=2))
        return 0
    aws, remembered = common.connect(arguments)
    with aws:
        return _bring_up_to_date(arguments, aws, remembered, given)


def _bring_up_to_date(
    arguments: argparse.Namespace,
    aws: Aws,
    remembered: Deployment | None,
    given: Mapping[str, Any],
) -> int:
    from lambdafutures.deploy import apply, bundle, plan, survey

    name = common.chosen_name(arguments)
    if remembered is not None and remembered.region != aws.region:
        raise ValueError(
            f"deployment {name!r} is in {remembered.region}: give another --name for "
            f"{aws.region}, or run `lambdafutures destroy --name {name}` first"
        )
    options = plan.choose_options(name, given, survey.look(aws, name).template)
    worker = bundle.build(nested=options.nested)
    wanted = plan.draw(options, worker, lambdafutures.__version__)
    found = survey.survey(aws, wanted)
    steps = plan.plan_steps(found, wanted)
    print(f"deployment {name} in {aws.region}")
    if not steps:
        print("nothing to change")
    for number, step in enumerate(steps, 1):
        print(f"  {number}. {step.text}")
    if arguments.dry_run:
        return 0
    if steps and not common.confirm("Go ahead?", arguments):
        print("nothing was changed")
        return 1
    deployment = apply.deploy(aws, wanted, found, lambda text: print(f"{text} ...", flush=True))
    print(
        f"ready: {', '.join(deployment.functions.values())}, bucket {deployment.bucket}, "
        f"{deployment.concurrency} calls at once"
    )
    return 0
