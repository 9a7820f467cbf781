"""The runtime client's transport for interpreters that its C extension was not built for.

`awslambdaric` imports a C extension named `runtime_client`. The one installed beside the fake fits
one minor version of Python; functions under another one get this module, which has the same four
functions.
"""

import http.client
import os
from typing import Any

_connection: http.client.HTTPConnection | None = None
_user_agent = ""


def initialize_client(user_agent: str) -> None:
    """Keep the user agent.

    Args:
        user_agent: What awslambdaric calls itself.
    """
    global _user_agent
    _user_agent = user_agent


def next() -> tuple[bytes, dict[str, Any]]:  # noqa: A001  the extension's own name
    """Wait for an invocation and return its event and its headers."""
    status, headers, body = _request("GET", "invocation/next", None, {})
    if status != 200:
        raise RuntimeError(f"Failed to get next invocation. Response code: {status}")
    found: dict[str, Any] = dict.fromkeys(_NEXT_HEADERS)
    for name in _NEXT_HEADERS:
        found[name] = headers.get(name)
    found["Lambda-Runtime-Deadline-Ms"] = int(found["Lambda-Runtime-Deadline-Ms"] or 0)
    return body, found


def post_invocation_result(
    invoke_id: str, result: bytes, content_type: str, invocation_id: str | None = None
) -> None:
    """Hand over the handler's result.

    Args:
        invoke_id: The request id.
        result: The response's bytes.
        content_type: Their type.
        invocation_id: Unused here.
    """
    path = f"invocation/{invoke_id}/response"
    status, _, body = _request("POST", path, result, {"Content-Type": content_type})
    if status >= 300:
        raise RuntimeError(
            "Failed to post handler success response. Http response code: "
            f"{status}. {body.decode(errors='replace')}"
        )


def post_error(
    invoke_id: str, error: str, xray_fault: str, invocation_id: str | None = None
) -> None:
    """Hand over the handler's error.

    Args:
        invoke_id: The request id.
        error: The error as JSON.
        xray_fault: The error for X-Ray, unused here.
        invocation_id: Unused here.
    """
    headers = {
        "Content-Type": "application/json",
        "Lambda-Runtime-Function-Error-Type": "Unhandled",
    }
    _request("POST", f"invocation/{invoke_id}/error", error.encode(), headers)


_NEXT_HEADERS = (
    "Lambda-Runtime-Aws-Request-Id",
    "Lambda-Runtime-Trace-Id",
    "Lambda-Runtime-Invoked-Function-Arn",
    "Lambda-Runtime-Deadline-Ms",
    "Lambda-Runtime-Client-Context",
    "Lambda-Runtime-Cognito-Identity",
    "Lambda-Runtime-Aws-Tenant-Id",
    "Lambda-Runtime-Invocation-Id",
    "Content-Type",
)


def _request(
    method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, http.client.HTTPMessage, bytes]:
    global _connection
    if _connection is None:
        _connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    headers = {"User-Agent": _user_agent, **headers}
    _connection.request(method, f"/2018-06-01/runtime/{path}", body, headers)
    response = _connection.getresponse()
    return response.status, response.headers, response.read()
