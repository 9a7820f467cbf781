"""What there is of a deployment on AWS, compared with what is wanted. Reads only."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from lambdafutures.deploy.bucket import Bucket
from lambdafutures.deploy.errors import AwsFault
from lambdafutures.deploy.plan import Blueprint, Found
from lambdafutures.deploy.session import Aws
from lambdafutures.deploy.stack import Stack
from lambdafutures.deploy.template import BUCKET, FUNCTION_TYPE, log_group_name

_MISSING = "ResourceNotFoundException"


def look(aws: Aws, name: str) -> Found:
    """Return what there is of a deployment; reads only.

    Args:
        aws: The way to AWS.
        name: The deployment's name.
    """
    stack = Stack(aws, name)
    description = stack.describe()
    if description is None:
        return Found()
    status = description["StackStatus"]
    if not stack.is_ours(description):
        return Found(status=status)
    bucket = stack.resources().get(BUCKET, "")
    if not bucket or not Bucket(aws, bucket).exists():
        return Found(status, owned=True)
    return Found(status, True, stack.template(), bucket)


def survey(aws: Aws, wanted: Blueprint) -> Found:
    """Return what there is of a deployment, compared with what is wanted; reads only.

    Args:
        aws: The way to AWS.
        wanted: The blueprint.
    """
    found = look(aws, wanted.options.name)
    if found.status is not None and not found.owned:
        return found
    known = _functions_of(found.template)
    stack = Stack(aws, wanted.options.name)
    owned = frozenset() if found.status is None else frozenset(stack.resources().values())
    configurations = {
        name: _configuration(aws, name)
        for name in sorted({*known, *wanted.options.functions.values()})
    }
    strangers = [
        f"function {name}"
        for name, there in configurations.items()
        if there is not None and name not in owned
    ]
    strangers += [
        f"log group {name}"
        for name in map(log_group_name, wanted.options.functions.values())
        if name not in owned and _has_log_group(aws, name)
    ]
    missing = [name for name in known if configurations[name] is None]
    bucket = Bucket(aws, found.bucket)
    return Found(
        found.status,
        found.owned,
        found.template,
        found.bucket,
        has_code=bool(found.bucket) and bucket.has(wanted.key),
        has_layer=not wanted.layer_key or (bool(found.bucket) and bucket.has(wanted.layer_key)),
        missing=tuple(missing),
        amiss=tuple(_amiss(aws, known, configurations)),
        strangers=tuple(strangers),
    )


def _functions_of(template: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the code key of each function of a deployed template; empty for an image's."""
    return {
        resource["Properties"]["FunctionName"]: resource["Properties"]["Code"].get("S3Key", "")
        for resource in (template or {}).get("Resources", {}).values()
        if resource["Type"] == FUNCTION_TYPE
    }


def _configuration(aws: Aws, function: str) -> Mapping[str, Any] | None:
    try:
        answer: Mapping[str, Any] = aws.call(
            "lambda", "get_function_configuration", FunctionName=function
        )
    except AwsFault as fault:
        if fault.code == _MISSING:
            return None
        raise
    return answer


def _has_log_group(aws: Aws, name: str) -> bool:
    answer = aws.call("logs", "describe_log_groups", logGroupNamePrefix=name)
    return any(group["logGroupName"] == name for group in answer["logGroups"])


def _amiss(
    aws: Aws, known: Mapping[str, str], configurations: Mapping[str, Mapping[str, Any] | None]
) -> Iterable[str]:
    for name, key in known.items():
        there = configurations[name]
        if there is not None and not (_has_code(there, key) and never_retries(aws, name)):
            yield name


def _has_code(configuration: Mapping[str, Any], key: str) -> bool:
    if not key:
        return True  # of an image, the stack names the code
    sha256 = base64.b64decode(configuration["CodeSha256"]).hex()
    return key.endswith(f"/{sha256}.zip")


def never_retries(aws: Aws, function: str) -> bool:
    """Tell whether Lambda is set never to run a call again by itself.

    Args:
        aws: The way to AWS.
        function: The function's name.
    """
    try:
        settings = aws.call(
            "lambda",
            "get_function_event_invoke_config",
            FunctionName=function,
            Qualifier="$LATEST",
        )
    except AwsFault as fault:
        if fault.code == _MISSING:
            return False
        raise
    return bool(settings.get("MaximumRetryAttempts") == 0)
