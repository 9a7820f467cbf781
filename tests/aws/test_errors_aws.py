"""What is missing or forbidden ends every pending future, soon, with one error that says so.

`docs/aws-errors.md` has the table of these errors.
"""

from __future__ import annotations

import contextlib
import operator
import re
import sys
import time
from pathlib import Path

import pytest

from lambdafutures.exceptions import BackendError
from tests import calls
from tests.aws.conftest import BUCKET, FUNCTION, MODES, Aws

SECONDS_MAX = 15.0
MB = 1024 * 1024

both = pytest.mark.parametrize("mode", ["response", "poll"])
TABLE = (Path(__file__).parents[2] / "docs" / "aws-errors.md").read_text()


def check(aws: Aws, mode: str, *says: str, call=(calls.identity, 1)) -> str:
    """All futures end soon, with one and the same error; return its text."""
    began = time.monotonic()
    with aws.executor(4, mode) as ex:
        futures = submitted(ex, call)
        errors = {str(future.exception(SECONDS_MAX)) for future in futures}
        assert all(isinstance(future.exception(), BackendError) for future in futures)
    assert time.monotonic() - began < SECONDS_MAX
    (text,) = errors
    for part in says:
        assert part in text
    for secret in (aws.client.secret_key, aws.client.session_token, aws.role.secret_key):
        assert secret not in text
    return text


def submitted(ex, call) -> list:
    """Submit calls, as many as are taken before it is known that none can run."""
    futures: list = []
    with contextlib.suppress(BackendError):
        futures.extend(ex.submit(*call) for _ in range(20))
    assert futures
    return futures


@both
def test_no_credentials(aws: Aws, mode):
    aws.use(None)
    check(aws, mode, "no AWS credentials", "aws configure", "aws sso login")


@both
def test_an_expired_token(aws: Aws, mode):
    aws.client.expire()
    check(aws, mode, "expired", "aws sso login")


@both
def test_an_expired_token_in_the_middle(aws: Aws, mode, tmp_path):
    with aws.executor(1, mode) as ex:
        assert ex.submit(calls.identity, 1).result() == 1
        aws.client.expire()
        error = ex.submit(calls.identity, 1).exception(SECONDS_MAX)
        assert isinstance(error, BackendError)
        assert "aws sso login" in str(error)


@both
def test_another_region(aws: Aws, mode):
    aws.remember(region="eu-west-1")
    text = check(aws, mode, "eu-west-1", "AWS_REGION")
    # Function and bucket are both elsewhere; when polling, either may be found out first.
    assert FUNCTION in text or (mode == "poll" and BUCKET in text)


@both
def test_a_deleted_function(aws: Aws, mode):
    aws.fake.delete_function(FUNCTION)
    check(aws, mode, FUNCTION, "does not exist", "lambdafutures deploy")


@both
def test_a_function_that_holds_something_else(aws: Aws, mode, tmp_path):
    aws.fake.delete_function(FUNCTION)
    (tmp_path / "handler.py").write_text("def handler(event, context):\n    return {'hello': 1}\n")
    aws.fake.create_function(FUNCTION, tmp_path, "handler.handler")
    check(aws, mode, "not a message of lambdafutures")


@both
def test_a_function_that_cannot_be_imported(aws: Aws, mode, tmp_path):
    aws.fake.delete_function(FUNCTION)
    (tmp_path / "handler.py").write_text("import missing\n")
    aws.fake.create_function(FUNCTION, tmp_path, "handler.handler", max_retries=0)
    check(aws, mode, "does not hold our worker", "lambdafutures deploy")


@both
def test_the_client_may_not_invoke(aws: Aws, mode):
    aws.client.deny("lambda:InvokeFunction *")
    check(aws, mode, "lambda:InvokeFunction", '"Effect": "Allow"')


def test_a_deleted_bucket_in_poll_mode(aws: Aws):
    aws.fake.delete_bucket(BUCKET)
    check(aws, "poll", BUCKET, "does not exist", "lambdafutures deploy")


@both
def test_a_deleted_bucket_with_large_arguments(aws: Aws, mode):
    aws.fake.delete_bucket(BUCKET)
    check(aws, mode, BUCKET, "does not exist", "lambdafutures deploy", call=(len, bytes(5 * MB)))


@both
def test_the_client_may_not_put(aws: Aws, mode):
    aws.client.deny("s3:PutObject *")
    check(aws, mode, "the credentials lack s3:PutObject", call=(len, bytes(5 * MB)))


def test_the_client_may_not_get(aws: Aws):
    aws.client.deny("s3:GetObject *")
    check(aws, "poll", "the credentials lack s3:GetObject")


def test_the_worker_may_not_put_in_poll_mode(aws: Aws):
    aws.role.deny("s3:PutObject *")
    check(aws, "poll", "the function's role lacks s3:PutObject", "lambdafutures deploy")


def test_the_worker_may_not_put_large_results(aws: Aws):
    aws.role.deny("s3:PutObject *")
    check(
        aws,
        "response",
        "the function's role lacks s3:PutObject",
        call=(operator.mul, b"x", 5 * MB),
    )


@both
def test_the_worker_may_not_get(aws: Aws, mode):
    aws.role.deny("s3:GetObject *")
    with aws.executor(1, mode) as ex:
        error = ex.submit(len, bytes(5 * MB)).exception(SECONDS_MAX)
        assert "s3:GetObject" in str(error) or "AccessDenied" in str(error)
        assert ex.submit(calls.identity, 1).result() == 1


def test_a_client_that_may_not_delete_still_shuts_down(aws: Aws, caplog):
    aws.client.deny("s3:DeleteObject *")
    with aws.executor(1, "poll") as ex:
        assert ex.submit(calls.identity, 1).result() == 1
    assert "s3:DeleteObject" in caplog.text


def test_other_python_is_refused(aws: Aws):
    other = "/opt/python3.13/bin/python3.13"
    if sys.version_info[:2] == (3, 13) or not Path(other).exists():
        pytest.skip("no other Python")
    for mode in MODES:
        aws.deploy(python=other)
        with aws.executor(2, mode) as ex:
            futures = [ex.submit(calls.identity, x) for x in range(3)]
            for future in futures:
                error = future.exception(15)
                assert isinstance(error, BackendError)
                assert "Python 3.13" in str(error)
                assert "lambdafutures deploy" in str(error)


@both
def test_another_version_of_the_format_is_refused(aws: Aws, mode, monkeypatch):
    from lambdafutures._wire import invocation

    monkeypatch.setattr(invocation, "FORMAT_VERSION", 99)
    with aws.executor(2, mode) as ex:
        for future in [ex.submit(calls.identity, x) for x in range(3)]:
            error = future.exception(15)
            assert isinstance(error, BackendError)
            assert "lambdafutures deploy" in str(error)


def test_the_table_names_each_test():
    named = set(re.findall(r"`(test_\w+)`", TABLE))
    here = {name for name in globals() if name.startswith("test_")} - {
        "test_the_table_names_each_test"
    }
    assert here <= named
