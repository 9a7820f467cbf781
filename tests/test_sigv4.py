"""The signer's output is botocore's, byte for byte."""

import calendar
import hashlib
import time
from typing import Any

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdafutures._wire import sigv4
from lambdafutures._wire.sigv4 import UNSIGNED_PAYLOAD, Credentials, Signer

NOW_S = 1_795_342_148.0
KEY = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
TEMPORARY = Credentials("ASIDEXAMPLE", "secret/with+signs=", "FwoGZXIvYXdzE//token+==")
S3_HOST = "bucket.s3.eu-west-1.amazonaws.com"
LAMBDA_HOST = "lambda.eu-west-1.amazonaws.com"

Pairs = list[tuple[str, str]]


def botocore_headers(
    service: str,
    method: str,
    url: str,
    headers: dict[str, str],
    body: bytes,
    credentials: Credentials,
    is_unsigned: bool,
    region: str = "eu-west-1",
) -> dict[str, str]:
    request = AWSRequest(method=method, url=url, headers=headers, data=body)
    request.context["payload_signing_enabled"] = not is_unsigned
    if is_unsigned:
        # What botocore's client sets where it lets TLS protect the body.
        request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
    signer_type: Any = auth.S3SigV4Auth if service == "s3" else auth.SigV4Auth
    boto = BotoCredentials(
        credentials.access_key, credentials.secret, credentials.session_token or None
    )
    signer_type(boto, service, region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def assert_same(
    service: str,
    method: str,
    host: str,
    path: str,
    pairs: Pairs,
    headers: dict[str, str],
    body: bytes,
    credentials: Credentials = KEY,
    is_unsigned: bool = False,
) -> dict[str, str]:
    query = sigv4.encode_query(pairs)
    url = f"https://{host}{path}" + (f"?{query}" if query else "")
    theirs = botocore_headers(service, method, url, dict(headers), body, credentials, is_unsigned)
    # botocore signs with its own clock, so we sign with the time that it has written down.
    signed_at = time.strptime(theirs["x-amz-date"], "%Y%m%dT%H%M%SZ")
    ours = Signer(service, "eu-west-1").sign(
        method,
        host,
        path,
        query,
        headers,
        UNSIGNED_PAYLOAD if is_unsigned else hashlib.sha256(body).hexdigest(),
        credentials,
        calendar.timegm(signed_at),
    )
    lowered = {name.lower(): value for name, value in ours.items()}
    assert lowered.pop("host") == host
    assert lowered == theirs
    return ours


S3_KEYS = [
    "plain",
    "lambdafutures/sessions/0a1b/out/000000001/0001",
    "with space/and  two",
    "unicode/é/日本語/🎉",
    "plus+equals=tilde~star*paren()",
    "percent%20already%2Fthere",
    "//double//slashes//",
    "./dots/../and/./more/..",
    "query?and#hash&amp;:@$,;'\"<>[]{}|\\^`",
    "trailing/",
    "line\nbreak\ttab",
]


@pytest.mark.parametrize("credentials", [KEY, TEMPORARY], ids=["key", "session"])
@pytest.mark.parametrize("key", S3_KEYS)
def test_s3_keys_are_signed_as_they_are_sent(key: str, credentials: Credentials) -> None:
    path = "/" + sigv4.encode(key, b"/")
    assert_same("s3", "GET", S3_HOST, path, [], {}, b"", credentials)
    assert_same("s3", "PUT", S3_HOST, path, [], {"If-None-Match": "*"}, b"body", credentials)


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [("uploads", "")],
        [("list-type", "2"), ("prefix", "a b/é+~"), ("start-after", "a=b&c")],
        [("partNumber", "10"), ("uploadId", "x/y+z==")],
        [("a", "2"), ("a", "10"), ("a", ""), ("A", "1")],
        [("a-b", "1"), ("a", "1"), ("a=", "0")],
        [("é", "ü"), ("z", "~"), ("", "")],
    ],
)
def test_queries_are_sorted_by_name_then_value(pairs: Pairs) -> None:
    assert_same("s3", "GET", S3_HOST, "/", pairs, {}, b"")
    assert_same("lambda", "GET", LAMBDA_HOST, "/2015-03-31/functions/", pairs, {}, b"")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/json"},
        {"x-amz-meta-note": "  much   white \t space  "},
        {"X-Amz-Meta-Empty": "", "Range": "bytes=0-99"},
        {"User-Agent": "not/signed", "Expect": "100-continue", "X-Amzn-Trace-Id": "Root=1"},
        {"x-amz-client-context": "e30=", "X-Amz-Log-Type": "Tail"},
    ],
)
def test_headers_are_trimmed_and_the_hop_by_hop_ones_left_out(headers: dict[str, str]) -> None:
    assert_same("s3", "PUT", S3_HOST, "/key", [], headers, b"x")
    assert_same(
        "lambda", "POST", LAMBDA_HOST, "/2015-03-31/functions/f/invocations", [], headers, b"x"
    )


@pytest.mark.parametrize("service", ["s3", "lambda"])
def test_an_unsigned_payload_is_said_to_be_one(service: str) -> None:
    signed = assert_same(service, "PUT", S3_HOST, "/key", [], {}, b"x" * 100, is_unsigned=True)
    assert signed["X-Amz-Content-SHA256"] == UNSIGNED_PAYLOAD


@pytest.mark.parametrize("host", ["127.0.0.1:4566", "localhost:9000", "s3.eu-west-1.amazonaws.com"])
def test_the_host_is_signed_with_its_port(host: str) -> None:
    assert_same("s3", "GET", host, "/bucket/key", [], {}, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/2015-03-31/functions/worker/invocations",
        "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A1%3Afunction%3Af/invocations",
        "/a//b/./c/../d/",
        "/",
        "/..",
        "/a/..",
        "//",
        "/sp%20ace/~tilde/%C3%A9",
        "/a/./",
    ],
)
def test_other_services_sign_the_path_normalised_and_encoded_again(path: str) -> None:
    assert_same("lambda", "POST", LAMBDA_HOST, path, [], {"X-Amz-Invocation-Type": "Event"}, b"{}")


def test_the_key_of_the_day_is_derived_once_and_anew_for_another_secret_or_day() -> None:
    signer = Signer("s3", "eu-west-1")

    def sign(credentials: Credentials, now_s: float) -> bytes:
        signer.sign("GET", S3_HOST, "/", "", {}, sigv4.EMPTY_SHA256, credentials, now_s)
        return signer._derived[2]

    first = sign(KEY, NOW_S)
    assert sign(KEY, NOW_S + 60) is first
    assert sign(TEMPORARY, NOW_S) != first
    assert sign(KEY, NOW_S) == first
    assert sign(KEY, NOW_S + 86400) != first


def test_credentials_show_nothing_of_themselves() -> None:
    shown = f"{TEMPORARY!r} {TEMPORARY}"
    for secret in (TEMPORARY.access_key, TEMPORARY.secret, TEMPORARY.session_token):
        assert secret not in shown


# Header values travel as Latin-1 without controls; names as tokens.
_VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)
_NAMES = st.from_regex(r"[xX]-[a-zA-Z]{1,10}", fullmatch=True)
_TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)


@settings(max_examples=200, deadline=None)
@given(
    service=st.sampled_from(["s3", "lambda", "sts"]),
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"]),
    key=_TEXTS,
    pairs=st.lists(st.tuples(_TEXTS, _TEXTS), max_size=5),
    # Names that differ in case only would be one header with two values, which we never send.
    headers=st.dictionaries(_NAMES, _VALUES, max_size=4).filter(
        lambda headers: len({name.lower() for name in headers}) == len(headers)
    ),
    body=st.binary(max_size=100),
    has_session=st.booleans(),
)
def test_any_request_is_signed_as_botocore_signs_it(
    service: str,
    method: str,
    key: str,
    pairs: Pairs,
    headers: dict[str, str],
    body: bytes,
    has_session: bool,
) -> None:
    path = "/" + sigv4.encode(key, b"/")
    assert_same(
        service,
        method,
        "host.example",
        path,
        pairs,
        headers,
        body,
        TEMPORARY if has_session else KEY,
    )
