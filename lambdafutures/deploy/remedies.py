"""From what AWS answered to what mends it: a command or a policy statement. Pure."""

from __future__ import annotations

from lambdafutures.deploy import policy
from lambdafutures.deploy.errors import AwsFault

# Error codes of AWS and names of botocore's exceptions.
NO_CREDENTIALS = frozenset(
    {"CredentialRetrievalError", "NoCredentialsError", "PartialCredentialsError"}
)
EXPIRED = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    }
)
INVALID = frozenset(
    {
        "AuthFailure",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
SKEWED = frozenset({"RequestTimeTooSkewed", "RequestInTheFuture"})
DENIED = frozenset(
    {"403", "AccessDenied", "AccessDeniedException", "Forbidden", "UnauthorizedOperation"}
)
UNREACHABLE = frozenset(
    {
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "EndpointConnectionError",
        "HTTPClientError",
        "InvalidEndpointConfigurationError",
        "InvalidRegionError",
        "ProxyConnectionError",
        "ReadTimeoutError",
        "SSLError",
        "ValueError",
    }
)
MISSING = frozenset({"404", "NoSuchBucket", "NotFound", "ResourceNotFoundException"})
MOVED = frozenset({"301", "AuthorizationHeaderMalformed", "PermanentRedirect"})


def remedy(fault: AwsFault, *, name: str, region: str, profile: str | None, arn: str = "*") -> str:
    """Return what mends a fault, in one line.

    Args:
        fault: What AWS answered.
        name: The deployment's name.
        region: The region in use.
        profile: The profile in use, or None.
        arn: What was asked for.
    """
    of_profile = f" --profile {profile}" if profile else ""
    if fault.code in NO_CREDENTIALS:
        return f"run `aws configure{of_profile}` or `aws sso login{of_profile}`, or set AWS_PROFILE"
    if fault.code in EXPIRED:
        return f"run `aws sso login{of_profile}`, or renew the temporary credentials"
    if fault.code in INVALID:
        return (
            f"run `aws configure{of_profile}` with a key that is valid, and see whether region "
            f"{region} is enabled for the account"
        )
    if fault.code in SKEWED:
        return "set this machine's clock: AWS refuses requests that are minutes off"
    if fault.code in DENIED:
        return f"allow it by this policy statement: {policy.statement_for(fault, arn)}"
    if fault.code in MOVED:
        return "give the region where it is by --region"
    if fault.code in MISSING:
        return f"run `{deploy_command(name, region)}`"
    if fault.code in UNREACHABLE:
        return f"see whether {region} is a region, AWS_ENDPOINT_URL is right and the network is up"
    return "try again; if it stays, it is AWS that has this trouble"


def deploy_command(name: str, region: str) -> str:
    """Return the command that makes or mends a deployment.

    Args:
        name: The deployment's name.
        region: Its region.
    """
    return f"lambdafutures deploy --name {name} --region {region}"
