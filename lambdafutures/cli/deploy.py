"""`lambdafutures deploy`: set up bucket, role and functions, or bring them up to date."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import lambdafutures
from lambdafutures.cli import common

if TYPE_CHECKING:
    from lambdafutures.deploy.options import Options
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
        "--disk",
        type=int,
        metavar="MB",
        help="size of the functions' /tmp, for large requirements of executors (default: 512)",
    )
    packages = parser.add_mutually_exclusive_group()
    packages.add_argument(
        "--requirements",
        metavar="FILE",
        help="deploy the packages of a requirements.txt or pyproject.toml with the functions",
    )
    packages.add_argument(
        "--from-env",
        action="store_true",
        help="deploy the packages that this Python has installed, in the same versions",
    )
    packages.add_argument(
        "--no-requirements", action="store_true", help="deploy no packages any more"
    )
    image = parser.add_mutually_exclusive_group()
    image.add_argument(
        "--image",
        metavar="URI",
        help="run the functions from a container image, for packages beyond Lambda's 250 MB",
    )
    image.add_argument(
        "--no-image", action="store_true", help="run them from Lambda's own Python again"
    )
    image.add_argument(
        "--print-dockerfile",
        action="store_true",
        help="print the Dockerfile of such an image, with the --requirements, and do nothing else",
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
        arguments: `name`, `region`, `profile`, `memory`, `timeout`, `arch`, `nested`, `disk`,
            `requirements`, `from_env`, `no_requirements`, `image`, `no_image`,
            `print_dockerfile`, `print_template`, `dry_run` and `yes`.
    """
    from lambdafutures.deploy import bundle, plan, template

    name = common.chosen_name(arguments)
    given = {
        "memory_mb": arguments.memory and tuple(arguments.memory),
        "timeout_s": arguments.timeout,
        "arch": arguments.arch,
        "nested": arguments.nested,
        "disk_mb": arguments.disk,
        "image": "" if arguments.no_image else arguments.image,
    }
    options = plan.choose_options(name, given, None)  # refuses bad values before AWS is asked
    if arguments.print_dockerfile:
        return _print_dockerfile(arguments, options)
    if arguments.print_template:
        options, _ = _with_packages(arguments, options)
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
    options, layer = _with_packages(arguments, options)
    worker = bundle.build(nested=options.nested)
    wanted = plan.draw(options, worker, lambdafutures.__version__, layer)
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


def _with_packages(arguments: argparse.Namespace, options: Options) -> tuple[Options, bytes | None]:
    """Return the options with the packages that are asked for, or stay, and their zip if made."""
    from lambdafutures._environment.requirements import Request, read
    from lambdafutures.cli.bar import Bar
    from lambdafutures.deploy import layer

    if arguments.no_requirements:
        return replace(options, layer=layer.NO_LAYER), None
    if arguments.requirements:
        request = read(arguments.requirements)
    elif arguments.from_env:
        request = layer.of_environment()
    elif options.layer and options.layer.target != str(options.target):
        request = Request(options.layer.requirements)  # for another Python or processor
    else:
        return options, None
    with Bar() as bar:
        made, data = layer.build(request, options.target, bar.show)
    return replace(options, layer=made), data


def _print_dockerfile(arguments: argparse.Namespace, options: Options) -> int:
    from lambdafutures._environment.requirements import read
    from lambdafutures.deploy import image, layer

    lines: tuple[str, ...] = ()
    if arguments.requirements:
        lines = read(arguments.requirements).lines
    elif arguments.from_env:
        lines = layer.of_environment().lines
    print(image.dockerfile(options, lambdafutures.__version__, lines), end="")
    return 0
