"""What an Invoke that failed means: try again, make room, or give up. Pure."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
)

from lambdafutures._backends import s3_errors
from lambdafutures._backends.http_connections import NotConnected
from lambdafutures._wire import outcome
from lambdafutures._wire.outcome import Fault
from lambdafutures.deployment import DEPLOY_COMMAND
from lambdafutures.exceptions import BackendError

_THROTTLED = frozenset({"TooManyRequestsException", "ThrottlingException", "Throttling"})
# AWS's guide to Invoke's errors: these pass by themselves, whatever their status.
_PASSING = frozenset(
    {
        "ServiceException",
        "EC2ThrottledException",
        "EC2UnexpectedException",
        "ENINotReadyException",
        "ResourceNotReadyException",
        "ResourceConflictException",
        "SnapStartNotReadyException",
        "SnapStartTimeoutException",
    }
)
# And these stay although their status is a 502.
_LASTING = frozenset(
    {
        "InvalidZipFileException",
        "InvalidRuntimeException",
        "ENILimitReachedException",
        "KMSAccessDeniedException",
        "KMSDisabledException",
        "KMSInvalidStateException",
        "KMSNotFoundException",
    }
)
_DENIED = frozenset({"AccessDeniedException", "AccessDenied"})
_CREDENTIALS = frozenset(
    {
        "ExpiredTokenException",
        "ExpiredToken",
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "IncompleteSignature",
        "MissingAuthenticationTokenException",
        "InvalidClientTokenId",
    }
)
_SERVER_ERROR = 500
# The function's code cannot be run at all (runtime client for Python, `bootstrap.py`).
_NOT_OURS = frozenset(
    {
        "Runtime.ImportModuleError",
        "Runtime.HandlerNotFound",
        "Runtime.MalformedHandlerName",
        "Runtime.UserCodeSyntaxError",
    }
)


def fault_or_break(error: Exception, function: str, region: str) -> Fault | BackendError:
    """Judge what an Invoke raised.

    Args:
        error: What the client raised.
        function: Name of the function.
        region: The client's region.

    Returns:
        The attempt's fault, if another attempt may do; else why the backend is broken.
    """
    if isinstance(error, ClientError):
        return _of_answer(error, function, region)
    if isinstance(error, BackendError):
        return error
    if isinstance(error, BotoCoreError) and s3_errors.is_set_up(error):
        return s3_errors.explain_set_up(error)
    text = str(error) or type(error).__name__
    if _is_unsent(error):
        return Fault(outcome.NOT_RUN, f"could not be sent: {text}")
    return Fault(outcome.LOST, f"was sent, but its answer was not received: {text}")


def _is_unsent(error: Exception) -> bool:
    """Tell whether no connection was made, so that nothing can have run."""
    if isinstance(error, ConnectTimeoutError | NotConnected):
        return True
    if isinstance(error, EndpointConnectionError):
        # aiobotocore says this of connections that were reset after they were made, too.
        return isinstance(error.kwargs.get("error"), aiohttp.ClientConnectorError)
    return False


def _of_answer(error: ClientError, function: str, region: str) -> Fault | BackendError:
    code = s3_errors.code_of(error)
    message = str(error.response.get("Error", {}).get("Message", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _THROTTLED:
        reason = error.response.get("Reason", "")
        return Fault(
            outcome.THROTTLED,
            f"was not accepted: {reason or code}",
            wait_s=_retry_after_s(error.response),
        )
    if code in _PASSING or (status >= _SERVER_ERROR and code not in _LASTING):
        return Fault(outcome.NOT_RUN, f"was not run: {code}: {message}")
    return BackendError(f"{_cause(code, message, function, region)} ({code}: {message})")


def _cause(code: str, message: str, function: str, region: str) -> str:
    if code == "ResourceNotFoundException":
        return (
            f"the function {function!r} does not exist in {region!r}: run `{DEPLOY_COMMAND}` to "
            "make it again, or set AWS_REGION"
        )
    if code in _DENIED:
        statement = {
            "Effect": "Allow",
            "Action": "lambda:InvokeFunction",
            "Resource": f"arn:aws:lambda:{region}:*:function:{function}",
        }
        return (
            "the credentials lack lambda:InvokeFunction: add to the identity's policy "
            f"{json.dumps(statement)}"
        )
    if code in _CREDENTIALS:
        return (
            "AWS does not accept the credentials, or they have expired: run `aws sso login` or "
            "`aws configure`, or renew AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
            "AWS_SESSION_TOKEN"
        )
    return f"Lambda refused to run the function {function!r}: see `lambdafutures doctor`"


def _retry_after_s(response: dict[str, Any]) -> float:
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    told = headers.get("retry-after") or response.get("retryAfterSeconds") or 0
    try:
        return max(0.0, float(told))
    except ValueError:
        return 0.0


def fault_of_function(
    kind: str, body: bytes, function: str, memory_mb: int
) -> Fault | BackendError:
    """Return what a function's own failure means: its sandbox ended in the supervisor's place.

    Args:
        kind: The value of `X-Amz-Function-Error`.
        body: The response's payload.
        function: Name of the function.
        memory_mb: Its memory, in MiB.
    """
    name = kind
    try:
        told = json.loads(body)
        name = str(told.get("errorType", kind))
        message = f"{name}: {told.get('errorMessage', '')}"
    except (ValueError, AttributeError):
        message = f"{kind}: {body[:200]!r}"
    if name in _NOT_OURS:
        return BackendError(
            f"the function {function!r} does not hold our worker ({message}): run "
            f"`{DEPLOY_COMMAND}` to upload it again"
        )
    if "timed out" in message:
        return Fault(outcome.TIME, f"ended its sandbox: {message}")
    if "OutOfMemory" in message or "signal: killed" in message:
        return Fault(outcome.MEMORY, f"ended its sandbox of {memory_mb} MiB: {message}")
    return Fault(outcome.DIED, f"ended its sandbox: {message}")
