"""What S3 and the credential chain refuse, said with its cause and with what mends it.

Only S3's code and message are quoted: its longer error bodies, and the request, may hold tokens.
"""

from __future__ import annotations

import json
from typing import Any

from botocore import exceptions as boto
from botocore.exceptions import ClientError

from lambdafutures.deployment import DEPLOY_COMMAND
from lambdafutures.exceptions import BackendError

_LOG_IN = (
    "run `aws configure` (keys) or `aws sso login` (single sign-on), or set AWS_PROFILE, or "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)
_LOG_IN_AGAIN = (
    "run `aws sso login` again, or renew AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
    "AWS_SESSION_TOKEN"
)

# Which permission an operation needs, and whether on the bucket rather than on its objects.
_PERMISSIONS = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "DeleteObjects": "s3:DeleteObject",
    "ListObjectsV2": "s3:ListBucket",
}
_ON_BUCKET = frozenset({"s3:ListBucket"})

_EXPIRED = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
)
_WRONG_KEY = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "InvalidSecurity",
        "AuthFailure",
    }
)
_WRONG_REGION = frozenset(
    {
        "PermanentRedirect",
        "TemporaryRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "301",
        "307",
    }
)
_DENIED = frozenset({"AccessDenied", "AllAccessDisabled", "403"})
_NO_LOGIN = (boto.NoCredentialsError, boto.PartialCredentialsError, boto.ProfileNotFound)
_LOGIN_ENDED = (
    boto.CredentialRetrievalError,
    boto.MetadataRetrievalError,
    boto.RefreshWithMFAUnsupportedError,
    boto.SSOError,
    boto.TokenRetrievalError,
)
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"


def code_of(error: ClientError) -> str:
    """Return S3's error code.

    Args:
        error: What the client raised.
    """
    return str(error.response.get("Error", {}).get("Code", ""))


def as_client_error(failed: dict[str, Any], operation: str) -> ClientError:
    """Return as an exception what an answer says of one of several keys.

    Args:
        failed: An entry with `Code` and `Message`.
        operation: Name of S3's operation.
    """
    return ClientError({"Error": failed, "ResponseMetadata": {"HTTPHeaders": {}}}, operation)


def is_untrusted(error: Exception) -> bool:
    """Return whether the server's certificate was not accepted, which no repetition changes.

    Args:
        error: What the client raised.
    """
    return _UNTRUSTED in str(error)


def is_set_up(error: Exception) -> bool:
    """Return whether the fault lies with credentials, region or set-up: no repetition mends it.

    Args:
        error: What botocore raised before a request left.
    """
    kinds = (*_NO_LOGIN, *_LOGIN_ENDED, boto.NoRegionError, boto.UnknownServiceError)
    return isinstance(error, kinds) or is_untrusted(error)


def explain_set_up(error: Exception) -> BackendError:
    """Say what is wrong with credentials, region or set-up.

    Args:
        error: What botocore raised before a request left.
    """
    if isinstance(error, _NO_LOGIN):
        return BackendError(f"there are no AWS credentials to use ({error}): {_LOG_IN}")
    if isinstance(error, _LOGIN_ENDED):
        return BackendError(
            f"the AWS credentials could not be refreshed ({error}): {_LOG_IN_AGAIN}"
        )
    if isinstance(error, boto.NoRegionError):
        return BackendError(
            "no AWS region is set: set AWS_REGION, or run `aws configure set region REGION`"
        )
    if is_untrusted(error):
        return BackendError(
            f"the server's certificate is not trusted ({error}): name the certificates to trust "
            "in AWS_CA_BUNDLE"
        )
    return BackendError(f"AWS cannot be used: {type(error).__name__}: {error}")


def explain_silence(fault: Exception, what: str, tries: int, patience_s: float) -> BackendError:
    """Say that a request was repeated in vain.

    Args:
        fault: How the last try ended.
        what: What was tried.
        tries: How often.
        patience_s: For how long, in seconds.
    """
    text = str(fault) or "no answer in time"
    return BackendError(
        f"{what} failed {tries} times within {patience_s:g} s, at last with "
        f"{type(fault).__name__}: {text}. Check the network and the endpoint, and "
        "https://health.aws.amazon.com for S3 in this region"
    )


def explain_refusal(
    error: ClientError, operation: str, bucket: str, key: str, region: str
) -> BackendError:
    """Say why S3 refused a request, and what mends it.

    Args:
        error: What the client raised.
        operation: Name of S3's operation.
        bucket: The bucket.
        key: The object's key, or the prefix that was listed.
        region: The client's region.
    """
    code = code_of(error)
    message = str(error.response.get("Error", {}).get("Message", ""))
    cause, remedy = _cause_and_remedy(error, code, operation, bucket, region)
    where = f"s3://{bucket}/{key}"
    return BackendError(f"{operation} of {where} failed: {cause} ({code}: {message}). {remedy}")


def _cause_and_remedy(
    error: ClientError, code: str, operation: str, bucket: str, region: str
) -> tuple[str, str]:
    if code in _EXPIRED:
        return "the AWS credentials have expired", f"To mend it, {_LOG_IN_AGAIN}."
    if code in _WRONG_KEY:
        return "AWS does not accept the credentials", f"To mend it, {_LOG_IN}."
    if code == "RequestTimeTooSkewed":
        return "this machine's clock is wrong", "Set the clock; AWS allows 15 minutes."
    if code == "NoSuchBucket":
        return (
            f"the bucket {bucket!r} does not exist",
            f"Run `{DEPLOY_COMMAND}` to make it again, or name another deployment.",
        )
    if code in _WRONG_REGION:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        actual = headers.get("x-amz-bucket-region") or error.response["Error"].get("Region")
        return (
            f"the bucket {bucket!r} is not in the region {region!r}"
            + (f" but in {actual!r}" if actual else ""),
            f"Set AWS_REGION={actual or 'REGION'}, or name the deployment of this region.",
        )
    if code in _DENIED:
        return _denied(operation, bucket)
    if code == "400" and operation == "HeadObject":
        # The answer to a HEAD has no body to tell an expired token from a wrong region.
        return (
            "S3 refuses the credentials or the region",
            f"Set AWS_REGION to the bucket's region, or {_LOG_IN_AGAIN}.",
        )
    return "S3 refused it", "See the S3 error code list in AWS's documentation."


def _denied(operation: str, bucket: str) -> tuple[str, str]:
    action = _PERMISSIONS.get(operation, f"s3:{operation}")
    statements = [_statement(action, bucket)]
    cause = f"the credentials lack {action}"
    if action == "s3:GetObject":
        statements.append(_statement("s3:ListBucket", bucket))
        cause += " (or s3:ListBucket, without which S3 answers so for a key that does not exist)"
    return cause, f"Add to the identity's policy: {', '.join(statements)}"


def _statement(action: str, bucket: str) -> str:
    resource = f"arn:aws:s3:::{bucket}" + ("" if action in _ON_BUCKET else "/*")
    return json.dumps({"Effect": "Allow", "Action": action, "Resource": resource})
