"""The short way of hot requests: when it is taken, and that its errors are botocore's."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore.exceptions import ClientError, ConnectionClosedError

from lambdafutures._backends import hot_requests
from lambdafutures._backends.hot_requests import SWITCH_VARIABLE
from lambdafutures._backends.lambda_client import LambdaClient
from lambdafutures._backends.s3_requests import S3Requests
from lambdafutures._backends.s3_store import S3Store
from lambdafutures.exceptions import BackendError
from tests.stores.conftest import Run
from tests.stores.scripted_server import CLOSE, Script, ScriptedServer, answer
from tests.strict_aws import StrictAws

ROUTES = ("", "off")
DATE = "Sun, 22 Nov 2026 12:00:00 GMT"


@pytest.fixture(scope="module")
def aws() -> Iterator[StrictAws]:
    with StrictAws(buckets=["jobs"]) as fake:
        fake.put_object("jobs", "key", b"body")
        yield fake


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", SWITCH_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    settings = {
        "HOME": str(tmp_path),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "example-secret",
        "AWS_REGION": "eu-west-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


# Shared where nothing is said of sessions: each reads 150 ms of JSON.
SESSION = AioSession()


async def opened(requests: S3Requests) -> S3Requests:
    await requests._open()
    return requests


# -------------------------------------------------------------------- where requests go


@pytest.mark.parametrize(
    ("bucket", "environ", "host", "prefix"),
    [
        ("jobs", {}, "jobs.s3.eu-west-1.amazonaws.com", "/"),
        ("a.b", {}, "s3.eu-west-1.amazonaws.com", "/a.b/"),
        ("jobs", {"AWS_REGION": "cn-north-1"}, "jobs.s3.cn-north-1.amazonaws.com.cn", "/"),
        (
            "jobs",
            {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_REGION": "us-east-1"},
            "jobs.s3-fips.us-east-1.amazonaws.com",
            "/",
        ),
        (
            "jobs",
            {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
            "jobs.s3.dualstack.eu-west-1.amazonaws.com",
            "/",
        ),
        ("jobs", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "127.0.0.1:9", "/jobs/"),
        ("jobs", {"AWS_ENDPOINT_URL_S3": "https://[::1]:9/s3"}, "[::1]:9", "/s3/jobs/"),
        (
            "arn:aws:s3:eu-west-1:123456789012:accesspoint/point",
            {},
            "point-123456789012.s3-accesspoint.eu-west-1.amazonaws.com",
            "/",
        ),
    ],
)
def test_they_go_where_botocore_would_send_them(
    run: Run[Any],
    monkeypatch: pytest.MonkeyPatch,
    bucket: str,
    environ: dict[str, str],
    host: str,
    prefix: str,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    requests = run(opened(S3Requests(bucket)))
    assert requests._hot is not None
    assert (requests._hot._requests._host, requests._hot._prefix) == (host, prefix)
    run(requests.close())


def test_invokes_go_where_botocore_would_send_them(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = "arn:aws:lambda:eu-west-1:1:function:f"

    async def main() -> None:
        client = LambdaClient("eu-west-1", 30.0, 2)
        await client._open()
        assert client._hot is not None
        assert client._hot._host == "lambda.eu-west-1.amazonaws.com"
        await client.close()

    async def paths(route: str) -> list[bytes]:
        async with against([answer(202)], monkeypatch, route) as server:
            client = LambdaClient("eu-west-1", 30.0, 2)
            for function in ("lf", "l_f-2:live", arn):
                await client.invoke(function, b"{}", is_event=True)
            await client.close()
            return [head.split(b" ")[1] for _, head in server.seen]

    run(main())
    ours, theirs = run(paths("")), run(paths("off"))
    assert ours[0] == b"/2015-03-31/functions/lf/invocations"
    assert ours == theirs


# -------------------------------------------------------------------- what is unusual


def add_header(request: Any, **_: Any) -> None:
    request.headers["X-Of-The-User"] = "1"


def with_a_handler() -> AioSession:
    session = AioSession()
    session.register("request-created.s3", add_header)
    return session


class OtherHttpSession(AIOHTTPSession):
    """An HTTP session that may do anything."""


def with_another_http_session() -> AioSession:
    session = AioSession()
    session.set_default_client_config(AioConfig(http_session_cls=OtherHttpSession))
    return session


@pytest.mark.parametrize(
    ("environ", "make_session", "bucket"),
    [
        ({SWITCH_VARIABLE: "off"}, AioSession, "jobs"),
        ({SWITCH_VARIABLE: "0"}, AioSession, "jobs"),
        ({"HTTPS_PROXY": "http://127.0.0.1:9"}, AioSession, "jobs"),
        ({"https_proxy": "http://127.0.0.1:9"}, AioSession, "jobs"),
        # Lambda counts nested invocations by a header that botocore passes on.
        (
            {"AWS_LAMBDA_FUNCTION_NAME": "lf", "_X_AMZN_TRACE_ID": "Root=1-a"},
            AioSession,
            "jobs",
        ),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, AioSession, "jobs"),
        ({}, with_a_handler, "jobs"),
        ({}, with_another_http_session, "jobs"),
        # Signed for many regions at once.
        ({}, AioSession, "arn:aws:s3::123456789012:accesspoint/abc.mrap"),
    ],
)
def test_what_is_unusual_stays_with_botocore(
    run: Run[Any],
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    make_session: Callable[[], AioSession],
    bucket: str,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    requests = run(opened(S3Requests(bucket, session=make_session())))
    assert requests._hot is None
    run(requests.close())


def test_a_proxy_for_others_is_nothing_unusual(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "amazonaws.com")
    requests = run(opened(S3Requests("jobs")))
    assert requests._hot is not None
    run(requests.close())


def test_a_line_break_in_the_credentials_writes_no_header(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> list[tuple[int, bytes]]:
        async with ScriptedServer([answer()]) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            monkeypatch.setenv("AWS_SESSION_TOKEN", "a\r\nX-Injected: 1")
            store = S3Store("jobs")
            with pytest.raises((ValueError, BackendError), match="line break"):
                await store.get("key")
            await store.close()
            return server.seen

    assert run(main()) == []


# -------------------------------------------------------------------- errors


def xml(code: str, extra: str = "") -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>Said &lt;so'
        f"&gt;.</Message>{extra}<RequestId>r</RequestId></Error>"
    ).encode()


def chunked(status: int, body: bytes, headers: str = "") -> bytes:
    return b"HTTP/1.1 %d Said\r\n%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (
        status,
        headers.encode(),
        len(body),
        body,
    )


REFUSALS = [
    answer(403, xml("AccessDenied"), "Content-Type: application/xml\r\n"),
    answer(403, xml("ExpiredToken")),
    chunked(404, xml("NoSuchKey", "<Key>k</Key>"), "x-amz-request-id: 1\r\n"),
    answer(404, xml("NoSuchBucket", "<BucketName>b</BucketName>")),
    answer(404),
    answer(412, xml("PreconditionFailed", "<Condition>If-Match</Condition>")),
    answer(416, xml("InvalidRange")),
    answer(429, xml("TooManyRequests"), "Retry-After: 7\r\n"),
    answer(301, xml("PermanentRedirect", "<Endpoint>e</Endpoint>"), "x-amz-bucket-region: r\r\n"),
    answer(400, xml("AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>")),
    answer(500),
    answer(500, b"<html><body>oops</body></html>"),
    answer(500, xml("InternalError")),
    answer(503, xml("SlowDown"), "Retry-After: 3\r\n"),
    answer(503, b"not xml at all"),
    answer(400, b"<Error><Code>Cut"),
]

INVOKE_REFUSALS = [
    answer(
        429,
        json.dumps(
            {
                "Reason": "ConcurrentInvocationLimitExceeded",
                "Type": "User",
                "message": "Rate Exceeded.",
                "retryAfterSeconds": "2",
            }
        ).encode(),
        "x-amzn-ErrorType: TooManyRequestsException\r\nRetry-After: 2\r\n",
    ),
    answer(
        404,
        b'{"Message": "Function not found: lf", "Type": "User"}',
        "x-amzn-ErrorType: ResourceNotFoundException:http://internal.amazon.com/\r\n",
    ),
    answer(403, b'{"message": "no"}', "x-amzn-ErrorType: AccessDeniedException\r\n"),
    answer(403, b'{"__type": "a.b#ExpiredTokenException", "message": "expired"}'),
    answer(403, b"{}"),
    answer(502, b'{"Message": "zip"}', "x-amzn-ErrorType: InvalidZipFileException\r\n"),
    answer(500, b'{"Message": "x"}', "x-amzn-ErrorType: ServiceException\r\n"),
    answer(503),
    answer(504, b"<html>gateway</html>"),
    answer(400, b"[not json"),
]


@asynccontextmanager
async def against(
    script: list[Script], monkeypatch: pytest.MonkeyPatch, route: str
) -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer(script) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv(SWITCH_VARIABLE, route)
        yield server


async def s3_error(raw: bytes, monkeypatch: pytest.MonkeyPatch, route: str) -> Exception:
    async with against([raw], monkeypatch, route):
        requests = await opened(S3Requests("jobs", session=SESSION))
        assert (requests._hot is None) == (route == "off")
        try:
            await requests._send(
                requests._client, "GetObject", {"Key": "key", "Range": "bytes=0-9"}
            )
        except Exception as error:
            return error
        finally:
            await requests.close()
    raise AssertionError("no error")


async def invoke_error(raw: bytes, monkeypatch: pytest.MonkeyPatch, route: str) -> Exception:
    async with against([raw], monkeypatch, route):
        client = LambdaClient("eu-west-1", 30.0, 2)
        try:
            await client.invoke("lf", b"{}", is_event=False)
        except Exception as error:
            assert (client._hot is None) == (route == "off")
            return error
        finally:
            await client.close()
    raise AssertionError("no error")


def told(error: Exception) -> tuple[object, ...]:
    """Return what can be told of an error, but for when and where it happened."""
    if not isinstance(error, ClientError):
        return type(error).__name__, str(error)
    response = dict(error.response)
    metadata = dict(response.pop("ResponseMetadata"))
    for name in ("RetryAttempts", "MaxAttemptsReached"):  # of botocore's retries, which are off
        metadata.pop(name, None)
    text = str(error).replace(" (reached max retries: 0)", "")
    return type(error).__name__, error.operation_name, text, response, metadata


@pytest.mark.parametrize("raw", REFUSALS)
def test_what_s3_refuses_is_told_as_botocore_tells_it(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch, raw: bytes
) -> None:
    ours, theirs = (told(run(s3_error(raw, monkeypatch, route))) for route in ROUTES)
    assert ours == theirs


@pytest.mark.parametrize("raw", INVOKE_REFUSALS)
def test_what_lambda_refuses_is_told_as_botocore_tells_it(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch, raw: bytes
) -> None:
    ours, theirs = (told(run(invoke_error(raw, monkeypatch, route))) for route in ROUTES)
    assert ours == theirs


@pytest.mark.parametrize("script", [CLOSE, b"HTTP/1.1 abc\r\n\r\n", b"not http\r\n\r\n"])
def test_a_broken_connection_is_told_as_botocore_tells_it(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch, script: Any
) -> None:
    ours = run(invoke_error(script, monkeypatch, ""))
    assert isinstance(ours, ConnectionClosedError)
    assert "http://127.0.0.1" in str(ours)
    if script == CLOSE:
        assert type(run(invoke_error(script, monkeypatch, "off"))) is type(ours)


def test_a_redirect_to_another_region_is_not_followed(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> int:
        async with ScriptedServer([answer(body=b"of another region")]) as other:
            location = f"Location: {other.url}/jobs/key\r\n"
            moved = answer(307, xml("TemporaryRedirect"), location)
            async with against([moved], monkeypatch, ""):
                store = S3Store("jobs", "us-east-1")
                with pytest.raises(BackendError, match="not in the region 'us-east-1'"):
                    await store.get("key")
                await store.close()
            return len(other.seen)

    assert run(main()) == 0


@pytest.mark.parametrize("route", ROUTES)
def test_an_answer_that_does_not_come_is_given_up(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    from botocore.exceptions import ReadTimeoutError

    async def main() -> None:
        async with against(["mute"], monkeypatch, route):
            client = LambdaClient("eu-west-1", 0.1, 2)
            with pytest.raises(ReadTimeoutError):
                await client.invoke("lf", b"{}", is_event=False)
            await client.close()

    run(main())


@pytest.mark.parametrize("route", ROUTES)
def test_a_functions_own_failure_is_told_from_an_answer(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    async def main() -> None:
        failed = answer(200, b"{}", "X-Amz-Function-Error: Unhandled\r\n")
        dated = f"Date: {DATE}\r\n"
        script: list[Script] = [
            failed,
            answer(200, b"[1]", dated),
            answer(202, b"", dated),
            answer(202),
        ]
        async with against(script, monkeypatch, route) as server:
            client = LambdaClient("eu-west-1", 30.0, 2)
            assert await client.invoke("lf", b"{}", is_event=False) == ("Unhandled", b"{}", None)
            assert await client.invoke("lf", b"{}", is_event=False) == ("", b"[1]", DATE)
            assert await client.invoke("lf", b"{}", is_event=True) == ("", b"", DATE)
            large = b" " * (hot_requests.BODY_BYTES + 1)
            assert await client.invoke("lf", large, is_event=True) == ("", b"", None)
            await client.close()
            kinds = [b"Event" in head[: head.index(b"\r\n\r\n")] for _, head in server.seen]
            assert kinds == [False, False, True, True]
            assert server.seen[3][1].endswith(b"\r\n\r\n" + large)

    run(main())


# -------------------------------------------------------------------- credentials


@pytest.mark.parametrize("route", ROUTES)
def test_credentials_are_renewed_while_requests_go_on(
    aws: StrictAws,
    run: Run[Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    route: str,
) -> None:
    """A login that lasts for minutes, as single sign-on and roles have it."""
    given = tmp_path / "credentials.json"

    def give(identity: Any, lasts_s: float) -> None:
        expiration = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + lasts_s))
        keys = {
            "Version": 1,
            "AccessKeyId": identity.access_key,
            "SecretAccessKey": identity.secret_key,
            "SessionToken": identity.session_token,
            "Expiration": expiration,
        }
        given.write_text(json.dumps(keys))

    config = tmp_path / "config"
    command = f"{sys.executable} -S -c \"print(open('{given}').read())\""
    config.write_text(f"[default]\ncredential_process = {command}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    monkeypatch.setenv("AWS_REGION", aws.region)
    monkeypatch.setenv(SWITCH_VARIABLE, route)
    name = "hot" if not route else "botocore"
    first = aws.identity(f"first-{name}", ["s3:*"], has_session=True)
    second = aws.identity(f"second-{name}", ["s3:*"], has_session=True)

    async def main() -> None:
        store = S3Store("jobs")
        give(first, 60)  # botocore renews what expires within ten minutes
        assert await store.get("key") == b"body"
        first.expire()
        give(second, 3600)
        assert await store.get("key") == b"body"
        given.unlink()  # it is not asked for again
        assert await store.get("key") == b"body"
        assert (store._requests._hot is None) == (route == "off")
        await store.close()

    run(main())


@pytest.mark.parametrize("route", ROUTES)
def test_credentials_that_cannot_be_renewed_are_named(
    aws: StrictAws, run: Run[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, route: str
) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\ncredential_process = false\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    monkeypatch.setenv(SWITCH_VARIABLE, route)

    async def main() -> None:
        store = S3Store("jobs")
        with pytest.raises(BackendError, match=r"could not be refreshed.*aws sso login"):
            await store.get("key")
        await store.close()

    run(main())
