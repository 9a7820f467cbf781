"""Bodies in the `aws-chunked` coding, made by hand: boto3 uses it over TLS only."""

import base64
import hashlib
import hmac
import zlib

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.strict_aws import StrictAws

CHUNK_BYTES = 8192


class _PresetHash(S3SigV4Auth):  # type: ignore[misc]
    """Signs with the payload hash that the request's header already names."""

    def payload(self, request: AWSRequest) -> str:
        return str(request.context["payload_hash"])


def _sign(aws: StrictAws, path: str, payload_hash: str, size: int, trailer: str = "") -> AWSRequest:
    headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(size)}
    if trailer:
        headers["x-amz-trailer"] = trailer
    request = AWSRequest("PUT", aws.endpoint_url + path, headers=headers)
    request.context["payload_hash"] = payload_hash
    auth = _PresetHash(Credentials(aws.admin.access_key, aws.admin.secret_key), "s3", aws.region)
    auth.add_auth(request)
    return request


def unsigned_chunks(
    aws: StrictAws, path: str, body: bytes, algorithm: str, declared: int | None = None
) -> tuple[str, dict[str, str], bytes]:
    """Return path, headers and data of a body with an unsigned trailer (CRC32 only)."""
    name = f"x-amz-checksum-{algorithm}"
    size = len(body) if declared is None else declared
    request = _sign(aws, path, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", size, name)
    digest = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    data = b"%x\r\n%s\r\n0\r\n%s:%s\r\n\r\n" % (len(body), body, name.encode(), digest.encode())
    return path, dict(request.headers.items()), data


def signed_chunks(
    aws: StrictAws, path: str, body: bytes, has_trailer: bool
) -> tuple[str, dict[str, str], bytes]:
    """Return path, headers and data of a body in signed chunks."""
    name = "x-amz-checksum-sha256"
    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + ("-TRAILER" if has_trailer else "")
    request = _sign(aws, path, kind, len(body), name if has_trailer else "")
    previous = request.headers["Authorization"].rpartition("=")[2]
    date = request.headers["X-Amz-Date"]
    scope = f"{date[:8]}/{aws.region}/s3/aws4_request"
    key = f"AWS4{aws.admin.secret_key}".encode()
    for text in scope.split("/"):
        key = hmac.digest(key, text.encode(), "sha256")

    def sign(label: str, *hashes: str) -> str:
        text = "\n".join([f"AWS4-HMAC-SHA256-{label}", date, scope, previous, *hashes])
        return hmac.digest(key, text.encode(), "sha256").hex()

    empty = hashlib.sha256(b"").hexdigest()
    data = b""
    for start in [*range(0, len(body), CHUNK_BYTES), len(body)]:
        chunk = body[start : start + CHUNK_BYTES]
        previous = sign("PAYLOAD", empty, hashlib.sha256(chunk).hexdigest())
        data += b"%x;chunk-signature=%s\r\n" % (len(chunk), previous.encode())
        data += chunk + b"\r\n" if chunk else b""
    if has_trailer:
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        hashed = hashlib.sha256(f"{name}:{digest}\n".encode()).hexdigest()
        data += f"{name}:{digest}\r\nx-amz-trailer-signature:{sign('TRAILER', hashed)}\r\n".encode()
    return path, dict(request.headers.items()), data + b"\r\n"
