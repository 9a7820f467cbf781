"""Requests below boto3: signed by botocore's signer, sent over a bare connection."""

import http.client
import json
import socket
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.strict_aws import Identity, StrictAws


def signed(
    aws: StrictAws,
    method: str,
    path: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    identity: Identity | None = None,
    service: str = "s3",
    region: str | None = None,
) -> AWSRequest:
    """Return a request signed by botocore's signer."""
    who = identity or aws.admin
    request = AWSRequest(method, aws.endpoint_url + path, data=body, headers=headers or {})
    credentials = Credentials(who.access_key, who.secret_key, who.session_token or None)
    auth = S3SigV4Auth if service == "s3" else SigV4Auth
    auth(credentials, service, region or aws.region).add_auth(request)
    return request


def presigned(aws: StrictAws, method: str, path: str, expires_s: int = 60) -> str:
    """Return a presigned URL's path and query."""
    request = AWSRequest(method, aws.endpoint_url + path)
    credentials = Credentials(aws.admin.access_key, aws.admin.secret_key)
    S3SigV4QueryAuth(credentials, "s3", aws.region, expires=expires_s).add_auth(request)
    return str(request.url).removeprefix(aws.endpoint_url)


def send(
    aws: StrictAws, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Send a request as it is and return status, headers in lower case, and body."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(aws.endpoint_url).port, timeout=9)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return response.status, found, response.read()
    finally:
        connection.close()


def send_signed(aws: StrictAws, request: AWSRequest) -> tuple[int, dict[str, str], bytes]:
    """Send what `signed` returned."""
    path = request.url.removeprefix(aws.endpoint_url)
    return send(aws, request.method, path, request.data, dict(request.headers.items()))


def connect(aws: StrictAws) -> socket.socket:
    """Return a bare connection."""
    return socket.create_connection(("127.0.0.1", urlsplit(aws.endpoint_url).port), timeout=9)


def code_of(error: ClientError) -> str:
    """Return AWS's error code."""
    return str(error.response["Error"]["Code"])


def status_of(error: ClientError) -> int:
    """Return the HTTP status."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def invoke(client: Any, name: str, event: Any = None, **kwargs: Any) -> tuple[Any, str]:
    """Invoke a function and return its decoded answer and its FunctionError."""
    payload = json.dumps({} if event is None else event)
    response = client.invoke(FunctionName=name, Payload=payload, **kwargs)
    return json.loads(response["Payload"].read() or b"null"), response.get("FunctionError", "")


def invoke_status(client: Any, name: str, **kwargs: Any) -> int:
    """Invoke a function, read its answer to the end, and return the HTTP status."""
    response = client.invoke(FunctionName=name, **kwargs)
    response["Payload"].read()
    return int(response["StatusCode"])
