"""Every line that doctor can fail with, and the remedy beside it."""

from __future__ import annotations

import dataclasses

import pytest

from lambdafutures.deploy import remedies
from lambdafutures.deploy.checks import Judge, State
from lambdafutures.deploy.errors import AwsFault
from lambdafutures.deploy.options import running_python
from lambdafutures.deploy.policy import Place
from lambdafutures.deployment import Deployment, find_deployment, remember
from tests.deploy.conftest import REGION
from tests.deploy.test_end_to_end import FUNCTION, PY

DEPLOYMENT = Deployment("d", "eu-west-1", "b", {1769: "f"}, "3.12", 1000)
JUDGE = Judge("d", "eu-west-1", "AWS_REGION", "p", DEPLOYMENT, Place("aws", "eu-west-1", "1"))
DEPLOY = "run `lambdafutures deploy --name d --region eu-west-1`"


def fault(service, operation, code, message="said AWS"):
    return AwsFault(service, operation, code, message)


DENIED = fault("lambda", "Invoke", "AccessDeniedException")
NO_FUNCTION = fault("lambda", "GetFunctionConfiguration", "ResourceNotFoundException")
ACCOUNT = {"AccountLimit": {"ConcurrentExecutions": 10, "UnreservedConcurrentExecutions": 0}}
STATEMENT = '{"Effect": "Allow", "Action": "%s", "Resource": "%s"}'
OF_F = "arn:aws:lambda:eu-west-1:1:function:f"


@pytest.mark.parametrize(
    ("check", "finding", "remedy"),
    [
        (
            dataclasses.replace(JUDGE, region="us-east-1", region_source="--region").judge_region(),
            "us-east-1 (--region), but deployment 'd' is in eu-west-1",
            "leave out --region",
        ),
        (
            JUDGE.judge_credentials(fault("sts", "GetCallerIdentity", "NoCredentialsError")),
            "NoCredentialsError",
            "run `aws configure --profile p` or `aws sso login --profile p`, or set AWS_PROFILE",
        ),
        (
            JUDGE.judge_credentials(fault("sts", "GetCallerIdentity", "ExpiredToken")),
            "ExpiredToken",
            "aws sso login --profile p",
        ),
        (
            JUDGE.judge_credentials(fault("sts", "GetCallerIdentity", "InvalidClientTokenId")),
            "InvalidClientTokenId",
            "enabled for the account",
        ),
        (
            dataclasses.replace(JUDGE, deployment=None).judge_deployment("/x/d.json"),
            "none named 'd' is remembered at /x/d.json",
            DEPLOY,
        ),
        (
            JUDGE.judge_bucket("b", fault("s3", "HeadBucket", "404")),
            "there is no bucket b",
            DEPLOY,
        ),
        (
            JUDGE.judge_bucket("b", fault("s3", "HeadBucket", "403")),
            "s3:HeadBucket answered 403",
            STATEMENT % ("s3:ListBucket", "arn:aws:s3:::b"),
        ),
        (
            JUDGE.judge_bucket("b", {"BucketRegion": "us-east-1"}),
            "b is in us-east-1, not in eu-west-1",
            "--region us-east-1",
        ),
        (
            JUDGE.judge_object_access(
                "s3:PutObject", "arn:aws:s3:::b/*", fault("s3", "PutObject", "AccessDenied")
            ),
            "s3:PutObject answered AccessDenied",
            STATEMENT % ("s3:PutObject", "arn:aws:s3:::b/*"),
        ),
        (JUDGE.judge_account(ACCOUNT), "10 concurrent executions, 0 of", "service-quotas"),
        (
            JUDGE.judge_account(fault("lambda", "GetAccountSettings", "AccessDenied")),
            "GetAccountSettings",
            STATEMENT % ("lambda:GetAccountSettings", "*"),
        ),
        (
            JUDGE.judge_function("f", "3.12", NO_FUNCTION),
            "there is no such function in eu-west-1",
            DEPLOY,
        ),
        (
            JUDGE.judge_function("f", "3.13", {"Runtime": "python3.12"}),
            "it runs Python 3.12, this client 3.13",
            "run the client under Python 3.12, or",
        ),
        (
            JUDGE.judge_function("f", "3.12", {"Runtime": "python3.12", "State": "Failed"}),
            "it is Failed",
            DEPLOY,
        ),
        (JUDGE.judge_code("f", "x", {"CodeSha256": "y"}), "not the worker of this", DEPLOY),
        (
            JUDGE.judge_invoke("f", DENIED),
            "lambda:Invoke answered AccessDeniedException",
            STATEMENT % ("lambda:InvokeFunction", OF_F),
        ),
        (
            JUDGE.judge_retries("f", {"MaximumRetryAttempts": 2}),
            "2 times more",
            "put-function-event-invoke-config",
        ),
        (JUDGE.judge_retries("f", NO_FUNCTION), "not set", DEPLOY),
        (
            JUDGE.judge_reserved("f", {"ReservedConcurrentExecutions": 0}),
            "0: Lambda runs nothing",
            "aws lambda delete-function-concurrency --region eu-west-1 --function-name f",
        ),
    ],
)
def test_a_failing_line_names_what_mends_it(check, finding, remedy):
    assert check.state is State.FAILED
    assert finding in check.finding
    assert remedy in check.remedy
    assert "\n" not in check.finding + check.remedy


@pytest.mark.parametrize(
    "check",
    [
        JUDGE.judge_region(),
        JUDGE.judge_credentials({"Arn": "arn:aws:iam::1:user/u"}),
        JUDGE.judge_deployment("/x"),
        JUDGE.judge_bucket("b", {"BucketRegion": "eu-west-1"}),
        JUDGE.judge_bucket("b", {}),
        JUDGE.judge_object_access("s3:GetObject", "*", {}),
        JUDGE.judge_account({"AccountLimit": {"ConcurrentExecutions": 10}}),
        JUDGE.judge_function("f", "3.12", {"Runtime": "python3.12", "State": "Inactive"}),
        JUDGE.judge_code("f", "x", {"CodeSha256": "x"}),
        JUDGE.judge_invoke("f", {}),
        JUDGE.judge_retries("f", {"MaximumRetryAttempts": 0}),
        JUDGE.judge_reserved("f", {}),
        JUDGE.judge_reserved("f", {"ReservedConcurrentExecutions": 5}),
    ],
)
def test_what_is_sound_is_ok(check):
    assert check.state is State.OK
    assert check.remedy == ""


@pytest.mark.parametrize(
    "codes",
    [
        remedies.NO_CREDENTIALS,
        remedies.EXPIRED,
        remedies.INVALID,
        remedies.SKEWED,
        remedies.DENIED,
        remedies.MISSING,
        remedies.MOVED,
        remedies.UNREACHABLE,
        {"SomethingNew"},
    ],
)
def test_every_kind_of_fault_has_a_remedy(codes):
    for code in codes:
        text = remedies.remedy(
            fault("s3", "GetObject", code), name="d", region="eu-west-1", profile=None
        )
        assert text
        assert "None" not in text


def test_the_names_of_botocores_exceptions_exist():
    """A renamed one would silently fall to the remedy for the unknown."""
    import botocore.exceptions

    ours = remedies.NO_CREDENTIALS | remedies.UNREACHABLE | remedies.EXPIRED
    for name in ours - {"ValueError", "ExpiredToken", "ExpiredTokenException", "RequestExpired"}:
        assert hasattr(botocore.exceptions, name), name


def lines(out: str) -> dict[str, tuple[str, str, str]]:
    """State, finding and remedy by the check's name."""
    found: dict[str, tuple[str, str, str]] = {}
    last = ""
    for line in out.splitlines():
        if line.startswith("        -> "):
            state, finding, _ = found[last]
            found[last] = (state, finding, line.removeprefix("        -> "))
            continue
        state, rest = line[:8].strip(), line[8:]
        last, _, finding = rest.partition(": ")
        found[last] = (state, finding, "")
    return found


def states(out: str) -> set[str]:
    return {state for state, _, _ in lines(out).values()}


def test_all_green(cloud, lambdafutures, monkeypatch):
    """Nothing fails, round trips are timed, and nothing of the probe is left."""
    monkeypatch.setattr(
        "lambdafutures.cli.doctor.find_round_trip",
        lambda deployment: lambda path: {"response": 0.025, "poll": 0.08}[path],
    )
    lambdafutures("deploy", "--yes", "--memory", "512", "1769")
    keys = cloud.keys(cloud.bucket())
    status, out, err = lambdafutures("doctor")
    assert (status, err, states(out)) == (0, "", {"ok"})
    assert lines(out)["round trip by response"][1] == "25 ms"
    assert lines(out)["round trip by poll"][1] == "80 ms"
    assert cloud.keys(cloud.bucket()) == keys


def test_round_trips_that_cannot_be_made(cloud, lambdafutures, monkeypatch):
    lambdafutures("deploy", "--yes")
    monkeypatch.setattr("lambdafutures.cli.doctor.find_round_trip", lambda deployment: None)
    status, out, _ = lambdafutures("doctor")
    assert (status, states(out)) == (0, {"ok", "skipped"})

    def break_down(path):
        raise RuntimeError("lost")

    monkeypatch.setattr("lambdafutures.cli.doctor.find_round_trip", lambda d: break_down)
    status, out, _ = lambdafutures("doctor")
    assert status == 1
    state, finding, remedy = lines(out)["round trip by poll"]
    assert (state, finding) == ("failed", "RuntimeError: lost")
    assert f"aws logs tail /aws/lambda/{FUNCTION}" in remedy


def test_no_credentials(cloud, lambdafutures, monkeypatch):
    lambdafutures("deploy", "--yes")
    key = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "test")
    for name in key:
        monkeypatch.delenv(name)
    status, out, _ = lambdafutures("doctor")
    assert status == 1
    state, finding, remedy = lines(out)["credentials"]
    assert state == "failed"
    assert "NoCredentialsError" in finding
    assert "aws configure" in remedy
    for verb in ("status", "deploy", "destroy"):
        status, _, err = lambdafutures(verb)
        assert status == 1
        assert "aws configure" in err
        assert "Traceback" not in err
    for name, value in key.items():
        monkeypatch.setenv(name, value)


def test_nothing_deployed(cloud, lambdafutures):
    status, out, _ = lambdafutures("doctor")
    assert status == 1
    assert lines(out)["deployment"][0] == "failed"
    assert f"deploy --name lambdafutures --region {REGION}" in lines(out)["deployment"][2]
    assert lines(out)["credentials"][0] == "ok"


def test_wrong_region(cloud, lambdafutures):
    """Given by argument, or remembered wrongly: neither ends in a riddle."""
    lambdafutures("deploy", "--yes")
    status, out, _ = lambdafutures("doctor", "--region", "us-west-2")
    assert status == 1
    assert f"is in {REGION}" in lines(out)["region"][1]

    deployment = find_deployment()
    assert deployment is not None
    remember(dataclasses.replace(deployment, region="us-west-2"))
    status, out, _ = lambdafutures("doctor")
    assert status == 1
    state, finding, remedy = lines(out)[f"function {FUNCTION}"]
    assert (state, finding) == ("failed", "there is no such function in us-west-2")
    assert "lambdafutures deploy" in remedy
    remember(deployment)


def test_no_region_and_no_profile(no_aws, lambdafutures, monkeypatch):
    status, _, err = lambdafutures("doctor")
    assert status == 1
    assert "AWS_REGION" in err
    status, _, err = lambdafutures("status", "--profile", "nobody")
    assert status == 1
    assert "nobody" in err
    assert "aws configure list-profiles" in err


def test_no_bucket(cloud, lambdafutures):
    lambdafutures("deploy", "--yes")
    bucket = cloud.bucket()
    cloud.client("s3").delete_object(Bucket=bucket, Key=cloud.keys(bucket)[0])
    cloud.client("s3").delete_bucket(Bucket=bucket)
    status, out, _ = lambdafutures("doctor")
    assert status == 1
    state, finding, remedy = lines(out)["bucket"]
    assert (state, finding) == ("failed", f"there is no bucket {bucket}")
    command = remedy.removeprefix("run `lambdafutures ").removesuffix("`").split()
    assert lambdafutures(*command, "--yes")[0] == 0
    assert lambdafutures("doctor")[0] == 0, "the remedy mends it"


def test_no_function(cloud, lambdafutures):
    lambdafutures("deploy", "--yes")
    cloud.client("lambda").delete_function(FunctionName=FUNCTION)
    status, out, _ = lambdafutures("doctor")
    assert status == 1
    state, finding, remedy = lines(out)[f"function {FUNCTION}"]
    assert (state, finding) == ("failed", f"there is no such function in {REGION}")
    command = remedy.removeprefix("run `lambdafutures ").removesuffix("`").split()
    assert lambdafutures(*command, "--yes")[0] == 0
    assert lambdafutures("doctor")[0] == 0, "the remedy mends it"


def test_another_python(cloud, lambdafutures, monkeypatch):
    lambdafutures("deploy", "--yes")
    other = "3.14" if PY != "py314" else "3.13"
    monkeypatch.setattr("lambdafutures.deploy.options.running_python", lambda: other)
    status, out, _ = lambdafutures("doctor")
    assert status == 1
    _, finding, _ = lines(out)[f"function {FUNCTION}"]
    assert finding == f"it runs Python {running_python()}, this client {other}"


def test_other_code_retries_and_no_concurrency(cloud, lambdafutures, worker):
    lambdafutures("deploy", "--yes")
    client = cloud.client("lambda")
    client.put_function_event_invoke_config(
        FunctionName=FUNCTION, Qualifier="$LATEST", MaximumRetryAttempts=1
    )
    client.put_function_concurrency(FunctionName=FUNCTION, ReservedConcurrentExecutions=0)
    worker("two")
    status, out, _ = lambdafutures("doctor")
    assert status == 1
    found = lines(out)
    for name in ("code", "retries", "reserved concurrency"):
        assert found[f"{name} of {FUNCTION}"][0] == "failed"
    client.delete_function_concurrency(FunctionName=FUNCTION)
    lambdafutures("deploy", "--yes")
    status, out, _ = lambdafutures("doctor")
    assert status == 0, out


def test_aws_out_of_reach(cloud, lambdafutures, monkeypatch):
    lambdafutures("deploy", "--yes")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")  # nobody listens
    status, out, _ = lambdafutures("doctor")
    assert status == 1
    state, finding, remedy = lines(out)["credentials"]
    assert state == "failed"
    assert "EndpointConnectionError" in finding
    assert "AWS_ENDPOINT_URL" in remedy
