"""The hottest requests, signed and sent without botocore, which spends up to 1 ms of CPU on each.

botocore keeps what it is good at: credentials and their renewal, regions, endpoints, certificates,
and what an error says. It prepares one request of a client, which is caught before it leaves and
taken as a pattern. Where anything about that is not as usual, all requests stay with botocore.
"""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from aiobotocore.httpsession import AIOHTTPSession
from botocore import xform_name
from botocore.awsrequest import HeadersDict
from botocore.exceptions import ClientError
from botocore.parsers import create_parser

from lambdafutures._backends.http_connections import HttpAnswer, HttpConnections
from lambdafutures._wire import sigv4

if TYPE_CHECKING:
    from aiobotocore.session import AioSession

_log = logging.getLogger("lambdafutures")

# Set to "off", all requests go through botocore.
SWITCH_VARIABLE = "LAMBDAFUTURES_HOT_REQUESTS"
_OFF = frozenset({"0", "off", "no", "false"})

# Longer bodies stay with aiohttp, which writes them in pieces and does not hold up the loop. Beside
# a megabyte's transfer nobody notices a millisecond.
BODY_BYTES = 1024 * 1024

_ALGORITHM = "AWS4-HMAC-SHA256"
# What botocore sends with a request that we know how to make. Another header means something that
# we do not know of: S3 Express sessions, a handler of the user's, Lambda's recursion detection.
_USUAL_HEADERS = frozenset(
    {
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "authorization",
        "content-length",
        "content-type",
        "range",
        "user-agent",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-invocation-type",
        "x-amz-security-token",
    }
)
# Not signed: whoever stands between may change them.
_UNSIGNED = "User-Agent: lambdafutures\r\nAccept-Encoding: identity\r\nContent-Length: "
_REFUSED = 300
_HTTP_PORT, _HTTPS_PORT = 80, 443
_ERROR_FORMATS = {"s3": "rest-xml", "lambda": "rest-json"}


class HotRequests:
    """Send signed requests to one service.

    Args:
        client: Its client, for what errors mean.
        connections: Connections to the server of the pattern.
        credentials: Where the client's credentials come from.
        signer: Signs for the service and region.
        url: The URL of the pattern.
    """

    def __init__(
        self,
        client: Any,
        connections: HttpConnections,
        credentials: Any,
        signer: sigv4.Signer,
        url: str,
    ) -> None:
        parts = urlsplit(url)
        self.path = parts.path
        """Path of the pattern, encoded."""
        self._host = parts.netloc
        self._client = client
        self._service = client.meta.service_model.signing_name
        # As the worker does: TLS protects a body of S3's, and hashing megabytes takes long.
        self._is_unsigned = parts.scheme == "https" and self._service == "s3"
        self._connections = connections
        self._credentials = credentials
        self._signer = signer

    async def send(
        self, operation: str, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> HttpAnswer:
        """Send a request, once, and return its answer.

        Args:
            operation: Name of the service's operation, for errors.
            method: HTTP method.
            path: Path of the URL, encoded.
            headers: Headers of the operation's own.
            body: The body.

        Raises:
            ClientError: If the service refuses it.
            BotoCoreError: If there is no answer, or the credentials cannot be renewed.
            ValueError: If a header has several lines.
        """
        frozen = await self._credentials.get_frozen_credentials()
        credentials = sigv4.Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")
        payload_hash = sigv4.UNSIGNED_PAYLOAD if self._is_unsigned else sigv4.payload_sha256(body)
        signed = self._signer.sign(
            method, self._host, path, "", headers, payload_hash, credentials, time.time()
        )
        head = "".join([f"{name}: {value}\r\n" for name, value in signed.items()])
        if head.count("\n") != len(signed):
            raise ValueError("a header of a request, or the credentials, hold a line break")
        answer = await self._connections.send(
            f"{method} {path} HTTP/1.1\r\n{head}{_UNSIGNED}{len(body)}\r\n\r\n".encode() + body,
            # A POST may have been taken: whoever invokes decides whether it is sent again.
            is_repeatable=method != "POST",
        )
        if answer.status >= _REFUSED:
            raise self._refusal(operation, answer)
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def _refusal(self, operation: str, answer: HttpAnswer) -> ClientError:
        """Return the error that botocore would raise for an answer."""
        headers = HeadersDict(answer.headers)
        raw = {"status_code": answer.status, "headers": headers, "body": answer.body}
        parser = create_parser(_ERROR_FORMATS[self._service])
        parsed = parser.parse(raw, None)
        code = parsed.get("Error", {}).get("Code")
        shape = self._client.meta.service_model.shape_for_error_code(code)
        if shape is not None:
            parsed |= parser.parse(raw, shape)
        kind: type[ClientError] = self._client.exceptions.from_code(code)
        return kind(parsed, operation)


async def find(
    client: Any, session: AioSession, operation: str, **parameters: Any
) -> HotRequests | None:
    """Return the way for a client's hot requests; None if they are to go through botocore.

    Nobody else may send requests with the client meanwhile.

    Args:
        client: A client of aiobotocore.
        session: The session that made it.
        operation: An operation to take the pattern from; it is prepared but not sent.
        parameters: Its parameters.
    """
    if os.environ.get(SWITCH_VARIABLE, "").lower() in _OFF:
        return None
    try:
        return await _found(client, session, operation, parameters)
    except _Unusual as reason:
        _log.info("lambdafutures: requests go through botocore: %s", reason)
    except Exception as error:  # noqa: BLE001 - botocore's own request meets it again, and tells
        _log.info("lambdafutures: requests go through botocore", exc_info=error)
    return None


async def _found(
    client: Any, session: AioSession, operation: str, parameters: dict[str, Any]
) -> HotRequests:
    request = await _catch(client, operation, parameters)
    unknown = {name.lower() for name in request.headers} - _USUAL_HEADERS
    if unknown:
        raise _Unusual(f"they carry {', '.join(sorted(unknown))}")
    url = urlsplit(request.url)
    if url.query or url.username or not url.hostname:
        raise _Unusual("their URL has more than a path")
    service = client.meta.service_model.signing_name
    region = _region_of(_text(request.headers["Authorization"]), service)
    http_session = client._endpoint.http_session
    if type(http_session) is not AIOHTTPSession:
        raise _Unusual(f"the HTTP session is a {type(http_session).__name__}")
    if http_session._proxy_config.proxy_url_for(request.url):
        raise _Unusual("there is a proxy")
    connections = HttpConnections(
        f"{url.scheme}://{url.netloc}",
        url.hostname,
        url.port or (_HTTPS_PORT if url.scheme == "https" else _HTTP_PORT),
        await _tls_of(http_session) if url.scheme == "https" else None,
        client.meta.config.connect_timeout,
    )
    credentials = await session.get_credentials()
    signer = sigv4.Signer(service, region)
    return HotRequests(client, connections, credentials, signer, request.url)


async def _tls_of(http_session: Any) -> ssl.SSLContext:
    """Return how aiobotocore speaks TLS: which certificates it trusts, and its own."""
    tls = (await http_session._get_session(None)).connector._ssl
    if not isinstance(tls, ssl.SSLContext):
        raise _Unusual("the HTTP session speaks TLS in an unknown way")
    return tls


async def _catch(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
    """Return a request as botocore would send it."""

    def catch(request: Any, **_: Any) -> NoReturn:
        raise _Caught(request)

    service = client.meta.service_model.service_id.hyphenize()
    event = f"before-send.{service}.{operation}"
    client.meta.events.register_first(event, catch)
    try:
        await getattr(client, xform_name(operation))(**parameters)
    except _Caught as caught:
        return caught.request
    finally:
        client.meta.events.unregister(event, catch)
    raise _Unusual("a request was answered before it was sent")


def _region_of(authorization: str, service: str) -> str:
    """Return the region that a request was signed for."""
    algorithm, _, rest = authorization.partition(" ")
    scope = rest.partition(",")[0].split("/")
    if algorithm != _ALGORITHM or len(scope) < 5 or scope[-2:] != [service, "aws4_request"]:
        raise _Unusual(f"they are authorised by {algorithm}")
    return scope[-3]


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


class _Caught(Exception):
    """Carry a request out of botocore."""

    def __init__(self, request: Any) -> None:
        super().__init__("caught before it was sent")
        self.request = request


class _Unusual(Exception):
    """Say why requests must go through botocore."""
