"""IAM statements: what a worker may do, what a client needs, and the one that mends a refusal."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from lambdafutures.deploy.errors import AwsFault
from lambdafutures.deployment import Deployment

Statement = dict[str, Any]

# What is done to objects under the prefixes of calls. (Multipart uploads need PutObject; a broken
# one is aborted.)
_OBJECT_ACTIONS = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:PutObject"]

# Operations whose IAM action has another name.
_ACTIONS = {
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "DeleteObjects": "DeleteObject",
    "Invoke": "InvokeFunction",
}

_ON_RESOURCE = re.compile(r"on resource: (arn:[^\s,]+)")


class Place(NamedTuple):
    """Say where ARNs point.

    Args:
        partition: ``aws``, ``aws-cn`` or ``aws-us-gov``.
        region: The region.
        account: The account's number.
    """

    partition: str
    region: str
    account: str

    @classmethod
    def of_caller(cls, arn: str, region: str) -> Place:
        """Return the place of whoever has that ARN.

        Args:
            arn: What STS says about the caller.
            region: The region.
        """
        parts = arn.split(":")
        return cls(parts[1], region, parts[4]) if len(parts) > 4 else cls("aws", region, "*")

    def bucket_arn(self, bucket: str) -> str:
        """Return a bucket's ARN."""
        return f"arn:{self.partition}:s3:::{bucket}"

    def function_arn(self, function: str) -> str:
        """Return a function's ARN."""
        return f"arn:{self.partition}:lambda:{self.region}:{self.account}:function:{function}"


def _data_statements(bucket_arn: str, prefix: str) -> list[Statement]:
    """Return what moves calls and outcomes; the worker's own code lies outside of what it writes.

    ListBucket has no condition on the prefix: only with it does S3 answer 404 for a missing key
    (a request for an object has no prefix, so a condition would turn that 404 into 403), and the
    bucket holds nothing but this deployment.
    """
    return [
        {
            "Sid": "ReadObjects",
            "Effect": "Allow",
            "Action": ["s3:GetObject"],
            "Resource": [f"{bucket_arn}/{prefix}/*"],
        },
        {
            "Sid": "WriteCallsAndOutcomes",
            "Effect": "Allow",
            "Action": list(_OBJECT_ACTIONS),
            "Resource": [f"{bucket_arn}/{prefix}/blobs/*", f"{bucket_arn}/{prefix}/sessions/*"],
        },
        {
            "Sid": "FindObjects",
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [bucket_arn],
        },
    ]


def _invoke_statement(function_arns: Sequence[str]) -> Statement:
    return {
        "Sid": "InvokeWorkers",
        "Effect": "Allow",
        "Action": ["lambda:InvokeFunction"],
        "Resource": list(function_arns),
    }


def worker_statements(
    bucket_arn: str, prefix: str, function_arns: Sequence[str], log_group_arns: Sequence[str]
) -> list[Statement]:
    """Return what the role of the functions allows, and nothing else.

    A worker may invoke its own functions, for an executor that a call opens. It may not make log
    groups: a late invocation would otherwise bring back one that `destroy` has removed.

    Args:
        bucket_arn: The deployment's bucket.
        prefix: Prefix of every key.
        function_arns: The deployment's functions.
        log_group_arns: Their log groups.
    """
    return [
        *_data_statements(bucket_arn, prefix),
        _invoke_statement(function_arns),
        {
            "Sid": "WriteLogs",
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": [f"{arn}:*" for arn in log_group_arns],
        },
    ]


def client_statements(deployment: Deployment, place: Place) -> list[Statement]:
    """Return the least that a user of a deployment must be allowed, `doctor` included.

    Args:
        deployment: The deployment.
        place: Where it is.
    """
    functions = [place.function_arn(name) for name in deployment.functions.values()]
    return [
        *_data_statements(place.bucket_arn(deployment.bucket), deployment.prefix),
        _invoke_statement(functions),
        {
            "Sid": "Examine",
            "Effect": "Allow",
            "Action": [
                "lambda:GetFunctionConcurrency",
                "lambda:GetFunctionConfiguration",
                "lambda:GetFunctionEventInvokeConfig",
            ],
            "Resource": list(functions),
        },
        {
            "Sid": "ExamineAccount",
            "Effect": "Allow",
            "Action": ["lambda:GetAccountSettings"],
            "Resource": ["*"],
        },
    ]


def action_of(fault: AwsFault) -> str:
    """Return the IAM action that a refused request needs.

    Args:
        fault: What AWS answered.
    """
    return f"{fault.service}:{_ACTIONS.get(fault.operation, fault.operation)}"


def statement_for(fault: AwsFault, resource: str = "*") -> str:
    """Return the statement, as JSON on one line, that allows what was refused.

    Args:
        fault: What AWS answered.
        resource: ARN of what was asked for, if the answer does not name it.
    """
    found = _ON_RESOURCE.search(fault.message)
    statement = {
        "Effect": "Allow",
        "Action": action_of(fault),
        "Resource": found[1] if found else resource,
    }
    return json.dumps(statement)
