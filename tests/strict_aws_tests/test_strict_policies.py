"""What identities may do."""

from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.exceptions import ClientError

from tests.strict_aws import StrictAws
from tests.strict_aws.identities import Identities
from tests.strict_aws_tests.wire import code_of, invoke, invoke_status, status_of

ARN = "arn:aws:s3:::jobs"


def test_a_policy_as_deployed_is_evaluated() -> None:
    identity = Identities("1").create(
        "worker",
        [
            {"Sid": "Objects", "Effect": "Allow", "Action": ["s3:GetObject", "s3:Put*"],
             "Resource": f"{ARN}/p/*"},
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": [ARN],
             "Condition": {"StringLike": {"s3:prefix": ["p/*", "q/?"]}}},
            {"Effect": "Deny", "Action": "*", "Resource": f"{ARN}/p/secret"},
        ],
    )  # fmt: skip
    assert identity.may("s3:GetObject", f"{ARN}/p/a/b")
    assert identity.may("s3:putobject", f"{ARN}/p/a")
    assert not identity.may("s3:DeleteObject", f"{ARN}/p/a")
    assert not identity.may("s3:GetObject", f"{ARN}/q/a")
    assert not identity.may("s3:GetObject", f"{ARN}/p/secret")
    assert identity.may("s3:ListBucket", ARN, "p/x")
    assert identity.may("s3:ListBucket", ARN, "q/1")
    assert not identity.may("s3:ListBucket", ARN, "q/12")
    assert not identity.may("s3:ListBucket", ARN)
    identity.revoke()
    assert not identity.may("s3:GetObject", f"{ARN}/p/a")


def test_what_is_not_evaluated_is_not_silently_allowed() -> None:
    identity = Identities("1").create("x")
    with pytest.raises(ValueError, match="NotAction"):
        identity.allow({"NotAction": "s3:*", "Resource": "*"})
    with pytest.raises(ValueError, match="condition"):
        identity.allow(
            {"Action": "*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}
        )


@pytest.mark.parametrize(
    ("action", "operation", "kwargs"),
    [
        ("s3:PutObject", "put_object", {"Key": "k", "Body": b""}),
        ("s3:PutObject", "create_multipart_upload", {"Key": "k"}),
        ("s3:GetObject", "get_object", {"Key": "k"}),
        ("s3:GetObject", "head_object", {"Key": "k"}),
        ("s3:DeleteObject", "delete_object", {"Key": "k"}),
        ("s3:ListBucket", "list_objects_v2", {}),
        ("s3:ListBucket", "head_bucket", {}),
        ("s3:ListBucketMultipartUploads", "list_multipart_uploads", {}),
        ("s3:DeleteBucket", "delete_bucket", {}),
    ],
)
def test_each_s3_operation_needs_its_action(
    aws: StrictAws, make_client: Any, action: str, operation: str, kwargs: dict[str, Any]
) -> None:
    aws.create_bucket("mine")
    who = aws.identity("who", ["s3:*", "s3:GetObject"]).deny(action)
    client = make_client(aws, "s3", who)
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)(Bucket="mine", **kwargs)
    assert status_of(caught.value) == 403
    if not operation.startswith("head"):
        assert code_of(caught.value) == "AccessDenied"
        assert action in str(caught.value)
    who.revoke()
    who.allow(action, "s3:ListBucket")
    aws.put_object("mine", "k", b"")
    if operation == "delete_bucket":
        aws.delete_object("mine", "k")
    getattr(client, operation)(Bucket="mine", **kwargs)


def test_delete_objects_refuses_single_keys(aws: StrictAws, make_client: Any) -> None:
    who = aws.identity("who", [f"s3:DeleteObject {ARN}/a"])
    for key in "ab":
        aws.put_object("jobs", key, b"")
    answer = make_client(aws, "s3", who).delete_objects(
        Bucket="jobs", Delete={"Objects": [{"Key": "a"}, {"Key": "b"}]}
    )
    assert [one["Key"] for one in answer["Deleted"]] == ["a"]
    assert answer["Errors"] == [{"Key": "b", "Code": "AccessDenied", "Message": "Access Denied"}]
    assert list(aws.objects("jobs")) == ["b"]


def test_invoke_needs_its_action(aws: StrictAws, make_client: Any) -> None:
    aws.create_function("f", respond=lambda event: event)
    arn = "arn:aws:lambda:us-east-1:123456789012:function:f"
    who = aws.identity("who", [("lambda:InvokeFunction", f"{arn}-other")])
    client = make_client(aws, "lambda", who)
    with pytest.raises(ClientError) as caught:
        invoke_status(client, "f")
    assert (status_of(caught.value), code_of(caught.value)) == (403, "AccessDeniedException")
    assert f"lambda:InvokeFunction on resource: {arn}" in str(caught.value)
    who.allow(("lambda:InvokeFunction", arn))
    assert invoke_status(client, "f") == 200


def test_the_functions_role_limits_the_function(
    aws: StrictAws, lambda_: Any, tmp_path: Any
) -> None:
    """The handler signs with its environment's credentials, and these are the role's."""
    (tmp_path / "handler.py").write_text(
        "import os\ndef handler(event, context):\n"
        "    return [os.environ['AWS_ACCESS_KEY_ID'], os.environ['AWS_SESSION_TOKEN']]\n"
    )
    role = aws.identity("worker", ["s3:GetObject"], is_role=True)
    aws.create_function("f", tmp_path, role=role)
    payload = lambda_.invoke(FunctionName="f")["Payload"].read().decode()
    known = aws._identities.by_key[payload.split('"')[1]]
    assert (known.identity, known.session_token in payload) == (role, True)
    assert known is not role.credential


def test_a_functions_own_s3_calls_come_here_under_its_role(
    aws: StrictAws, lambda_: Any, tmp_path: Path
) -> None:
    (tmp_path / "handler.py").write_text(
        "import botocore.session\n"
        "def handler(event, context):\n"
        "    s3 = botocore.session.get_session().create_client('s3')\n"
        "    s3.put_object(Bucket='jobs', Key='p/from-inside', Body=b'x')\n"
        "    s3.put_object(Bucket='jobs', Key='q/forbidden', Body=b'x')\n"
    )
    role = aws.identity("worker", [f"s3:PutObject {ARN}/p/*"], is_role=True)
    site_packages = str(Path(botocore.__file__).parents[1])
    aws.create_function("f", tmp_path, role=role, layers=[site_packages])
    body, error = invoke(lambda_, "f")
    assert error == "Unhandled"
    assert "assumed-role/worker/session is not authorized" in body["errorMessage"]
    assert aws.objects("jobs") == {"p/from-inside": b"x"}
    assert [record.identity for record in aws.log] == ["admin", "worker", "worker"]
