"""What doctor's findings mean: from AWS's answers to ok, failed or skipped. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from lambdafutures.deploy.errors import AwsFault
from lambdafutures.deploy.policy import Place
from lambdafutures.deploy.remedies import MISSING, deploy_command, remedy
from lambdafutures.deploy.template import EVENT_AGE_S
from lambdafutures.deployment import Deployment

Answer: TypeAlias = Mapping[str, Any] | AwsFault

# `PackageType` of a function that runs a container image.
IMAGE = "Image"


class State(Enum):
    """Say how a check ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """Hold what a check found.

    Args:
        name: What was looked at.
        state: How it ended.
        finding: What was found, in one line.
        remedy: What mends it, in one line; empty unless it failed.
    """

    name: str
    state: State
    finding: str
    remedy: str = ""


def ok(name: str, finding: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check(name, State.OK, finding)


def failed(name: str, finding: str, mended_by: str) -> Check:
    """Return a check that found something wrong."""
    return Check(name, State.FAILED, finding, mended_by)


def skipped(name: str, reason: str) -> Check:
    """Return a check that could not be made."""
    return Check(name, State.SKIPPED, reason)


@dataclass(frozen=True, slots=True)
class Judge:
    """Judge the answers about one deployment.

    Args:
        name: The deployment's name.
        region: The region in use.
        region_source: Who chose it.
        profile: The profile in use, or None.
        deployment: What is remembered, or None.
        place: Where ARNs point.
    """

    name: str
    region: str
    region_source: str
    profile: str | None
    deployment: Deployment | None
    place: Place

    def _fault(self, check: str, fault: AwsFault, arn: str = "*") -> Check:
        mended_by = remedy(fault, name=self.name, region=self.region, profile=self.profile, arn=arn)
        return failed(check, str(fault), mended_by)

    @property
    def _deploy(self) -> str:
        return f"run `{deploy_command(self.name, self.region)}`"

    def judge_region(self) -> Check:
        """Judge whether we look where the deployment is."""
        there = self.deployment.region if self.deployment else ""
        if there and there != self.region:
            return failed(
                "region",
                f"{self.region} ({self.region_source}), but deployment {self.name!r} is in {there}",
                f"leave out --region, or run `lambdafutures doctor --name {self.name} --region "
                f"{there}`",
            )
        return ok("region", f"{self.region} ({self.region_source})")

    def judge_credentials(self, answer: Answer) -> Check:
        """Judge GetCallerIdentity."""
        if isinstance(answer, AwsFault):
            return self._fault("credentials", answer)
        return ok("credentials", str(answer["Arn"]))

    def judge_deployment(self, path: str) -> Check:
        """Judge whether there is a deployment to use.

        Args:
            path: The file that remembers it.
        """
        if self.deployment is None:
            return failed(
                "deployment", f"none named {self.name!r} is remembered at {path}", self._deploy
            )
        return ok("deployment", f"{self.name} ({path})")

    def judge_bucket(self, bucket: str, answer: Answer) -> Check:
        """Judge HeadBucket."""
        if isinstance(answer, AwsFault):
            if answer.code in MISSING:
                return failed("bucket", f"there is no bucket {bucket}", self._deploy)
            return self._fault("bucket", answer, self.place.bucket_arn(bucket))
        there = answer.get("BucketRegion") or self.region
        if there != self.region:
            return failed(
                "bucket", f"{bucket} is in {there}, not in {self.region}", f"use --region {there}"
            )
        return ok("bucket", bucket)

    def judge_object_access(self, action: str, arn: str, answer: Answer) -> Check:
        """Judge one request for the probe object.

        Args:
            action: The IAM action.
            arn: What it was asked of.
            answer: What S3 answered.
        """
        if isinstance(answer, AwsFault):
            return self._fault(action, answer, arn)
        return ok(action, "allowed")

    def judge_account(self, answer: Answer) -> Check:
        """Judge GetAccountSettings."""
        check = "concurrency"
        if isinstance(answer, AwsFault):
            return self._fault(check, answer)
        limit = answer["AccountLimit"]["ConcurrentExecutions"]
        free = answer["AccountLimit"].get("UnreservedConcurrentExecutions", limit)
        finding = f"{limit} concurrent executions, {free} of them unreserved"
        if not free:
            return failed(
                check,
                finding,
                "run `aws service-quotas request-service-quota-increase --service-code lambda "
                "--quota-code L-B99A9384 --desired-value 1000`, or take back reserved concurrency",
            )
        remembered = self.deployment.concurrency if self.deployment else limit
        if remembered != limit:
            finding += f"; remembered are {remembered}, which a deploy brings up to date"
        return ok(check, finding)

    def judge_function(self, function: str, python: str, answer: Answer) -> Check:
        """Judge GetFunctionConfiguration: existence, state and Python.

        Args:
            function: The function's name.
            python: Minor version of the client's Python.
            answer: What Lambda answered.
        """
        check = f"function {function}"
        if isinstance(answer, AwsFault):
            if answer.code in MISSING:
                return failed(check, f"there is no such function in {self.region}", self._deploy)
            return self._fault(check, answer, self.place.function_arn(function))
        if answer.get("PackageType") == IMAGE:
            # Which Python is in it, only a call can tell: the round trip does.
            return ok(check, f"a container image, {answer.get('MemorySize')} MB")
        runtime = str(answer.get("Runtime", "")).removeprefix("python")
        if runtime != python:
            return failed(
                check,
                f"it runs Python {runtime}, this client {python}",
                f"run the client under Python {runtime}, or `"
                f"{deploy_command(self.name, self.region)}` under Python {python}",
            )
        state = answer.get("State", "Active")
        if state not in ("Active", "Inactive"):
            reason = answer.get("StateReason", "no reason given")
            wait = "wait a minute and run `lambdafutures doctor` again"
            mended_by = wait if state == "Pending" else self._deploy
            return failed(check, f"it is {state}: {reason}", mended_by)
        return ok(check, f"Python {runtime}, {answer.get('MemorySize')} MB")

    def judge_code(self, function: str, expected: str, answer: Answer) -> Check:
        """Judge the SHA-256 of the function's code.

        Args:
            function: The function's name.
            expected: SHA-256 of this version's zip, as Lambda writes it.
            answer: What GetFunctionConfiguration answered.
        """
        check = f"code of {function}"
        if isinstance(answer, AwsFault):
            return skipped(check, "there is no function to look at")
        if answer.get("PackageType") == IMAGE:
            return ok(check, "in the container image")
        if answer.get("CodeSha256") != expected:
            return failed(
                check, "it is not the worker of this version of lambdafutures", self._deploy
            )
        return ok(check, "the worker of this version")

    def judge_invoke(self, function: str, answer: Answer) -> Check:
        """Judge a DryRun of Invoke."""
        check = f"lambda:InvokeFunction {function}"
        if isinstance(answer, AwsFault):
            return self._fault(check, answer, self.place.function_arn(function))
        return ok(check, "allowed")

    def judge_retries(self, function: str, answer: Answer) -> Check:
        """Judge GetFunctionEventInvokeConfig."""
        check = f"retries of {function}"
        mended_by = (
            f"{self._deploy}, or `aws lambda put-function-event-invoke-config --region "
            f"{self.region} --function-name {function} --maximum-retry-attempts 0 "
            f"--maximum-event-age-in-seconds {EVENT_AGE_S}`"
        )
        if isinstance(answer, AwsFault):
            if answer.code in MISSING:
                return failed(check, "not set, so Lambda runs failed calls twice more", mended_by)
            return self._fault(check, answer, self.place.function_arn(function))
        attempts = answer.get("MaximumRetryAttempts")
        if attempts != 0:
            return failed(check, f"Lambda may run a call {attempts} times more", mended_by)
        return ok(check, "Lambda runs no call again by itself")

    def judge_reserved(self, function: str, answer: Answer) -> Check:
        """Judge GetFunctionConcurrency."""
        check = f"reserved concurrency of {function}"
        if isinstance(answer, AwsFault):
            return self._fault(check, answer, self.place.function_arn(function))
        reserved = answer.get("ReservedConcurrentExecutions")
        if reserved == 0:
            return failed(
                check,
                "0: Lambda runs nothing",
                f"run `aws lambda delete-function-concurrency --region {self.region} "
                f"--function-name {function}`",
            )
        return ok(check, "none" if reserved is None else f"{reserved}, no call goes beyond")
