"""Why does it not work? Ask AWS, one thing after the other, and say what mends it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any, Literal

from lambdafutures._wire.keys import session_prefix
from lambdafutures.deploy.bundle import Bundle
from lambdafutures.deploy.checks import Answer, Check, Judge, State, failed, ok, skipped
from lambdafutures.deploy.errors import AwsFault
from lambdafutures.deploy.policy import Place
from lambdafutures.deploy.session import Aws
from lambdafutures.deployment import Deployment, path_of

# The two ways an outcome comes home.
CompletionPath = Literal["response", "poll"]
COMPLETION_PATHS: tuple[CompletionPath, ...] = ("response", "poll")

RoundTrip = Callable[[CompletionPath], float]
"""Run one call by the given completion path and return how long it took, in seconds."""


class _Examination:
    """Carry what the checks of one run share.

    Args:
        aws: The way to AWS.
        name: The deployment's name.
        deployment: What is remembered, or None.
    """

    def __init__(self, aws: Aws, name: str, deployment: Deployment | None) -> None:
        self.aws = aws
        self.identity = self.ask("sts", "get_caller_identity")
        arn = "" if isinstance(self.identity, AwsFault) else str(self.identity["Arn"])
        self.judge = Judge(
            name,
            aws.region,
            aws.region_source,
            aws.profile,
            deployment,
            Place.of_caller(arn, aws.region),
        )

    def ask(self, service: str, method: str, **arguments: Any) -> Answer:
        try:
            answer: Answer = self.aws.call(service, method, **arguments)
        except AwsFault as fault:
            return fault
        return answer


def examine(
    aws: Aws,
    name: str,
    deployment: Deployment | None,
    *,
    python: str,
    bundle: Bundle,
    round_trip: RoundTrip | None = None,
) -> Iterator[Check]:
    """Yield each check as soon as it is made.

    Args:
        aws: The way to AWS.
        name: The deployment's name.
        deployment: What is remembered, or None.
        python: Minor version of the client's Python.
        bundle: This version's worker.
        round_trip: What runs a call through AWS; None if nothing here can.
    """
    run = _Examination(aws, name, deployment)
    judge = run.judge
    yield judge.judge_deployment(str(path_of(name)))
    region = judge.judge_region()
    yield region
    credentials = judge.judge_credentials(run.identity)
    yield credentials
    if deployment is None or State.FAILED in (region.state, credentials.state):
        first = "credentials" if deployment is not None else "a deployment"
        needed = "the deployment's region" if region.state is State.FAILED else first
        yield skipped("bucket, functions, round trips", f"cannot be looked at without {needed}")
        return
    is_sound = True
    for check in _examine_parts(run, deployment, python, bundle):
        is_sound = is_sound and check.state is State.OK
        yield check
    for path in COMPLETION_PATHS:
        yield _examine_round_trip(path, round_trip, is_sound, judge)


def _examine_parts(
    run: _Examination, deployment: Deployment, python: str, bundle: Bundle
) -> Iterator[Check]:
    bucket = run.judge.judge_bucket(
        deployment.bucket, run.ask("s3", "head_bucket", Bucket=deployment.bucket)
    )
    yield bucket
    if bucket.state is State.OK:
        yield from _examine_objects(run, deployment)
    else:
        yield skipped("s3:PutObject, GetObject, ListBucket, DeleteObject", "there is no bucket")
    yield run.judge.judge_account(run.ask("lambda", "get_account_settings"))
    for function in deployment.functions.values():
        yield from _examine_function(run, function, python, bundle)


def _examine_objects(run: _Examination, deployment: Deployment) -> Iterator[Check]:
    prefix = session_prefix(deployment.prefix, f"doctor-{uuid.uuid4().hex}")
    bucket_arn = run.judge.place.bucket_arn(deployment.bucket)
    place: dict[str, Any] = {"Bucket": deployment.bucket}
    probe = place | {"Key": f"{prefix}probe"}
    of_object = f"{bucket_arn}/{deployment.prefix}/*"
    written = run.ask("s3", "put_object", **probe, Body=b"")
    yield run.judge.judge_object_access("s3:PutObject", of_object, written)
    listed = run.ask("s3", "list_objects_v2", **place, Prefix=prefix)
    yield run.judge.judge_object_access("s3:ListBucket", bucket_arn, listed)
    if isinstance(written, AwsFault):
        yield skipped("s3:GetObject, s3:DeleteObject", "there is no object to try them on")
        return
    read = run.ask("s3", "get_object", **probe)
    if not isinstance(read, AwsFault):
        read["Body"].close()
    yield run.judge.judge_object_access("s3:GetObject", of_object, read)
    deleted = run.ask("s3", "delete_object", **probe)
    yield run.judge.judge_object_access("s3:DeleteObject", of_object, deleted)


def _examine_function(
    run: _Examination, function: str, python: str, bundle: Bundle
) -> Iterator[Check]:
    judge = run.judge
    configuration = run.ask("lambda", "get_function_configuration", FunctionName=function)
    existence = judge.judge_function(function, python, configuration)
    yield existence
    if isinstance(configuration, AwsFault):
        yield skipped(f"the rest of {function}", "see the function's own line")
        return
    yield judge.judge_code(function, bundle.code_sha256, configuration)
    tried = run.ask("lambda", "invoke", FunctionName=function, InvocationType="DryRun")
    if not isinstance(tried, AwsFault):
        tried["Payload"].close()  # empty, but it holds a connection
    yield judge.judge_invoke(function, tried)
    events = run.ask(
        "lambda", "get_function_event_invoke_config", FunctionName=function, Qualifier="$LATEST"
    )
    yield judge.judge_retries(function, events)
    reserved = run.ask("lambda", "get_function_concurrency", FunctionName=function)
    yield judge.judge_reserved(function, reserved)


def _examine_round_trip(
    path: CompletionPath, round_trip: RoundTrip | None, is_sound: bool, judge: Judge
) -> Check:
    check = f"round trip by {path}"
    if round_trip is None:
        return skipped(check, "there is no deployment to run a call on")
    if not is_sound:
        return skipped(check, "a check before it has not passed")
    try:
        took_s = round_trip(path)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        return failed(
            check,
            f"{type(error).__name__}: {_first_line(error)}",
            f"see the function's log: `aws logs tail /aws/lambda/{_any_function(judge)} --region "
            f"{judge.region} --since 10m`",
        )
    return ok(check, f"{took_s * 1e3:.0f} ms")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _any_function(judge: Judge) -> str:
    functions = judge.deployment.functions if judge.deployment else {}
    return next(iter(functions.values()), "")
