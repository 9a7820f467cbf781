"""STS, as much as `GetCallerIdentity` needs."""

from urllib.parse import parse_qs

from .messages import AwsError, Request, Response
from .sigv4 import Caller


def identify(request: Request) -> str:
    """Return the operation of a query-protocol request.

    Args:
        request: The request.
    """
    return parse_qs(request.body.decode("latin-1")).get("Action", ["Unsupported"])[0]


def execute(operation: str, caller: Caller, account_id: str, request_id: str) -> Response:
    """Answer a request.

    Args:
        operation: Its API name.
        caller: Who signed it.
        account_id: The account.
        request_id: The request's id.

    Raises:
        AwsError: The operation is not known.
    """
    if operation != "GetCallerIdentity":
        raise AwsError(400, "InvalidAction", f"Could not find operation {operation}")
    body = (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        f"<GetCallerIdentityResult><Arn>{caller.identity.principal_arn}</Arn>"
        f"<UserId>AIDAFAKE{caller.identity.name.upper()}</UserId>"
        f"<Account>{account_id}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>"
    )
    return Response(200, {"Content-Type": "text/xml"}, body.encode())
