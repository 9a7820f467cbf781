"""Deploy, look, mend and destroy against an AWS over HTTP."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import sys

import pytest

from lambdafutures.deploy import apply, bundle, session
from lambdafutures.deploy.errors import AwsFault, DeployError
from lambdafutures.deploy.options import running_python
from lambdafutures.deployment import find_deployment, path_of
from tests.deploy.conftest import REGION, draw, found

PY = f"py{sys.version_info.major}{sys.version_info.minor}"
FUNCTION = f"lambdafutures-{PY}-1769"


def retries_of(cloud, function):
    answer = cloud.client("lambda").get_function_event_invoke_config(
        FunctionName=function, Qualifier="$LATEST"
    )
    return answer["MaximumRetryAttempts"]


def sha256_of(cloud, function):
    answer = cloud.client("lambda").get_function_configuration(FunctionName=function)
    return base64.b64decode(answer["CodeSha256"]).hex()


def test_deploy_makes_all_and_destroy_leaves_nothing(cloud, lambdafutures):
    """From nothing to a remembered deployment and back, in the region that AWS_REGION names."""
    before = cloud.inventory()
    status, _, err = lambdafutures("deploy", "--yes", "--memory", "1769", "3008")
    assert (status, err) == (0, "")
    made = {kind: there - before[kind] for kind, there in cloud.inventory().items()}
    second = f"lambdafutures-{PY}-3008"
    assert made["stacks"] == {"lambdafutures"}
    assert made["functions"] == {FUNCTION, second}
    assert made["log groups"] == {f"/aws/lambda/{FUNCTION}", f"/aws/lambda/{second}"}
    assert len(made["roles"]) == len(made["buckets"]) == 1

    deployment = find_deployment()
    assert deployment is not None
    assert deployment.region == REGION
    assert {deployment.bucket} == made["buckets"]
    assert deployment.functions == {1769: FUNCTION, 3008: second}
    assert deployment.python == running_python()
    assert deployment.concurrency == 1000
    assert retries_of(cloud, second) == 0

    status, _, err = lambdafutures("destroy", "--yes")
    assert (status, err) == (0, "")
    assert cloud.inventory() == before
    assert find_deployment() is None


def test_deploying_twice_changes_nothing(cloud, lambdafutures):
    lambdafutures("deploy", "--yes")
    path_of("lambdafutures").unlink()
    status, out, _ = lambdafutures("deploy")  # asks nothing either
    assert status == 0
    assert "nothing to change" in out
    assert find_deployment() is not None, "a deployment that was forgotten is remembered again"


def test_changed_code_updates_in_place(cloud, lambdafutures, worker):
    """The function stays, its code changes, options stay as they were, the old zip goes."""
    lambdafutures("deploy", "--yes", "--memory", "512", "--timeout", "60")
    name = f"lambdafutures-{PY}-512"
    bucket = cloud.bucket()
    new = worker("two")
    status, _, _ = lambdafutures("deploy", "--yes")
    assert status == 0
    assert sha256_of(cloud, name) == new.sha256
    answer = cloud.client("lambda").get_function_configuration(FunctionName=name)
    assert (answer["MemorySize"], answer["Timeout"]) == (512, 60)
    assert cloud.bucket() == bucket
    assert cloud.keys(bucket) == [f"lambdafutures/worker/{new.sha256}.zip"]
    assert retries_of(cloud, name) == 0


def test_another_size_replaces_functions(cloud, lambdafutures):
    lambdafutures("deploy", "--yes", "--memory", "512")
    status, _, _ = lambdafutures("deploy", "--yes", "--memory", "1024", "2048")
    assert status == 0
    assert cloud.inventory()["functions"] == {
        f"lambdafutures-{PY}-1024",
        f"lambdafutures-{PY}-2048",
    }


def test_dry_run_changes_nothing(cloud, lambdafutures):
    before = cloud.inventory()
    status, out, _ = lambdafutures("deploy", "--dry-run")
    assert status == 0
    assert "1. create stack lambdafutures with its bucket" in out
    assert cloud.inventory() == before


def test_without_a_terminal_yes_is_needed(cloud, lambdafutures):
    before = cloud.inventory()
    status, _, err = lambdafutures("deploy")
    assert status == 1
    assert "--yes" in err
    assert cloud.inventory() == before


def test_what_was_changed_by_hand_is_mended(cloud, lambdafutures, worker):
    """Retries switched on, code replaced, a function deleted: deploy sets it right again."""
    lambdafutures("deploy", "--yes", "--memory", "512", "1024")
    bucket, client = cloud.bucket(), cloud.client("lambda")
    one, two = (f"lambdafutures-{PY}-{size}" for size in (512, 1024))
    client.put_function_event_invoke_config(
        FunctionName=one, Qualifier="$LATEST", MaximumRetryAttempts=2
    )
    status, out, _ = lambdafutures("deploy", "--yes")
    assert status == 0
    assert f"changed by hand: {one}" in out
    assert retries_of(cloud, one) == 0

    cloud.client("s3").put_object(Bucket=bucket, Key="x.zip", Body=worker("x").data)
    current = worker("one")
    client.update_function_code(FunctionName=one, S3Bucket=bucket, S3Key="x.zip")
    lambdafutures("deploy", "--yes")
    assert sha256_of(cloud, one) == current.sha256

    client.delete_function(FunctionName=two)
    status, out, _ = lambdafutures("deploy", "--yes")
    assert status == 0
    assert sha256_of(cloud, two) == current.sha256
    assert "nothing to change" in lambdafutures("deploy")[1]


def test_a_lost_bucket_is_made_anew(cloud, lambdafutures):
    lambdafutures("deploy", "--yes")
    cloud.client("s3").delete_object(Bucket=cloud.bucket(), Key=cloud.keys(cloud.bucket())[0])
    cloud.client("s3").delete_bucket(Bucket=cloud.bucket())
    status, out, _ = lambdafutures("deploy", "--yes")
    assert status == 0
    assert "its bucket is gone" in out
    assert cloud.keys(cloud.bucket())


def broken(blueprint):
    """The blueprint with a resource that no CloudFormation can make, before all others."""
    resources = {"AAA": {"Type": "AWS::Nope::Nope", "Properties": {}}}
    template = blueprint.template | {"Resources": resources | blueprint.template["Resources"]}
    return dataclasses.replace(blueprint, template=template)


def test_a_failed_creation_leaves_nothing(cloud, aws, worker):
    """The stack's second step fails: bucket, zip and stack are taken away again."""
    before = cloud.inventory()
    wanted = broken(draw(worker("one")))
    said = []
    with pytest.raises(DeployError, match=r"AAA: .*AWS::Nope::Nope"):
        apply.deploy(aws, wanted, found(aws, wanted), said.append)
    assert cloud.inventory() == before
    assert find_deployment() is None


class DamagedBundle(bundle.Bundle):
    """A zip that is not what its name says."""

    sha256 = "0" * 64


def test_a_failed_upload_leaves_nothing(cloud, aws):
    before = cloud.inventory()
    wanted = draw(DamagedBundle(b"zip", ()))
    with pytest.raises(DeployError, match="SHA-256"):
        apply.deploy(aws, wanted, found(aws, wanted), lambda text: None)
    assert cloud.inventory() == before


def test_what_cannot_be_undone_is_told(cloud, worker, monkeypatch, lambdafutures):
    """With S3 out of reach the upload fails, and so does the emptying of the bucket."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")  # discard: nobody listens
    said = []
    wanted = draw(worker("one"))
    with session.connect(attempts=1) as aws, pytest.raises(AwsFault, match="PutObject"):
        apply.deploy(aws, wanted, found(aws, wanted), said.append)
    assert "run `lambdafutures destroy --name lambdafutures`" in said[-1]
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    assert lambdafutures("destroy", "--yes")[0] == 0


def test_a_failed_update_leaves_the_old(cloud, aws, worker, lambdafutures):
    """The stack is rolled back and the new zip taken away; the next deploy succeeds."""
    lambdafutures("deploy", "--yes")
    old = worker("one")
    before, keys = cloud.inventory(), cloud.keys(cloud.bucket())
    wanted = broken(draw(worker("two")))
    with pytest.raises(DeployError, match="UPDATE_ROLLBACK_COMPLETE"):
        apply.deploy(aws, wanted, found(aws, wanted), lambda text: None)
    assert cloud.inventory() == before
    assert cloud.keys(cloud.bucket()) == keys
    assert sha256_of(cloud, FUNCTION) == old.sha256
    status, _, _ = lambdafutures("deploy", "--yes")
    assert status == 0
    assert sha256_of(cloud, FUNCTION) == worker("two").sha256


def test_names_that_are_taken_are_refused(cloud, lambdafutures):
    """A function, a log group or a stack of somebody else's stays as it is."""
    client = cloud.client("lambda")
    client.create_function(
        FunctionName=FUNCTION,
        Runtime="python3.12",
        Role="arn:aws:iam::000000000000:role/r",
        Handler="a.b",
        Code={"ZipFile": b"x"},
    )
    cloud.client("logs").create_log_group(logGroupName=f"/aws/lambda/{FUNCTION}")
    status, _, err = lambdafutures("deploy", "--yes")
    assert status == 1
    assert f"function {FUNCTION}, log group /aws/lambda/{FUNCTION} exist already" in err
    client.delete_function(FunctionName=FUNCTION)
    cloud.client("logs").delete_log_group(logGroupName=f"/aws/lambda/{FUNCTION}")

    template = {"Resources": {"T": {"Type": "AWS::SNS::Topic"}}}
    formation = cloud.client("cloudformation")
    formation.create_stack(StackName="lambdafutures", TemplateBody=json.dumps(template))
    for verb in ("deploy", "destroy"):
        status, _, err = lambdafutures(verb, "--yes")
        assert status == 1
        assert "lambdafutures" in err
    status, _, err = lambdafutures("status")
    assert status == 1
    assert formation.describe_stacks(StackName="lambdafutures")["Stacks"]
    formation.delete_stack(StackName="lambdafutures")


def test_destroy_with_objects_versions_and_unfinished_uploads(cloud, lambdafutures):
    lambdafutures("deploy", "--yes")
    bucket, s3 = cloud.bucket(), cloud.client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(2):
        for number in range(3):
            s3.put_object(Bucket=bucket, Key=f"lambdafutures/sessions/s/{number}", Body=b"x")
    s3.delete_object(Bucket=bucket, Key="lambdafutures/sessions/s/0")
    s3.create_multipart_upload(Bucket=bucket, Key="lambdafutures/sessions/s/part")
    status, _, err = lambdafutures("destroy", "--yes")
    assert (status, err) == (0, "")
    assert bucket not in cloud.inventory()["buckets"]


def test_destroy_when_half_is_gone(cloud, lambdafutures):
    """A deleted bucket, function and stack are no error; a second time neither."""
    lambdafutures("deploy", "--yes")
    bucket = cloud.bucket()
    cloud.client("lambda").delete_function(FunctionName=FUNCTION)
    cloud.client("s3").delete_object(Bucket=bucket, Key=cloud.keys(bucket)[0])
    cloud.client("s3").delete_bucket(Bucket=bucket)
    assert lambdafutures("destroy", "--yes")[0] == 0
    assert find_deployment() is None
    status, out, _ = lambdafutures("destroy", "--yes")
    assert status == 0
    assert "there is no stack" in out


def test_status(cloud, lambdafutures, worker):
    status, out, _ = lambdafutures("status")
    assert status == 1
    assert "nothing is deployed" in out
    lambdafutures("deploy", "--yes")
    bucket = cloud.bucket()
    for name in ("a", "b"):
        key = f"lambdafutures/sessions/{name}/out/1"
        cloud.client("s3").put_object(Bucket=bucket, Key=key, Body=b"x" * 500_000)
    status, out, _ = lambdafutures("status")
    assert status == 0
    assert "CREATE_COMPLETE" in out or "UPDATE_COMPLETE" in out
    assert bucket in out
    assert "2 objects of 2 sessions, 1.0 MB" in out
    assert f"{FUNCTION}: python{running_python()}, x86_64, 1769 MB, 900 s, code of this" in out
    worker("two")
    assert "another version: run `lambdafutures deploy`" in lambdafutures("status")[1]


def test_nested_is_kept_until_it_is_taken_back(cloud, lambdafutures):
    def variables():
        answer = cloud.client("lambda").get_function_configuration(FunctionName=FUNCTION)
        return answer.get("Environment", {}).get("Variables", {})

    lambdafutures("deploy", "--yes", "--nested")
    assert find_deployment().nested
    assert variables() == bundle.NESTED_VARIABLES
    assert "nothing to change" in lambdafutures("deploy")[1]
    assert lambdafutures("deploy", "--yes", "--no-nested")[0] == 0
    assert not find_deployment().nested
    assert variables() == {}


def test_the_policy_for_users_is_printed(cloud, lambdafutures):
    status, _, err = lambdafutures("status", "--print-policy")
    assert status == 1
    assert "run `lambdafutures deploy`" in err
    lambdafutures("deploy", "--yes")
    status, out, _ = lambdafutures("status", "--print-policy")
    assert status == 0
    statements = {each["Sid"]: each for each in json.loads(out)["Statement"]}
    assert statements["InvokeWorkers"]["Resource"] == [
        f"arn:aws:lambda:{REGION}:000000000000:function:{FUNCTION}"
    ]


def test_a_deployment_keeps_its_region(cloud, lambdafutures, monkeypatch):
    """Another AWS_REGION does not lead elsewhere; --region elsewhere is refused."""
    lambdafutures("deploy", "--yes")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    assert "nothing to change" in lambdafutures("deploy")[1]
    status, _, err = lambdafutures("deploy", "--region", "us-west-2")
    assert status == 1
    assert REGION in err


def test_no_credential_is_printed(cloud, lambdafutures):
    printed = "".join(
        text
        for verb in (["deploy", "--yes"], ["doctor"], ["status"], ["destroy", "--yes"])
        for text in lambdafutures(*verb)[1:]
    )
    assert "test-secret" not in printed


def test_the_zip_arrives_as_it_was_built(cloud, lambdafutures, worker):
    built = worker("one")
    lambdafutures("deploy", "--yes")
    bucket = cloud.bucket()
    answer = cloud.client("s3").get_object(Bucket=bucket, Key=cloud.keys(bucket)[0])
    with answer["Body"] as body:
        assert hashlib.sha256(body.read()).hexdigest() == built.sha256
