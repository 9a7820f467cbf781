"""What is missing or forbidden is named, with what mends it; and no secret is in any text."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lambdafutures._backends.hot_requests import SWITCH_VARIABLE
from lambdafutures._backends.s3_store import S3Store
from lambdafutures._worker.s3 import S3Client
from lambdafutures._worker.s3_http import S3Failed
from lambdafutures.exceptions import BackendError, BlobMissing
from tests.aws_servers import free_ports
from tests.stores.conftest import Run
from tests.stores.test_store_contract import listed
from tests.strict_aws import Identity, StrictAws

SOON_S = 10.0


@pytest.fixture(scope="module")
def aws() -> Iterator[StrictAws]:
    with StrictAws(buckets=["jobs"]) as fake:
        fake.put_object("jobs", "key", b"body")
        yield fake


@pytest.fixture
def use(
    aws: StrictAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> Callable[[Identity | None], None]:
    """Return a function that puts an identity into the environment, or none at all."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)

    def apply(identity: Identity | None) -> None:
        environ = aws.environ(identity or aws.admin)
        if identity is None:
            environ = {name: environ[name] for name in environ if "KEY" not in name}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)

    return apply


@pytest.fixture(params=["", "off"], ids=["hot", "botocore"])
def store(
    request: pytest.FixtureRequest, run: Run[Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., S3Store]]:
    """Make stores that go one of the client's two ways."""
    monkeypatch.setenv(SWITCH_VARIABLE, request.param)
    made: list[S3Store] = []

    def make(bucket: str = "jobs", **options: Any) -> S3Store:
        made.append(S3Store(bucket, **options))
        return made[-1]

    yield make
    for each in made:
        run(each.close())


def text_of(caught: pytest.ExceptionInfo[BaseException]) -> str:
    """Return all that a log could hold of the error, its causes included."""
    return "".join(traceback.format_exception(caught.value))


def operations(store: S3Store, run: Run[Any]) -> dict[str, Callable[[], Any]]:
    return {
        "put": lambda: run(store.put("key", b"body")),
        "get": lambda: run(store.get("key")),
        "head": lambda: run(store.head("key")),
        "list": lambda: run(listed(store, "k")),
        "delete": lambda: run(store.delete(["key"])),
    }


ALL = ["put", "get", "head", "list", "delete"]


@pytest.mark.parametrize("operation", ALL)
def test_without_credentials_it_says_how_to_log_in(
    use: Any, store: Any, run: Run[Any], operation: str
) -> None:
    use(None)
    before = time.monotonic()
    with pytest.raises(BackendError, match=r"no AWS credentials.*aws configure.*aws sso login"):
        operations(store(), run)[operation]()
    assert time.monotonic() - before < SOON_S


@pytest.mark.parametrize("operation", ["put", "get", "list", "delete"])
def test_expired_credentials_are_named_and_not_shown(
    aws: StrictAws, use: Any, store: Any, run: Run[Any], operation: str
) -> None:
    identity = aws.identity("expired", ["s3:*"], has_session=True, expires_at=time.time() - 1)
    use(identity)
    with pytest.raises(BackendError, match=r"have expired.*aws sso login") as caught:
        operations(store(), run)[operation]()
    said = text_of(caught)
    for secret in (identity.secret_key, identity.session_token, identity.access_key):
        assert secret not in said


def test_a_wrong_secret_is_named_and_not_shown(
    aws: StrictAws, use: Any, store: Any, run: Run[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(aws.admin)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not/the+secret")
    with pytest.raises(BackendError, match="does not accept the credentials") as caught:
        run(store().get("key"))
    assert "not/the+secret" not in text_of(caught)


@pytest.mark.parametrize(
    ("operation", "action", "resource"),
    [
        ("put", "s3:PutObject", "arn:aws:s3:::jobs/*"),
        ("get", "s3:GetObject", "arn:aws:s3:::jobs/*"),
        ("head", "s3:GetObject", "arn:aws:s3:::jobs/*"),
        ("list", "s3:ListBucket", "arn:aws:s3:::jobs"),
        ("delete", "s3:DeleteObject", "arn:aws:s3:::jobs/*"),
    ],
)
def test_a_missing_permission_comes_with_the_statement_that_grants_it(
    aws: StrictAws, use: Any, store: Any, run: Run[Any], operation: str, action: str, resource: str
) -> None:
    identity = aws.identity(f"lacks-{operation}")
    use(identity)
    with pytest.raises(BackendError, match=action) as caught:
        operations(store(), run)[operation]()
    text = str(caught.value)
    statement, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
    assert statement == {"Effect": "Allow", "Action": action, "Resource": resource}
    # And with that statement it works.
    identity.allow(statement, "s3:ListBucket")
    operations(store(), run)[operation]()
    aws.put_object("jobs", "key", b"body")


@pytest.mark.parametrize("operation", ["put", "get", "list", "delete"])
def test_a_bucket_that_is_gone_is_named(
    aws: StrictAws, use: Any, store: Any, run: Run[Any], operation: str
) -> None:
    use(aws.admin)
    with pytest.raises(
        BackendError, match=r"'no-such-bucket' does not exist.*lambdafutures deploy"
    ):
        operations(store("no-such-bucket"), run)[operation]()


@pytest.mark.parametrize("operation", ALL)
def test_a_wrong_region_is_named(
    aws: StrictAws, use: Any, store: Any, run: Run[Any], operation: str
) -> None:
    use(aws.admin)
    aws.create_bucket("elsewhere", "eu-west-1")
    with pytest.raises(BackendError, match="AWS_REGION"):
        operations(store("elsewhere", region="us-east-1"), run)[operation]()


def test_a_wrong_region_names_the_right_one(
    aws: StrictAws, use: Any, store: Any, run: Run[Any]
) -> None:
    use(aws.admin)
    with pytest.raises(BackendError, match=r"not in the region 'us-east-1' but in 'eu-west-1'"):
        run(store("elsewhere", region="us-east-1").get("key"))


def test_the_region_is_read_from_aws_region(
    aws: StrictAws, use: Any, store: Any, run: Run[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(aws.admin)
    aws.create_bucket("europe", "eu-west-1")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert run(store("europe").put("key", b"")) is True


def test_a_profile_that_does_not_exist_is_named(
    aws: StrictAws, use: Any, store: Any, run: Run[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(None)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(BackendError, match=r"nobody.*aws configure"):
        run(store().get("key"))


def test_a_server_that_is_not_there_is_an_error_once_patience_ends(
    aws: StrictAws, use: Any, store: Any, run: Run[Any]
) -> None:
    use(aws.admin)
    (port,) = free_ports(1)
    nobody = store(endpoint_url=f"http://127.0.0.1:{port}", patience_s=0.2)
    with pytest.raises(BackendError, match=r"GetObject of s3://jobs/key failed .* times"):
        run(nobody.get("key"))


def test_the_worker_takes_a_403_for_a_missing_key(aws: StrictAws) -> None:
    identity = aws.identity("blind", ["s3:GetObject", "s3:PutObject"], has_session=True)
    worker = S3Client("jobs", aws.environ(identity))
    with pytest.raises(BlobMissing, match=r"no-such-key.*403 AccessDenied"):
        worker.get("no-such-key")
    assert worker.get("key") == b"body"
    worker.close()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "not/the+secret"}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "AKIANOBODY"}, "InvalidAccessKeyId"),
        ({"AWS_ACCESS_KEY_ID": None}, "NoCredentials"),
        ({"AWS_REGION": "eu-west-1"}, "PermanentRedirect"),
    ],
)
def test_the_worker_says_what_s3_refused(
    aws: StrictAws, changes: dict[str, str | None], code: str
) -> None:
    environ = {
        name: value for name, value in {**aws.environ(), **changes}.items() if value is not None
    }
    worker = S3Client("jobs", environ)
    with pytest.raises(S3Failed, match=rf"GetObject of s3://jobs/key failed: .*{code}") as caught:
        worker.get("key")
    assert environ["AWS_SECRET_ACCESS_KEY"] not in text_of(caught)
    worker.close()


def test_the_worker_reads_its_credentials_anew_for_each_request(aws: StrictAws) -> None:
    identity = aws.identity("renewed", ["s3:*"], has_session=True)
    environ = aws.environ(identity)
    worker = S3Client("jobs", environ)
    assert worker.get("key") == b"body"
    identity.expire()
    with pytest.raises(S3Failed, match="ExpiredToken"):
        worker.get("key")
    environ.update(aws.admin.environ())
    del environ["AWS_SESSION_TOKEN"]
    assert worker.get("key") == b"body"
    worker.close()


@pytest.mark.parametrize(
    ("bucket", "region", "environ", "expected"),
    [
        ("jobs", "eu-west-1", {}, ("https", "jobs.s3.eu-west-1.amazonaws.com", "/")),
        ("a.b", "us-east-1", {}, ("https", "s3.us-east-1.amazonaws.com", "/a.b/")),
        ("jobs", "cn-north-1", {}, ("https", "jobs.s3.cn-north-1.amazonaws.com.cn", "/")),
        (
            "jobs",
            "eu-west-1",
            {"AWS_ENDPOINT_URL": "http://a:1", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9/s3/"},
            ("http", "127.0.0.1:9", "/s3/jobs/"),
        ),
        ("jobs", "", {"AWS_ENDPOINT_URL": "https://[::1]:9"}, ("https", "[::1]:9", "/jobs/")),
    ],
)
def test_the_worker_finds_its_endpoint(
    bucket: str, region: str, environ: dict[str, str], expected: tuple[str, str, str]
) -> None:
    from lambdafutures._worker.s3_http import S3Http, _endpoint

    assert _endpoint(bucket, region, environ) == expected
    S3Http(bucket, {**environ, "AWS_REGION": region})
