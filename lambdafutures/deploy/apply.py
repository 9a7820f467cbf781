"""Carry out a plan, and undo it: the one module that changes what is on AWS.

A deployment is one CloudFormation stack, made in two steps, since CloudFormation must find the
worker's zip in the bucket before it can make a function: first the bucket alone, then all. A step
that fails leaves what it found: a new stack is removed, an old one is rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lambdafutures.deploy.bucket import Bucket
from lambdafutures.deploy.errors import AwsFault, DeployError
from lambdafutures.deploy.layer import build_again
from lambdafutures.deploy.plan import (
    ROLLED_BACK,
    USABLE,
    Action,
    Blueprint,
    Found,
    Step,
    plan_steps,
    same,
)
from lambdafutures.deploy.session import Aws
from lambdafutures.deploy.stack import Stack
from lambdafutures.deploy.survey import never_retries
from lambdafutures.deploy.template import (
    BUCKET,
    EVENT_AGE_S,
    without_functions,
    worker_prefix,
)
from lambdafutures.deploy.waiting import ask_until
from lambdafutures.deployment import Deployment, forget, remember

# A sandbox that still runs can write an object between the emptying of the bucket and its deletion;
# its functions are gone by the second round, so that it cannot do so for ever.
REMOVAL_ROUNDS = 3

Report = Callable[[str], None]


def deploy(aws: Aws, wanted: Blueprint, found: Found, report: Report) -> Deployment:
    """Bring AWS to what is wanted, remember the deployment and return it.

    Args:
        aws: The way to AWS.
        wanted: The blueprint.
        found: What `survey` found.
        report: What is told of each step as it begins.

    Raises:
        DeployError: If a step failed; what it found is there again.
        AwsFault: If AWS refused a request; likewise.
    """
    stack = Stack(aws, wanted.options.name)
    steps = plan_steps(found, wanted)
    try:
        for step in steps:
            report(step.text)
            _carry_out(aws, stack, step, wanted, found)
    except BaseException:  # Ctrl-C too: half a deployment is of no use to anybody
        report("failed: undoing what was begun")
        try:
            _undo(aws, stack, wanted, found)
        except (AwsFault, DeployError) as error:
            # The error that led here is the one to raise.
            report(f"not undone ({error}): run `lambdafutures destroy --name {stack.name}`")
        raise
    _mend_retries(aws, wanted.options.functions.values())
    bucket = Bucket(aws, stack.resources()[BUCKET])
    if any(step.action is Action.UPDATE for step in steps):
        _drop_old_code(bucket, wanted)
    deployment = Deployment(
        name=wanted.options.name,
        region=aws.region,
        bucket=bucket.name,
        functions=wanted.options.functions,
        python=wanted.options.python,
        concurrency=_concurrency(aws),
        timeout_s=wanted.options.timeout_s,
        prefix=wanted.options.prefix,
        nested=wanted.options.nested,
        arch=wanted.options.arch,
        packages=None if wanted.options.image else dict(wanted.options.layer.packages),
    )
    remember(deployment)
    return deployment


def _carry_out(aws: Aws, stack: Stack, step: Step, wanted: Blueprint, found: Found) -> None:
    match step.action:
        case Action.REMOVE:
            remove(aws, stack.name)
        case Action.CREATE:
            stack.create(wanted.first)
        case Action.UPLOAD:
            bucket = Bucket(aws, stack.resources()[BUCKET])
            bucket.put(wanted.key, wanted.bundle.data, wanted.bundle.sha256)
        case Action.UPLOAD_LAYER:
            layer = wanted.options.layer
            data = wanted.layer or build_again(layer, wanted.options.target)
            Bucket(aws, stack.resources()[BUCKET]).put(wanted.layer_key, data, layer.sha256)
        case Action.STRIP:
            stack.update(without_functions(found.template or {}, found.missing))
        case Action.UPDATE:
            stack.update(wanted.template)
        case Action.MEND:
            _mend_code(aws, wanted, found)


def _undo(aws: Aws, stack: Stack, wanted: Blueprint, found: Found) -> None:
    if stack.was_created:
        remove(aws, stack.name)
    elif found.bucket and not found.has_code:
        description = stack.describe()
        # An update that was interrupted on our side only goes on, and needs the new zip.
        status = description["StackStatus"] if description is not None else ""
        is_used = status not in USABLE or same(stack.template(), wanted.template)
        if status == ROLLED_BACK or not is_used:
            Bucket(aws, found.bucket).delete([wanted.key])


def _mend_code(aws: Aws, wanted: Blueprint, found: Found) -> None:
    def ask() -> Mapping[str, Any]:
        answer: Mapping[str, Any] = aws.call(
            "lambda", "get_function_configuration", FunctionName=function
        )
        return answer

    current = set() if wanted.options.image else set(wanted.options.functions.values())
    for function in current.intersection(found.amiss):
        if ask()["CodeSha256"] != wanted.bundle.code_sha256:
            aws.call(
                "lambda",
                "update_function_code",
                FunctionName=function,
                S3Bucket=found.bucket,
                S3Key=wanted.key,
            )
            # Lambda refuses other changes to the function until this one is through.
            ask_until(ask, lambda there: there.get("LastUpdateStatus") != "InProgress")


def _mend_retries(aws: Aws, functions: Iterable[str]) -> None:
    """Make sure that Lambda never runs a call again by itself, whoever has changed it."""
    for function in functions:
        if not never_retries(aws, function):
            aws.call(
                "lambda",
                "put_function_event_invoke_config",
                FunctionName=function,
                Qualifier="$LATEST",
                MaximumRetryAttempts=0,
                MaximumEventAgeInSeconds=EVENT_AGE_S,
            )


def _drop_old_code(bucket: Bucket, wanted: Blueprint) -> None:
    # Only now: until its update was complete, the stack might have been rolled back to the old zip.
    current = (wanted.key, wanted.layer_key)
    old = [key for key in bucket.keys(worker_prefix(wanted.options.prefix)) if key not in current]
    bucket.delete(old)


def _concurrency(aws: Aws) -> int:
    limits = aws.call("lambda", "get_account_settings")["AccountLimit"]
    return int(limits["ConcurrentExecutions"])


def remove(aws: Aws, name: str) -> bool:
    """Remove a deployment's stack with all that it holds; return whether there was one.

    Args:
        aws: The way to AWS.
        name: The deployment's name.

    Raises:
        DeployError: If the stack is not ours, or something could not be deleted.
    """
    stack = Stack(aws, name)
    description = stack.describe()
    if description is None:
        return False
    if not stack.is_ours(description):
        raise DeployError(
            f"stack {name} was not made by lambdafutures (it lacks its tag): nothing is deleted"
        )
    stack.settle(description["StackId"])
    for round_number in range(1, REMOVAL_ROUNDS + 1):
        if stack.describe() is None:  # somebody else was deleting it
            break
        bucket = stack.resources().get(BUCKET)
        if bucket:
            Bucket(aws, bucket).empty()
        try:
            stack.delete(description)
        except DeployError:
            if round_number == REMOVAL_ROUNDS:
                raise
        else:
            break
    return True


def destroy(aws: Aws, name: str) -> bool:
    """Remove a deployment and forget it; return whether there was anything on AWS.

    Args:
        aws: The way to AWS.
        name: The deployment's name.

    Raises:
        DeployError: If the stack is not ours, or something could not be deleted.
    """
    was_there = remove(aws, name)
    forget(name)
    return was_there
