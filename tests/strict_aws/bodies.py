"""S3 request bodies: their declared hash, and the `aws-chunked` coding with its trailers."""

import hashlib
import hmac

from .messages import AwsError, Request
from .sigv4 import EMPTY_SHA256, UNSIGNED, Caller, hmac_hex
from .sigv4_errors import auth_error

_STREAMING = "STREAMING-"
_SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
_SIGNED_CHUNKS_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def decode_body(request: Request, caller: Caller) -> None:
    """Check the body against its declared hash and undo `aws-chunked`, in place.

    Trailers become headers of the request, as S3 treats them.

    Args:
        request: The request, whose body and headers are replaced.
        caller: Its verified signature.

    Raises:
        AwsError: Whatever is wrong with the body.
    """
    declared = caller.payload_hash
    if declared.startswith(_STREAMING):
        if declared not in (_SIGNED_CHUNKS, _SIGNED_CHUNKS_TRAILER, _UNSIGNED_TRAILER):
            raise AwsError(400, "InvalidRequest", f"unknown payload hash {declared}")
        _Chunks(request, caller).decode()
    elif "aws-chunked" in request.header("content-encoding"):
        raise AwsError(400, "InvalidRequest", "aws-chunked needs a streaming x-amz-content-sha256")
    elif declared != UNSIGNED:
        body = request.body
        actual = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        if declared != actual:
            raise AwsError(
                400,
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
                {
                    "ClientComputedContentSHA256": declared,
                    "S3ComputedContentSHA256": actual,
                },
            )


class _Chunks:
    """The decoder of one `aws-chunked` body."""

    def __init__(self, request: Request, caller: Caller) -> None:
        self._request = request
        self._caller = caller
        self._is_signed = caller.payload_hash != _UNSIGNED_TRAILER
        self._has_trailer = caller.payload_hash != _SIGNED_CHUNKS
        self._previous = caller.signature

    def decode(self) -> None:
        """Replace the request's body by its decoded form and add its trailers as headers."""
        data = self._request.body
        parts: list[bytes] = []
        at = 0
        while True:
            size, extension, at = _chunk_head(data, at)
            chunk = data[at : at + size]
            if len(chunk) < size:
                raise _incomplete()
            if self._is_signed:
                self._check_chunk(chunk, extension.removeprefix("chunk-signature="))
            at += size
            if size == 0:
                break
            if data[at : at + 2] != b"\r\n":
                raise _incomplete()
            at += 2
            parts.append(chunk)
        body = b"".join(parts)
        declared = self._request.header("x-amz-decoded-content-length")
        if not declared:
            raise AwsError(
                411, "MissingContentLength", "You must provide the Content-Length HTTP header."
            )
        if int(declared) != len(body):
            raise _incomplete()
        if self._has_trailer:
            self._read_trailers(data[at:])
        self._request.body = body

    def _check_chunk(self, chunk: bytes, signature: str) -> None:
        caller = self._caller
        to_sign = (
            f"AWS4-HMAC-SHA256-PAYLOAD\n{caller.date}\n{caller.scope}\n{self._previous}\n"
            f"{EMPTY_SHA256}\n{hashlib.sha256(chunk).hexdigest()}"
        )
        self._previous = self._match(to_sign, signature)

    def _read_trailers(self, data: bytes) -> None:
        trailers: dict[str, str] = {}
        signature = ""
        canonical = ""
        for line in data.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            if name == "x-amz-trailer-signature":
                signature = value.strip()
            elif name:
                trailers[name.lower()] = value.strip()
                canonical += f"{name.lower()}:{value.strip()}\n"
        announced = self._request.header("x-amz-trailer").lower().split(",")
        if set(trailers) != {name.strip() for name in announced if name}:
            raise AwsError(
                400, "MalformedTrailerError", "The request contained trailing data that was not "
                "well-formed or did not conform to our published schema.",
            )  # fmt: skip
        if self._is_signed:
            caller = self._caller
            to_sign = (
                f"AWS4-HMAC-SHA256-TRAILER\n{caller.date}\n{caller.scope}\n{self._previous}\n"
                f"{hashlib.sha256(canonical.encode()).hexdigest()}"
            )
            self._match(to_sign, signature)
        self._request.headers.update(trailers)

    def _match(self, to_sign: str, signature: str) -> str:
        expected = hmac_hex(self._caller.signing_key, to_sign)
        if not hmac.compare_digest(expected, signature):
            raise auth_error("s3", "signature")
        return expected


def _chunk_head(data: bytes, at: int) -> tuple[int, str, int]:
    """Return a chunk's size, its extension, and where its data begins."""
    line_end = data.find(b"\r\n", at)
    if line_end < 0:
        raise _incomplete()
    size_text, _, extension = data[at:line_end].partition(b";")
    try:
        size = int(size_text, 16)
    except ValueError:
        raise AwsError(400, "InvalidRequest", "malformed chunk header") from None
    return size, extension.decode("latin-1"), line_end + 2


def _incomplete() -> AwsError:
    return AwsError(
        400,
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header.",
    )
