"""Least privilege: what the statements allow, and what they do not."""

from __future__ import annotations

import fnmatch
import json

import pytest

from lambdafutures._wire import keys
from lambdafutures.deploy import policy
from lambdafutures.deploy.errors import AwsFault
from lambdafutures.deploy.policy import Place
from lambdafutures.deploy.template import code_key
from lambdafutures.deployment import Deployment

BUCKET = "arn:aws:s3:::b"
FUNCTION = "arn:aws:lambda:r:1:function:f"
GROUP = "arn:aws:logs:r:1:log-group:/aws/lambda/f"
PLACE = Place("aws", "r", "1")
DEPLOYMENT = Deployment("d", "r", "b", {1769: "f"})


def allows(statements, action, resource):
    return any(
        any(fnmatch.fnmatchcase(action, pattern) for pattern in statement["Action"])
        and any(fnmatch.fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        for statement in statements
    )


OBJECT = f"{BUCKET}/{keys.out_key('lambdafutures', 's', 1, 1)}"
BLOB = f"{BUCKET}/{keys.blob_key('lambdafutures', 'ab')}"
CODE = f"{BUCKET}/{code_key('lambdafutures', 'ab')}"


@pytest.fixture(params=["worker", "client"])
def statements(request):
    if request.param == "client":
        return policy.client_statements(DEPLOYMENT, PLACE)
    return policy.worker_statements(BUCKET, "lambdafutures", [FUNCTION], [GROUP])


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:GetObject", OBJECT),
        ("s3:GetObject", BLOB),
        ("s3:PutObject", OBJECT),
        ("s3:PutObject", BLOB),
        ("s3:DeleteObject", OBJECT),
        ("s3:AbortMultipartUpload", OBJECT),
        ("s3:ListBucket", BUCKET),
        ("lambda:InvokeFunction", FUNCTION),
    ],
)
def test_what_calls_need_is_allowed(statements, action, resource):
    assert allows(statements, action, resource)


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:PutObject", CODE),  # who could write it would run in the next deployment
        ("s3:PutObject", f"{BUCKET}/other/x"),
        ("s3:GetObject", f"{BUCKET}/other/x"),
        ("s3:GetObject", f"{BUCKET}2/lambdafutures/x"),
        ("s3:DeleteBucket", BUCKET),
        ("s3:PutBucketPolicy", BUCKET),
        ("lambda:InvokeFunction", f"{FUNCTION}2"),
        ("lambda:UpdateFunctionCode", FUNCTION),
        ("iam:PassRole", "arn:aws:iam::1:role/r"),
        ("logs:CreateLogGroup", GROUP),
    ],
)
def test_what_calls_do_not_need_is_not_allowed(statements, action, resource):
    assert not allows(statements, action, resource)


def test_the_worker_writes_its_own_logs_only():
    made = policy.worker_statements(BUCKET, "lambdafutures", [FUNCTION], [GROUP])
    assert allows(made, "logs:PutLogEvents", f"{GROUP}:log-stream:x")
    assert not allows(made, "logs:PutLogEvents", f"{GROUP}-other:log-stream:x")
    assert not allows(policy.client_statements(DEPLOYMENT, PLACE), "logs:PutLogEvents", GROUP)


def test_actions_are_named_not_guessed(statements):
    """No wildcard actions; a wildcard resource only for what IAM knows no resource of."""
    for statement in statements:
        assert not any("*" in action for action in statement["Action"])
        if statement["Resource"] == ["*"]:
            assert statement["Action"] == ["lambda:GetAccountSettings"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (
            AwsFault("lambda", "Invoke", "AccessDeniedException", "not authorized"),
            ("lambda:InvokeFunction", FUNCTION),
        ),
        (AwsFault("s3", "HeadBucket", "403", "Forbidden"), ("s3:ListBucket", FUNCTION)),
        (
            AwsFault(
                "cloudformation",
                "CreateStack",
                "AccessDenied",
                "User: arn:aws:iam::1:user/u is not authorized to perform: "
                "cloudformation:CreateStack on resource: arn:aws:cloudformation:r:1:stack/x/* "
                "because no identity-based policy allows it",
            ),
            ("cloudformation:CreateStack", "arn:aws:cloudformation:r:1:stack/x/*"),
        ),
    ],
)
def test_the_statement_that_mends_a_refusal(fault, expected):
    statement = json.loads(policy.statement_for(fault, FUNCTION))
    assert (statement["Action"], statement["Resource"]) == expected


def test_the_place_of_a_caller():
    place = Place.of_caller("arn:aws-cn:sts::12:assumed-role/a/b", "cn-north-1")
    assert place == Place("aws-cn", "cn-north-1", "12")
    assert place.bucket_arn("b") == "arn:aws-cn:s3:::b"
    assert Place.of_caller("", "r") == Place("aws", "r", "*")


def test_key_ids_are_hidden():
    fault = AwsFault("sts", "GetCallerIdentity", "X", "key AKIAIOSFODNN7EXAMPLE is unknown")
    assert "AKIAIOSFODNN7EXAMPLE" not in str(fault)
