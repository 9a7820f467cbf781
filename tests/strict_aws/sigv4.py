"""Signature Version 4, verified as AWS does: the canonical request is rebuilt from what arrived.

Header authentication and presigned URLs are known, for S3 (path encoded once, payload hash
mandatory) and for the other services (path encoded twice).
"""

import calendar
import hashlib
import hmac
import re
import time
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from .identities import Credential, Identities, Identity
from .limits import CLOCK_SKEW_MAX_S, PRESIGN_MAX_S
from .messages import Request
from .sigv4_errors import auth_error

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_SPACES = re.compile(r" {2,}")
_DATE = re.compile(r"\d{8}T\d{6}Z")
_UNRESERVED = "-_.~"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who signed a request.

    Attributes:
        identity: The identity.
        region: The region of the credential scope.
        signing_key: The derived key, with which the chunks of a streaming body are checked.
        signature: The request's signature: the seed of the chunks' chain.
        date: The request's date, as signed.
        scope: The credential scope, as signed.
        payload_hash: What `x-amz-content-sha256` declares, empty when absent.
    """

    identity: Identity
    region: str
    signing_key: bytes
    signature: str
    date: str
    scope: str
    payload_hash: str


@dataclass(frozen=True, slots=True)
class _Claim:
    """The parts of an authorization, from the header or from the query."""

    access_key: str
    scope: tuple[str, str, str, str]
    signed_headers: list[str]
    signature: str
    date: str
    token: str
    expires_s: int | None


class Verifier:
    """Checks signatures against the identities.

    Attributes:
        clock_offset_s: How far the server's clock runs ahead of the machine's, for tests of skew.
    """

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self.clock_offset_s = 0.0

    def verify(self, request: Request, service: str) -> Caller:
        """Return who signed the request.

        Args:
            request: The request.
            service: The service it is for: `s3`, `lambda` or `sts`.

        Raises:
            AwsError: In the words of the service, whatever is wrong with the signature.
        """
        claim = _read_claim(request, service)
        credential = self._credential(claim, service)
        self._check_time(claim, service)
        date, region, scope_service, terminal = claim.scope
        if scope_service != service or terminal != "aws4_request" or date != claim.date[:8]:
            raise auth_error(service, "scope")
        _check_signed_headers(request, claim, service)
        payload_hash = request.header("x-amz-content-sha256")
        if service == "s3" and not payload_hash:
            if claim.expires_s is None:
                raise auth_error(service, "no-payload-hash")
            payload_hash = UNSIGNED
        signing_key = _signing_key(credential.secret_key, date, region, service)
        expected = _signature(
            request,
            claim,
            payload_hash if service == "s3" else hashlib.sha256(request.body).hexdigest(),
            signing_key,
            service,
        )
        if not hmac.compare_digest(expected, claim.signature):
            raise auth_error(service, "signature", AWSAccessKeyId=claim.access_key)
        if claim.token != credential.session_token:
            raise auth_error(service, "token")
        if credential.expires_at is not None and time.time() >= credential.expires_at:
            raise auth_error(service, "expired-token")
        return Caller(
            credential.identity,
            region,
            signing_key,
            claim.signature,
            claim.date,
            "/".join(claim.scope),
            payload_hash,
        )

    def _credential(self, claim: _Claim, service: str) -> Credential:
        credential = self._identities.by_key.get(claim.access_key)
        if credential is None:
            raise auth_error(service, "unknown-key", AWSAccessKeyId=claim.access_key)
        return credential

    def _check_time(self, claim: _Claim, service: str) -> None:
        now = time.time() + self.clock_offset_s
        signed_at = _unix_time(claim.date)
        if claim.expires_s is None:
            if abs(now - signed_at) > CLOCK_SKEW_MAX_S:
                raise auth_error(service, "skew", RequestTime=claim.date)
        elif now > signed_at + claim.expires_s:
            raise auth_error(service, "presign-expired")
        elif signed_at > now + CLOCK_SKEW_MAX_S:
            raise auth_error(service, "presign-early")


def _read_claim(request: Request, service: str) -> _Claim:
    authorization = request.header("authorization")
    if authorization:
        return _header_claim(request, authorization, service)
    if request.query.get("X-Amz-Algorithm") == ALGORITHM:
        return _query_claim(request, service)
    raise auth_error(service, "anonymous")


def _header_claim(request: Request, authorization: str, service: str) -> _Claim:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        raise auth_error(service, "algorithm")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    date = request.header("x-amz-date")
    try:
        access_key, *scope = parts["Credential"].split("/")
        day, region, name, terminal = scope
        signed_headers, signature = parts["SignedHeaders"].split(";"), parts["Signature"]
    except (KeyError, ValueError):
        raise auth_error(service, "malformed") from None
    if not _DATE.fullmatch(date):
        raise auth_error(service, "no-date")
    token = request.header("x-amz-security-token")
    scope_parts = (day, region, name, terminal)
    return _Claim(access_key, scope_parts, signed_headers, signature, date, token, None)


def _query_claim(request: Request, service: str) -> _Claim:
    query = request.query
    try:
        access_key, *scope = query["X-Amz-Credential"].split("/")
        day, region, name, terminal = scope
        date, signature = query["X-Amz-Date"], query["X-Amz-Signature"]
        signed_headers = query["X-Amz-SignedHeaders"].split(";")
        expires_s = int(query["X-Amz-Expires"])
    except (KeyError, ValueError):
        raise auth_error(service, "query-malformed") from None
    if not 0 < expires_s <= PRESIGN_MAX_S or not _DATE.fullmatch(date):
        raise auth_error(service, "query-malformed")
    token = query.get("X-Amz-Security-Token", "")
    scope_parts = (day, region, name, terminal)
    return _Claim(access_key, scope_parts, signed_headers, signature, date, token, expires_s)


def _check_signed_headers(request: Request, claim: _Claim, service: str) -> None:
    """Refuse a request whose Host or `x-amz-*` headers were not signed."""
    signed = set(claim.signed_headers)
    missing = [
        name
        for name in request.headers
        if name not in signed and (name == "host" or name.startswith("x-amz-"))
    ]
    if missing:
        raise auth_error(service, "unsigned-headers", HeadersNotSigned=", ".join(sorted(missing)))


def _signature(
    request: Request, claim: _Claim, payload_hash: str, signing_key: bytes, service: str
) -> str:
    canonical = "\n".join(
        (
            request.method,
            _canonical_path(request, service),
            _canonical_query(request.query_pairs),
            *[f"{name}:{_trim(request.header(name))}" for name in claim.signed_headers],
            "",
            ";".join(claim.signed_headers),
            payload_hash,
        )
    )
    digest = hashlib.sha256(canonical.encode("latin-1", "replace")).hexdigest()
    to_sign = f"{ALGORITHM}\n{claim.date}\n{'/'.join(claim.scope)}\n{digest}"
    return hmac_hex(signing_key, to_sign)


def _canonical_path(request: Request, service: str) -> str:
    if service == "s3":
        return quote(request.path, safe="/" + _UNRESERVED)
    segments: list[str] = []
    for segment in request.raw_path.split("/"):
        if segment == "..":
            if segments:
                segments.pop()
        elif segment and segment != ".":
            segments.append(segment)
    path = "/" + "/".join(segments)
    if request.raw_path.endswith("/") and path != "/":
        path += "/"
    return quote(path, safe="/" + _UNRESERVED)


def _canonical_query(pairs: list[tuple[str, str]]) -> str:
    if not pairs:
        return ""
    encoded = sorted(
        (quote(name, safe=_UNRESERVED), quote(value, safe=_UNRESERVED))
        for name, value in pairs
        if name != "X-Amz-Signature"
    )
    return "&".join([f"{name}={value}" for name, value in encoded])


def _trim(value: str) -> str:
    return _SPACES.sub(" ", value) if "  " in value else value


def hmac_hex(key: bytes, text: str) -> str:
    """Return an HMAC-SHA256 in hexadecimal.

    Args:
        key: The key.
        text: What is authenticated.
    """
    return hmac.digest(key, text.encode(), "sha256").hex()


@lru_cache(maxsize=256)
def _signing_key(secret_key: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for text in (date, region, service, "aws4_request"):
        key = hmac.digest(key, text.encode(), "sha256")
    return key


@lru_cache(maxsize=256)
def _unix_time(date: str) -> float:
    return calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
