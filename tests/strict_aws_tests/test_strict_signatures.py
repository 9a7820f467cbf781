"""Signature Version 4: what is refused, and in which words."""

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.strict_aws import StrictAws
from tests.strict_aws.bodies import decode_body
from tests.strict_aws.messages import Request
from tests.strict_aws_tests.chunked import signed_chunks, unsigned_chunks
from tests.strict_aws_tests.wire import code_of, presigned, send, send_signed, signed, status_of

CODES = {
    "s3": {
        "wrong secret": (403, "SignatureDoesNotMatch"),
        "unknown key": (403, "InvalidAccessKeyId"),
        "wrong token": (400, "InvalidToken"),
        "expired": (400, "ExpiredToken"),
        "skew": (403, "RequestTimeTooSkewed"),
    },
    "lambda": {
        "wrong secret": (403, "InvalidSignatureException"),
        "unknown key": (403, "UnrecognizedClientException"),
        "wrong token": (403, "UnrecognizedClientException"),
        "expired": (403, "ExpiredTokenException"),
        "skew": (403, "InvalidSignatureException"),
    },
    "sts": {
        "wrong secret": (403, "SignatureDoesNotMatch"),
        "unknown key": (403, "InvalidClientTokenId"),
        "wrong token": (403, "InvalidClientTokenId"),
        "expired": (403, "ExpiredToken"),
        "skew": (403, "SignatureDoesNotMatch"),
    },
}


def call(client: Any, service: str) -> Any:
    if service == "s3":
        return client.list_objects_v2(Bucket="jobs")
    if service == "lambda":
        return client.list_functions()
    return client.get_caller_identity()


@pytest.mark.parametrize("service", sorted(CODES))
@pytest.mark.parametrize("fault", ["wrong secret", "unknown key", "wrong token", "expired", "skew"])
def test_bad_credentials(aws: StrictAws, make_client: Any, service: str, fault: str) -> None:
    who = aws.identity("who", ["*"], has_session=True)
    call(make_client(aws, service, who), service)
    known = who.credential
    if fault == "expired":
        known.expire()
    if fault == "skew":
        aws.clock_offset_s = 16 * 60
    who.credential = type(known)(
        known.access_key if fault != "unknown key" else "ASIANOBODY",
        known.secret_key if fault != "wrong secret" else "other",
        known.session_token if fault != "wrong token" else "other",
        who,
    )
    with pytest.raises(ClientError) as caught:
        call(make_client(aws, service, who), service)
    assert (status_of(caught.value), code_of(caught.value)) == CODES[service][fault]


@pytest.mark.parametrize(
    ("path", "marker"),
    [("/jobs/k", b"AccessDenied"), ("/2015-03-31/functions", b"Missing Authentication Token")],
)
def test_no_signature_at_all(aws: StrictAws, path: str, marker: bytes) -> None:
    status, _, body = send(aws, "GET", path)
    assert (status, marker in body) == (403, True)


@pytest.mark.parametrize(
    "tamper", ["path", "query", "method", "header", "scope-date", "scope-service"]
)
def test_whatever_is_changed_after_signing_is_noticed(aws: StrictAws, tamper: str) -> None:
    request = signed(aws, "GET", "/jobs?list-type=2&prefix=a", headers={"x-amz-meta-m": "1"})
    if tamper == "path":
        request.url = request.url.replace("/jobs", "/jobz")
    if tamper == "query":
        request.url = request.url.replace("prefix=a", "prefix=b")
    if tamper == "method":
        request.method = "HEAD"
    if tamper == "header":
        request.headers.replace_header("x-amz-meta-m", "2")
    authorization = request.headers["Authorization"]
    if tamper == "scope-date":
        day = time.strftime("%Y%m%d", time.gmtime())
        authorization = authorization.replace(day, "20200101")
    if tamper == "scope-service":
        authorization = authorization.replace("/s3/", "/lambda/")
    request.headers.replace_header("Authorization", authorization)
    status, _, _ = send_signed(aws, request)
    assert status == (400 if tamper.startswith("scope") else 403)


def test_an_unsigned_amz_header_is_refused(aws: StrictAws) -> None:
    request = signed(aws, "PUT", "/jobs/k", b"x")
    request.headers["x-amz-meta-late"] = "1"
    status, _, body = send_signed(aws, request)
    assert status == 403
    assert b"<HeadersNotSigned>x-amz-meta-late</HeadersNotSigned>" in body


def test_s3_needs_the_payload_hash(aws: StrictAws) -> None:
    request = signed(aws, "PUT", "/jobs/k", b"x")
    del request.headers["X-Amz-Content-SHA256"]
    headers = request.headers["Authorization"].replace("x-amz-content-sha256;", "")
    request.headers.replace_header("Authorization", headers)
    status, _, body = send_signed(aws, request)
    assert (status, b"x-amz-content-sha256" in body) == (400, True)


def test_a_path_with_an_arn_is_encoded_twice(aws: StrictAws, make_client: Any) -> None:
    with pytest.raises(ClientError, match="Function not found"):
        make_client(aws, "lambda").get_function(
            FunctionName="arn:aws:lambda:us-east-1:123456789012:function:nobody"
        )


def test_presigned_urls(aws: StrictAws) -> None:
    aws.put_object("jobs", "a b", b"body")
    path = presigned(aws, "GET", "/jobs/a%20b")
    assert send(aws, "GET", path)[::2] == (200, b"body")
    assert send(aws, "DELETE", path)[0] == 403
    assert send(aws, "GET", path.replace("Expires=60", "Expires=61"))[0] == 403
    aws.clock_offset_s = 61
    status, _, body = send(aws, "GET", path)
    assert (status, b"Request has expired" in body) == (403, True)
    status, _, body = send(aws, "GET", presigned(aws, "GET", "/jobs/k", 604_801))
    assert (status, b"AuthorizationQueryParametersError" in body) == (400, True)


@pytest.mark.parametrize("has_trailer", [False, True])
def test_signed_chunks(aws: StrictAws, has_trailer: bool) -> None:
    body = b"0123456789" * 1000
    path, headers, data = signed_chunks(aws, "/jobs/k", body, has_trailer)
    assert send(aws, "PUT", path, data, headers)[0] == 200
    assert aws.objects("jobs") == {"k": body}
    status, _, answer = send(aws, "PUT", path, data.replace(b"01234", b"01235", 1), headers)
    assert (status, b"SignatureDoesNotMatch" in answer) == (403, True)
    if has_trailer:
        broken = data.replace(b"trailer-signature:", b"trailer-signature:0")
        assert send(aws, "PUT", path, broken, headers)[0] == 403


def test_unsigned_chunks_with_a_trailing_checksum(aws: StrictAws) -> None:
    path, headers, data = unsigned_chunks(aws, "/jobs/k", b"hello", "crc32")
    status, answer, _ = send(aws, "PUT", path, data, headers)
    assert (status, answer["x-amz-checksum-crc32"]) == (200, "NhCmhg==")
    assert aws.objects("jobs") == {"k": b"hello"}
    status, _, body = send(aws, "PUT", path, data.replace(b"hello", b"hallo"), headers)
    assert (status, b"BadDigest" in body) == (400, True)
    status, _, body = send(aws, "PUT", path, data.replace(b"crc32", b"sha1x"), headers)
    assert (status, b"MalformedTrailerError" in body) == (400, True)
    status, _, body = send(aws, "PUT", path, data[:6], headers)
    assert (status, b"IncompleteBody" in body) == (400, True)


def test_a_body_shorter_than_declared_is_incomplete(aws: StrictAws) -> None:
    path, headers, data = unsigned_chunks(aws, "/jobs/k", b"hello", "crc32", declared=6)
    status, _, body = send(aws, "PUT", path, data, headers)
    assert (status, b"IncompleteBody" in body) == (400, True)


def test_get_caller_identity(aws: StrictAws, make_client: Any) -> None:
    nobody = aws.identity("nobody")
    answer = make_client(aws, "sts", nobody).get_caller_identity()
    assert answer["Arn"] == "arn:aws:iam::123456789012:user/nobody"
    assert answer["Account"] == "123456789012"
    role = aws.identity("worker", is_role=True)
    arn = make_client(aws, "sts", role).get_caller_identity()["Arn"]
    assert arn.startswith("arn:aws:sts::123456789012:assumed-role/worker/")


def test_the_verifier_gives_the_keys_for_the_body(aws: StrictAws) -> None:
    """The pieces fit without a server, too: the body of a plain request is its own."""
    request = signed(aws, "PUT", "/jobs/k", b"x")
    parsed = Request("PUT", "/jobs/k", {}, b"x")
    parsed.headers = {name.lower(): value for name, value in request.headers.items()}
    parsed.headers["host"] = aws.endpoint_url.removeprefix("http://")
    caller = aws._gateway.verifier.verify(parsed, "s3")
    decode_body(parsed, caller)
    assert (caller.identity.name, parsed.body) == ("admin", b"x")
