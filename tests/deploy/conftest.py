"""AWS for the tests of deployment: ministack over HTTP, and the commands run against it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest

from lambdafutures.cli import main
from lambdafutures.deploy import bundle, plan, session, survey
from tests.aws_servers import ministack_server, missing

# Not the region that botocore or ministack would take by themselves.
REGION = "eu-central-1"


@pytest.fixture(scope="session")
def ministack():
    """The address of a ministack of our own."""
    install = missing("ministack")
    if install:
        pytest.skip(install)
    with ministack_server() as server:
        yield server.endpoint_url


@dataclass
class Cloud:
    """AWS as the tests see it: boto3 clients, and what there is."""

    url: str
    _clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = boto3.client(
                service,
                endpoint_url=self.url,
                region_name=REGION,
                aws_access_key_id="test",
                aws_secret_access_key="test",
            )
        return self._clients[service]

    def inventory(self) -> dict[str, set[str]]:
        """Everything that a deployment makes, whoever made it."""
        stacks = self.client("cloudformation").describe_stacks()["Stacks"]
        groups = self.client("logs").describe_log_groups()["logGroups"]
        functions = self.client("lambda").list_functions()["Functions"]
        return {
            "stacks": {stack["StackName"] for stack in stacks},
            "functions": {function["FunctionName"] for function in functions},
            "roles": {role["RoleName"] for role in self.client("iam").list_roles()["Roles"]},
            "buckets": {b["Name"] for b in self.client("s3").list_buckets()["Buckets"]},
            "log groups": {group["logGroupName"] for group in groups},
        }

    def bucket(self, name: str = "lambdafutures") -> str:
        answer = self.client("cloudformation").describe_stack_resources(StackName=name)
        return next(
            resource["PhysicalResourceId"]
            for resource in answer["StackResources"]
            if resource["LogicalResourceId"] == "Bucket"
        )

    def keys(self, bucket: str) -> list[str]:
        answer = self.client("s3").list_objects_v2(Bucket=bucket)
        return [entry["Key"] for entry in answer.get("Contents", ())]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


def _clear_aws(monkeypatch, tmp_path) -> None:
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    # Neither a developer's files nor a cloud machine's own identity may take part.
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def no_aws(monkeypatch, tmp_path):
    """No credentials, no profile, no region."""
    _clear_aws(monkeypatch, tmp_path)


@pytest.fixture
def cloud(ministack, no_aws, monkeypatch):
    """A reachable AWS; whatever the test leaves in it is a failure of the test."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", ministack)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    monkeypatch.setenv("AWS_REGION", REGION)
    cloud = Cloud(ministack)
    before = cloud.inventory()
    yield cloud
    with contextlib.suppress(Exception):
        main(["destroy", "--yes"])
    assert cloud.inventory() == before
    cloud.close()


def zip_of(body: str) -> bundle.Bundle:
    """A worker that the tests can tell from others."""
    name = "lambdafutures/_worker/supervisor.py"
    text = f"def handler(event, context):\n    return {body!r}\n"
    return bundle.Bundle(bundle.pack({name: text.encode()}), (name,))


@pytest.fixture
def worker(monkeypatch):
    """Fix this version's worker, whoever edits the sources meanwhile; call it for another.

    It runs no calls.
    """
    monkeypatch.setattr("lambdafutures.cli.doctor.find_round_trip", lambda deployment: None)

    def put(body: str) -> bundle.Bundle:
        built = zip_of(body)
        monkeypatch.setattr(bundle, "build", lambda nested=False: built)
        return built

    put("one")
    return put


@pytest.fixture
def lambdafutures(worker, capsys):
    """Run the command; returns its exit status and what it printed."""

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def aws(cloud):
    """The way to AWS that the commands use."""
    with session.connect() as way:
        yield way


def draw(worker: bundle.Bundle, **given: Any) -> plan.Blueprint:
    return plan.draw(plan.choose_options("lambdafutures", given, None), worker, "0")


def found(aws: session.Aws, wanted: plan.Blueprint) -> plan.Found:
    return survey.survey(aws, wanted)
