"""The digests a client may send with a body, and their verification."""

import base64
import hashlib
import zlib
from collections.abc import Callable
from functools import cache

from .messages import AwsError

Digest = Callable[[bytes], bytes]

_CRC32C_POLYNOMIAL = 0x82F63B78
"""Castagnoli's polynomial, bit-reversed (RFC 3720, B.4)."""
_CRC64NVME_POLYNOMIAL = 0x9A6C9329AC4BC9B5
"""The NVMe polynomial, bit-reversed."""


def _crc32(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")


def _crc32c(data: bytes) -> bytes:
    return _crc(data, _CRC32C_POLYNOMIAL, 32).to_bytes(4, "big")


def _crc64nvme(data: bytes) -> bytes:
    return _crc(data, _CRC64NVME_POLYNOMIAL, 64).to_bytes(8, "big")


def _crc(data: bytes, polynomial: int, bits: int) -> int:
    """Compute a reflected CRC, byte by byte: some 10 MB/s, enough for what tests send."""
    table = _crc_table(polynomial)
    mask = (1 << bits) - 1
    value = mask
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ mask


@cache
def _crc_table(polynomial: int) -> list[int]:
    table: list[int] = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        table.append(value)
    return table


ALGORITHMS: dict[str, Digest] = {
    "crc32": _crc32,
    "crc32c": _crc32c,
    "crc64nvme": _crc64nvme,
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
}
"""By the suffix of their header `x-amz-checksum-…`."""


def digest_base64(algorithm: str, data: bytes) -> str:
    """Return a digest as the headers carry it.

    Args:
        algorithm: A key of `ALGORITHMS`.
        data: What is digested.
    """
    return base64.b64encode(ALGORITHMS[algorithm](data)).decode()


def composite_base64(algorithm: str, parts: list[bytes]) -> str:
    """Return the checksum of checksums of a multipart object, `…-N`.

    Args:
        algorithm: A key of `ALGORITHMS`.
        parts: The parts' bodies.
    """
    digest = ALGORITHMS[algorithm]
    joined = b"".join([digest(part) for part in parts])
    return f"{digest_base64(algorithm, joined)}-{len(parts)}"


def verify_body(headers: dict[str, str], body: bytes) -> tuple[str, str] | None:
    """Check whatever digests came with a body.

    Args:
        headers: The request's headers, with the trailers of its body.
        body: The decoded body.

    Returns:
        The algorithm and value of its `x-amz-checksum-…`, or None.

    Raises:
        AwsError: BadDigest or InvalidDigest, or InvalidRequest for several checksums.
    """
    md5 = headers.get("content-md5")
    if md5 is not None:
        _check_md5(md5, body)
    found: tuple[str, str] | None = None
    for name, value in headers.items():
        if name.startswith("x-amz-checksum-"):
            algorithm = name[15:]
            if algorithm not in ALGORITHMS:
                continue  # x-amz-checksum-type, -mode and -algorithm
            if found is not None:
                raise AwsError(
                    400, "InvalidRequest", "Expecting a single x-amz-checksum- header. "
                    "Multiple checksum Types are not allowed.",
                )  # fmt: skip
            if digest_base64(algorithm, body) != value:
                raise AwsError(
                    400, "BadDigest", f"The {algorithm.upper()} you specified did not match "
                    "the calculated checksum.",
                )  # fmt: skip
            found = (algorithm, value)
    return found


def _check_md5(value: str, body: bytes) -> None:
    try:
        digest = base64.b64decode(value, validate=True)
    except ValueError:
        digest = b""
    if len(digest) != 16:
        raise AwsError(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
    if digest != hashlib.md5(body, usedforsecurity=False).digest():
        raise AwsError(
            400, "BadDigest", "The Content-MD5 you specified did not match what we received."
        )
