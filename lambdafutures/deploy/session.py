"""The way to AWS: profiles, SSO, environment and roles as boto3 knows them, and one region."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from lambdafutures.deploy.errors import AwsFault, DeployError
from lambdafutures.deployment import Deployment
from lambdafutures.exceptions import MissingExtra

# An endpoint that does not take a connection within this is not there; AWS takes milliseconds.
CONNECT_TIMEOUT_S = 5
# The slowest single request here (CreateStack, a listing of 1,000 keys) takes about a second.
READ_TIMEOUT_S = 20
# With botocore's standard back-off: about 10 s in all, enough for the control plane's 15 requests
# per second and account.
ATTEMPTS = 5
# What only asks (doctor) shall answer in seconds.
ATTEMPTS_WHEN_ASKING = 2

# AWS_REGION is what Lambda, the CLI and the other SDKs read; botocore reads the second one only.
REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")


class Region(NamedTuple):
    """Name a region, and who chose it.

    Args:
        name: Such as ``"eu-central-1"``; empty if nobody chose one.
        source: Where it comes from, in words.
    """

    name: str
    source: str


def choose_region(
    given: str | None,
    remembered: Deployment | None,
    environ: Mapping[str, str],
    of_profile: str | None = None,
) -> Region:
    """Return the region to work in.

    A deployment stays where it is: its region goes before the environment's, or a second `deploy`
    in another shell would make a second deployment and forget the first.

    Args:
        given: The `--region` argument, or None.
        remembered: The deployment that is remembered, or None.
        environ: Environment variables.
        of_profile: The region that the profile names, or None.
    """
    if given:
        return Region(given, "--region")
    if remembered is not None and remembered.region:
        return Region(remembered.region, f"remembered deployment {remembered.name!r}")
    for variable in REGION_VARIABLES:
        if environ.get(variable):
            return Region(environ[variable], variable)
    if of_profile:
        return Region(of_profile, "the profile")
    return Region("", "nothing")


class Aws:
    """Call AWS in one region; whatever it refuses is an `AwsFault`. To be used by `with`.

    Endpoints are botocore's business: `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_S3`, … are honoured.

    Args:
        session: A `boto3.Session`.
        region: The region, and who chose it.
        profile: The profile's name, for the commands of remedies.
        attempts: How often a request is tried.
    """

    def __init__(
        self, session: Any, region: Region, profile: str | None, attempts: int = ATTEMPTS
    ) -> None:
        self._session = session
        self._attempts = attempts
        self._clients: dict[str, Any] = {}
        self.region = region.name
        self.region_source = region.source
        self.profile = profile

    def client(self, service: str) -> Any:
        """Return the boto3 client of a service.

        Args:
            service: The service as boto3 spells it.
        """
        if service not in self._clients:
            from botocore.config import Config

            self._clients[service] = self._session.client(
                service,
                region_name=self.region,
                config=Config(
                    connect_timeout=CONNECT_TIMEOUT_S,
                    read_timeout=READ_TIMEOUT_S,
                    retries={"mode": "standard", "total_max_attempts": self._attempts},
                ),
            )
        return self._clients[service]

    def call(self, service: str, method: str, **arguments: Any) -> Any:
        """Make one request and return its answer.

        Args:
            service: The service as boto3 spells it.
            method: The client's method, such as ``"put_object"``.
            arguments: The request.

        Raises:
            AwsFault: If it was refused or did not arrive.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        operation = "".join(part.capitalize() for part in method.split("_"))
        try:
            return getattr(self.client(service), method)(**arguments)
        except ClientError as error:
            answer = error.response
            raise AwsFault(
                service,
                error.operation_name,
                str(answer.get("Error", {}).get("Code", "")),
                str(answer.get("Error", {}).get("Message", "")),
                self.region,
            ) from error
        except (BotoCoreError, ValueError) as error:  # ValueError: a malformed endpoint address
            raise AwsFault(
                service, operation, type(error).__name__, str(error), self.region
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()


def connect(
    *,
    region: str | None = None,
    profile: str | None = None,
    remembered: Deployment | None = None,
    attempts: int = ATTEMPTS,
) -> Aws:
    """Return the way to AWS.

    Args:
        region: The `--region` argument, or None.
        profile: The `--profile` argument; else `$AWS_PROFILE`, else the default chain.
        remembered: The deployment that is remembered, or None.
        attempts: How often a request is tried.

    Raises:
        MissingExtra: If boto3 is not installed.
        DeployError: If there is no such profile, or no region.
    """
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise MissingExtra(
            "this needs boto3, which is not installed: run `pip install 'lambdafutures[deploy]'`"
        ) from error
    try:
        session = boto3.Session(profile_name=profile)
        of_profile = session.region_name
    except BotoCoreError as error:
        raise DeployError(
            f"{error}: name a profile of ~/.aws/config by --profile or AWS_PROFILE; "
            "`aws configure list-profiles` lists them"
        ) from error
    chosen = choose_region(region, remembered, os.environ, of_profile)
    if not chosen.name:
        raise DeployError(
            "no AWS region: give --region, set AWS_REGION, or run `aws configure set region REGION`"
        )
    return Aws(session, chosen, profile or os.environ.get("AWS_PROFILE"), attempts)
