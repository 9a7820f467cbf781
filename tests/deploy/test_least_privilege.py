"""The client's policy is enough, each part of it is needed, each refusal names what mends it.

Against the strict fake, which checks signatures and permissions as AWS does.
"""

from __future__ import annotations

import contextlib
import json

import boto3
import pytest

from lambdafutures.deploy import doctor, session
from lambdafutures.deploy.checks import State
from lambdafutures.deploy.options import running_python
from lambdafutures.deploy.policy import Place, client_statements
from lambdafutures.deployment import Deployment
from tests.deploy.conftest import zip_of
from tests.strict_aws import StrictAws

WORKER = zip_of("one")
ACTIONS = (
    "s3:PutObject",
    "s3:GetObject",
    "s3:ListBucket",
    "s3:DeleteObject",
    "lambda:InvokeFunction",
    "lambda:GetFunctionConfiguration",
    "lambda:GetFunctionEventInvokeConfig",
    "lambda:GetFunctionConcurrency",
    "lambda:GetAccountSettings",
)


@pytest.fixture(scope="module")
def strict():
    with StrictAws(buckets=["jobs"]) as aws:
        handler = "lambdafutures._worker.supervisor.handler"
        aws.create_function("worker", WORKER.data, handler)
        with contextlib.closing(boto3.client("lambda", **aws.client_args())) as client:
            client.put_function_event_invoke_config(FunctionName="worker", MaximumRetryAttempts=0)
        yield aws


@pytest.fixture
def deployment(strict):
    return Deployment("d", strict.region, "jobs", {1769: "worker"}, running_python())


@pytest.fixture
def statements(strict, deployment):
    return client_statements(deployment, Place("aws", strict.region, strict.account_id))


@pytest.fixture
def examine(strict, deployment, no_aws, monkeypatch):
    def run(identity):
        for name, value in strict.environ(identity).items():
            monkeypatch.setenv(name, value)
        with session.connect(remembered=deployment, attempts=1) as aws:
            return list(
                doctor.examine(
                    aws,
                    "d",
                    deployment,
                    python=running_python(),
                    bundle=WORKER,
                    round_trip=lambda path: 0.01,
                )
            )

    return run


def test_the_clients_policy_is_enough(strict, statements, examine):
    identity = strict.identity("enough", statements)
    assert [check for check in examine(identity) if check.state is not State.OK] == []


@pytest.mark.parametrize("action", ACTIONS)
def test_each_refusal_names_the_statement_that_mends_it(strict, statements, examine, action):
    name = action.replace(":", "-")
    less = [
        statement | {"Action": [other for other in statement["Action"] if other != action]}
        for statement in statements
        if statement["Action"] != [action]
    ]
    identity = strict.identity(name, less)
    failures = [check for check in examine(identity) if check.state is State.FAILED]
    assert failures
    for check in failures:
        statement = json.loads(check.remedy.partition("policy statement: ")[2])
        assert statement["Action"] == action
        assert statement["Resource"] != ("*" if action != "lambda:GetAccountSettings" else "")
        identity.allow(statement)
    assert [check for check in examine(identity) if check.state is not State.OK] == []


def test_expired_and_unknown_credentials(strict, statements, examine, monkeypatch):
    identity = strict.identity("expired", statements)
    identity.expire()
    (failure,) = [check for check in examine(identity) if check.state is State.FAILED]
    assert failure.name == "credentials"
    assert "aws sso login" in failure.remedy
    secrets = {*strict.admin.environ().values(), *identity.environ().values()}
    assert not any(secret in failure.finding + failure.remedy for secret in secrets)
