"""What is deployed, and what it holds: read from AWS, shown by `lambdafutures status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lambdafutures.deploy.bucket import Bucket
from lambdafutures.deploy.errors import AwsFault, DeployError
from lambdafutures.deploy.remedies import MISSING
from lambdafutures.deploy.session import Aws
from lambdafutures.deploy.stack import Stack
from lambdafutures.deploy.template import BUCKET, METADATA, TAG

# 100 listings of 1,000 keys take about ten seconds and cost $0.0005; beyond, "more than" will do.
MOST_PAGES = 100


@dataclass(frozen=True, slots=True)
class FunctionStatus:
    """Describe a deployed function.

    Args:
        name: Its name.
        runtime: Its runtime, such as ``"python3.12"``, or ``"image"``; empty if somebody has
            deleted it.
        memory_mb: Its memory.
        timeout_s: Its time-out.
        arch: Its processor.
        code_sha256: SHA-256 of its code, as Lambda writes it.
    """

    name: str
    runtime: str = ""
    memory_mb: int = 0
    timeout_s: int = 0
    arch: str = ""
    code_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Holdings:
    """Count the objects of sessions.

    Args:
        objects: How many there are.
        size_bytes: Their length in all.
        sessions: Of how many sessions they are.
        has_more: The counting was given up.
    """

    objects: int = 0
    size_bytes: int = 0
    sessions: int = 0
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """Describe what is deployed.

    Args:
        stack: The stack's state.
        bucket: The bucket's name; empty if it is gone.
        version: Version of lambdafutures that was deployed.
        holdings: Objects of sessions.
        functions: The functions.
        nested: Executors can be opened in workers.
    """

    stack: str
    bucket: str
    version: str
    holdings: Holdings
    functions: tuple[FunctionStatus, ...]
    nested: bool = False


def read_status(aws: Aws, name: str) -> Status | None:
    """Return what is deployed, or None if nothing is.

    Args:
        aws: The way to AWS.
        name: The deployment's name.

    Raises:
        DeployError: If the stack of that name is not ours.
    """
    stack = Stack(aws, name)
    description = stack.describe()
    if description is None:
        return None
    if not stack.is_ours(description):
        raise DeployError(
            f"stack {name} was not made by lambdafutures (it lacks the tag {TAG}): give --name"
        )
    deployed = stack.template().get("Metadata", {}).get(METADATA, {})
    resources = stack.resources()
    bucket = resources.get(BUCKET, "")
    if bucket and not Bucket(aws, bucket).exists():
        bucket = ""
    functions = [
        _function(aws, physical)
        for logical, physical in sorted(resources.items())
        if logical.startswith("Function")
    ]
    return Status(
        description["StackStatus"],
        bucket,
        deployed.get("version", ""),
        _count(aws, bucket, f"{deployed['prefix']}/sessions/") if bucket else Holdings(),
        tuple(functions),
        deployed.get("nested", False),
    )


def _function(aws: Aws, name: str) -> FunctionStatus:
    try:
        there: Mapping[str, Any] = aws.call(
            "lambda", "get_function_configuration", FunctionName=name
        )
    except AwsFault as fault:
        if fault.code in MISSING:
            return FunctionStatus(name)
        raise
    return FunctionStatus(
        name,
        there.get("Runtime") or there.get("PackageType", "").lower(),
        there["MemorySize"],
        there["Timeout"],
        ", ".join(there.get("Architectures", ())),
        there["CodeSha256"],
    )


def _count(aws: Aws, bucket: str, prefix: str) -> Holdings:
    objects = size_bytes = 0
    sessions: set[str] = set()
    for number, page in enumerate(Bucket(aws, bucket).pages("list_objects_v2", Prefix=prefix), 1):
        for entry in page.get("Contents", ()):
            objects += 1
            size_bytes += entry["Size"]
            sessions.add(entry["Key"].removeprefix(prefix).partition("/")[0])
        if number == MOST_PAGES and page.get("IsTruncated"):
            return Holdings(objects, size_bytes, len(sessions), has_more=True)
    return Holdings(objects, size_bytes, len(sessions))
