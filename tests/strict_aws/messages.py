"""The request, the response and the error that all services share."""

import json
from dataclasses import dataclass, field
from urllib.parse import unquote, unquote_plus
from xml.sax.saxutils import escape

REASONS = {
    100: "Continue", 200: "OK", 201: "Created", 202: "Accepted", 204: "No Content",
    206: "Partial Content", 301: "Moved Permanently", 304: "Not Modified",
    400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    409: "Conflict", 411: "Length Required", 412: "Precondition Failed",
    413: "Request Entity Too Large", 415: "Unsupported Media Type",
    416: "Requested Range Not Satisfiable", 429: "Too Many Requests", 500: "Internal Server Error",
    501: "Not Implemented", 502: "Bad Gateway", 503: "Slow Down", 504: "Gateway Timeout",
}  # fmt: skip


@dataclass(slots=True)
class Request:
    """One HTTP request, its body read to the end and its transfer coding undone.

    Attributes:
        method: The method, in upper case.
        target: The request target as sent: path and query, still percent-encoded.
        headers: Header values by lower-case name; repeated ones joined by a comma.
        body: The body.
        raw_path: The path as sent.
        raw_query: The query as sent, without its question mark.
        path: The decoded path.
        query: The decoded query parameters, the last of a name.
        query_pairs: The decoded query parameters in order.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    raw_path: str = ""
    raw_query: str = ""
    path: str = ""
    query: dict[str, str] = field(default_factory=dict)
    query_pairs: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Split and decode the target."""
        self.raw_path, _, self.raw_query = self.target.partition("?")
        self.path = unquote(self.raw_path) if "%" in self.raw_path else self.raw_path
        if self.raw_query:
            for part in self.raw_query.split("&"):
                if part:
                    name, _, value = part.partition("=")
                    # S3 reads a plus sign in a query as a space, and so does its signature check.
                    self.query_pairs.append((unquote_plus(name), unquote_plus(value)))
            self.query = dict(self.query_pairs)

    def header(self, name: str, default: str = "") -> str:
        """Return a header by its lower-case name."""
        return self.headers.get(name, default)


@dataclass(slots=True)
class Response:
    """One HTTP response.

    Attributes:
        status: The status code.
        headers: Headers besides Content-Length and the request ids.
        body: The body.
        length: Content-Length where it is not that of the body (HEAD).
        error: AWS's error code, for the request log.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None
    error: str = ""

    def head_bytes(self) -> bytes:
        """Render the status line and the headers."""
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Status')}"]
        lines.extend([f"{name}: {value}" for name, value in self.headers.items()])
        if self.status not in (204, 304):
            length = len(self.body) if self.length is None else self.length
            lines.append(f"Content-Length: {length}")
        lines.append("\r\n")
        return "\r\n".join(lines).encode("latin-1")


class AwsError(Exception):
    """An error as AWS reports it; each service renders it in its own format.

    Attributes:
        status: HTTP status.
        code: AWS's error code.
        message: AWS's message.
        fields: More elements of the error body (S3), or more JSON members (Lambda).
        headers: More headers.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        fields: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields or {}
        self.headers = headers or {}

    def to_response(self, service: str, request_id: str) -> Response:
        """Render the error for a service.

        Args:
            service: `s3`, `lambda` or `sts`.
            request_id: The request's id, part of XML bodies.
        """
        if service == "lambda":
            return self._json()
        body = self._s3_xml(request_id) if service == "s3" else self._query_xml(request_id)
        headers = {"Content-Type": "application/xml" if service == "s3" else "text/xml"}
        return Response(self.status, headers | self.headers, body, error=self.code)

    def _json(self) -> Response:
        kind = "User" if self.status < 500 else "Service"
        # AWS capitalises `Message` in the errors of its front end and of the resource layer.
        name = "Message" if self.code in _CAPITAL_MESSAGE else "message"
        body = json.dumps({**self.fields, "Type": kind, name: self.message}).encode()
        headers = {"Content-Type": "application/json", "x-amzn-ErrorType": self.code}
        return Response(self.status, headers | self.headers, body, error=self.code)

    def _s3_xml(self, request_id: str) -> bytes:
        more = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in self.fields.items())
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{self.code}</Code><Message>{escape(self.message)}</Message>{more}"
            f"<RequestId>{request_id}</RequestId><HostId>{HOST_ID}</HostId></Error>"
        ).encode()

    def _query_xml(self, request_id: str) -> bytes:
        return (
            '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>'
            f"<Type>Sender</Type><Code>{self.code}</Code><Message>{escape(self.message)}</Message>"
            f"</Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        ).encode()


HOST_ID = "c3RyaWN0LWZha2UtYXdzL2hvc3QtaWQ="
_CAPITAL_MESSAGE = {
    "AccessDeniedException",
    "RequestEntityTooLargeException",
    "ResourceNotFoundException",
}
