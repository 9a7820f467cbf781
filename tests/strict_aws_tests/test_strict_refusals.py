"""Requests that no service can make sense of, and the words they are refused in."""

import base64
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.strict_aws import StrictAws
from tests.strict_aws_tests.wire import send_signed, signed


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "marker"),
    [
        ("GET", "/jobs?tagging", b"", {}, b"NotImplemented"),
        ("PATCH", "/jobs/k", b"", {}, b"NotImplemented"),
        ("POST", "/jobs/k", b"", {}, b"NotImplemented"),
        ("POST", "/jobs?delete", b"<Delete>", {"Content-MD5": ""}, b"InvalidDigest"),
        ("PUT", "/other", b"<no xml", {}, b"MalformedXML"),
        ("PUT", "/other", b"<Other/>", {}, b"MalformedXML"),
        ("PUT", "/jobs/k", b"", {"Content-Encoding": "aws-chunked"}, b"InvalidRequest"),
        ("PUT", "/jobs/k", b"x", {"x-amz-checksum-crc32": "jNwWgw==", "x-amz-checksum-sha1": "x"},
         b"Expecting a single x-amz-checksum- header"),
        ("POST", "/jobs/k?uploads", b"", {"x-amz-checksum-algorithm": "MD4"}, b"unsupported"),
        ("PUT", "/jobs/k?uploadId=nothing", b"", {}, b"InvalidArgument"),
        ("GET", "/jobs?list-type=2&max-keys=many", b"", {}, b"InvalidArgument"),
    ],
)  # fmt: skip
def test_s3_refuses(
    aws: StrictAws, method: str, path: str, body: bytes, headers: dict[str, str], marker: bytes
) -> None:
    status, _, answer = send_signed(aws, signed(aws, method, path, body, headers))
    assert 400 <= status <= 501
    assert marker in answer


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "code"),
    [
        ("GET", "/2015-03-31/layers", b"", {}, "UnknownOperationException"),
        ("GET", "/2015-03-31/functions?MaxItems=x", b"", {}, "InvalidParameterValueException"),
        ("POST", "/2015-03-31/functions", b"[]", {}, "SerializationException"),
        ("POST", "/2015-03-31/functions", b"{", {}, "SerializationException"),
        ("GET", "/2015-03-31/functions/a%20b", b"", {}, "ValidationException"),
        ("PUT", "/2017-10-31/functions/f/concurrency", b"{}", {}, "InvalidParameterValueException"),
        ("PUT", "/2019-09-25/functions/f/event-invoke-config",
         b'{"DestinationConfig": {"OnFailure": {"Destination": "arn"}}}', {},
         "InvalidParameterValueException"),
        ("POST", "/2015-03-31/functions/f/invocations", b"", {"X-Amz-Invocation-Type": "Later"},
         "InvalidParameterValueException"),
        ("POST", "/2015-03-31/functions/f/invocations", b"", {"X-Amz-Client-Context": "%"},
         "InvalidRequestContentException"),
    ],
)  # fmt: skip
def test_lambda_refuses(
    aws: StrictAws, method: str, path: str, body: bytes, headers: dict[str, str], code: str
) -> None:
    aws.create_function("f", respond=lambda event: event)
    request = signed(aws, method, path, body, headers, service="lambda")
    status, answer_headers, answer = send_signed(aws, request)
    assert 400 <= status < 500
    assert answer_headers["x-amzn-errortype"] == code
    assert json.loads(answer)["Type"] == "User"


def test_sts_refuses_other_actions(aws: StrictAws) -> None:
    request = signed(aws, "POST", "/", b"Action=AssumeRole&Version=2011-06-15", service="sts")
    status, _, body = send_signed(aws, request)
    assert (status, b"<Code>InvalidAction</Code>" in body) == (400, True)


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("AWS key:signature", b"AWS4-HMAC-SHA256"),
        ("AWS4-HMAC-SHA256 nonsense", b"AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=0",
         b"AuthorizationHeaderMalformed"),
    ],
)  # fmt: skip
def test_malformed_authorizations(aws: StrictAws, authorization: str, code: bytes) -> None:
    request = signed(aws, "GET", "/jobs/k")
    request.headers.replace_header("Authorization", authorization)
    status, _, body = send_signed(aws, request)
    assert (status, code in body) == (400, True)


def test_a_date_is_needed(aws: StrictAws) -> None:
    request = signed(aws, "GET", "/jobs/k")
    request.headers.replace_header("X-Amz-Date", "yesterday")
    status, _, body = send_signed(aws, request)
    assert (status, b"x-amz-date" in body) == (403, True)


def test_the_client_context_reaches_the_function(
    aws: StrictAws, lambda_: Any, tmp_path: Any
) -> None:
    (tmp_path / "handler.py").write_text(
        "def handler(event, context):\n    return context.client_context.custom\n"
    )
    aws.create_function("f", tmp_path)
    context = base64.b64encode(json.dumps({"custom": {"depth": 3}}).encode()).decode()
    answer = lambda_.invoke(FunctionName="f", ClientContext=context)
    assert json.loads(answer["Payload"].read()) == {"depth": 3}


def test_a_start_that_fails_says_why() -> None:
    with StrictAws() as aws:
        port = int(aws.endpoint_url.rpartition(":")[2])
        with pytest.raises(OSError, match=str(port)), StrictAws(port=port):
            pass


def test_code_or_respond(aws: StrictAws) -> None:
    with pytest.raises(ValueError, match="either"):
        aws.create_function("f")
    with pytest.raises(ValueError, match="either"):
        aws.create_function("f", b"", respond=lambda event: event)


def test_a_bucket_deleted_behind_the_back(aws: StrictAws, s3: Any) -> None:
    aws.delete_bucket("jobs")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3.put_object(Bucket="jobs", Key="k", Body=b"")
