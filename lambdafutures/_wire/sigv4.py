"""AWS Signature Version 4, for the few requests that go out without botocore.

The worker signs its S3 requests with it (importing botocore would cost more than most calls), the
client its hottest ones. Tests hold every output against botocore's signers, byte for byte.

Paths and queries are given as they go onto the wire: percent-encoded once, by `encode`. S3 signs
that path as it is; every other service signs it normalised and encoded once more.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer

# What SigV4 signs in place of a body's hash where TLS already protects the body; S3 only.
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = sha256(b"").hexdigest()

# Headers that proxies and SDKs may change under way; the list is that of botocore's signer.
_UNSIGNED_HEADERS = frozenset(
    {
        "baggage",
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amzn-trace-id",
    }
)
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"
_ENCODED = [chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in range(256)]


class Credentials:
    """Hold an access key; its text shows nothing of it.

    Args:
        access_key: The access key's id.
        secret: The secret access key.
        session_token: The session token of temporary credentials, else empty.
    """

    __slots__ = ("access_key", "secret", "session_token")

    def __init__(self, access_key: str, secret: str, session_token: str = "") -> None:
        self.access_key = access_key
        self.secret = secret
        self.session_token = session_token

    def __repr__(self) -> str:
        return "Credentials(...)"


class Signer:
    """Sign requests to one service in one region. Safe to share between threads.

    Args:
        service: Its signing name, such as ``"s3"``.
        region: The region.
    """

    def __init__(self, service: str, region: str) -> None:
        self._service = service
        self._region = region
        self._is_s3 = service == "s3"
        # The key of the day with what it was derived from: replaced as a whole, so that threads
        # never see half of a change.
        self._derived = ("", "", b"")

    def sign(
        self,
        method: str,
        host: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        payload_hash: str,
        credentials: Credentials,
        now_s: float,
    ) -> dict[str, str]:
        """Return the headers to send: those given and what the signature adds.

        Args:
            method: HTTP method, in capitals.
            host: The host header's value, with the port unless it is the scheme's own.
            path: Path of the URL as it is sent, encoded once.
            query: Query of the URL as it is sent, encoded once, without the question mark.
            headers: Headers that are sent as well; all but the hop-by-hop ones are signed.
            payload_hash: SHA-256 of the body in hexadecimal, or `UNSIGNED_PAYLOAD`.
            credentials: Whose key signs.
            now_s: Unix time.
        """
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
        sent = {**headers, "Host": host, "X-Amz-Date": stamp}
        if self._is_s3 or payload_hash == UNSIGNED_PAYLOAD:
            sent["X-Amz-Content-SHA256"] = payload_hash
        if credentials.session_token:
            sent["X-Amz-Security-Token"] = credentials.session_token
        canonical = sorted(
            (lower, " ".join(value.split()))
            for name, value in sent.items()
            if (lower := name.lower()) not in _UNSIGNED_HEADERS
        )
        names = ";".join([name for name, _ in canonical])
        lines = "".join([f"{name}:{value}\n" for name, value in canonical])
        request = (
            f"{method}\n{path if self._is_s3 else _normalised(path)}\n{_canonical_query(query)}\n"
            f"{lines}\n{names}\n{payload_hash}"
        )
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(request.encode()).hexdigest()}"
        signature = _hmac(self._key(credentials.secret, stamp[:8]), text).hex()
        sent["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return sent

    def _key(self, secret: str, date: str) -> bytes:
        """Return the key of the day, derived once for as long as secret and day stay."""
        known_secret, known_date, key = self._derived
        if known_secret != secret or known_date != date:
            key = _hmac(f"AWS4{secret}".encode(), date)
            for part in (self._region, self._service, "aws4_request"):
                key = _hmac(key, part)
            self._derived = (secret, date, key)
        return key


def encode(text: str, safe: bytes = b"") -> str:
    """Percent-encode text as SigV4 wants it: UTF-8, all but the unreserved characters.

    Args:
        text: What to encode.
        safe: ASCII characters to leave as they are; ``b"/"`` for a key in a path.
    """
    raw = text.encode()
    if not raw.translate(None, _UNRESERVED + safe):
        return text
    return "".join([chr(byte) if byte in safe else _ENCODED[byte] for byte in raw])


def encode_query(pairs: Sequence[tuple[str, str]]) -> str:
    """Return the query of a URL, encoded once.

    Args:
        pairs: Names and values, in the order in which they are sent; names may repeat.
    """
    return "&".join([f"{encode(name)}={encode(value)}" for name, value in pairs])


def payload_sha256(body: Buffer) -> str:
    """Return a body's SHA-256 in hexadecimal.

    Args:
        body: The body.
    """
    return sha256(body).hexdigest()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    # Sorted as pairs, not as text: "a=1" comes before "a-b=1", though "-" is less than "=".
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&"))
    return "&".join([f"{name}={value}" for name, value in pairs])


def _normalised(path: str) -> str:
    """Return the path without empty and dot segments (RFC 3986, 5.2.4), encoded once more."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    end = "/" if kept and path.endswith("/") else ""
    return encode("/" + "/".join(kept) + end, b"/")
