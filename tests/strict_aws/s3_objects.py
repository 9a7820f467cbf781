"""Operations upon objects: put, get, head, delete."""

import re
from xml.sax.saxutils import escape

from .checksums import verify_body
from .limits import DELETE_OBJECTS_MAX_KEYS, METADATA_MAX_BYTES, PUT_MAX_BYTES
from .messages import AwsError, Response
from .s3_call import S3Call, malformed_xml, parse_xml, xml_response
from .s3_model import Bucket, StoredObject, md5_hex

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CONTENT_HEADERS = (
    "content-type",
    "content-encoding",
    "content-disposition",
    "content-language",
    "cache-control",
    "expires",
)
_ENCRYPTION = {"x-amz-server-side-encryption": "AES256"}
"""S3 encrypts every object since January 2023 and says so."""


def put_object(call: S3Call, bucket: Bucket) -> Response:
    """Store an object.

    Args:
        call: The call.
        bucket: The bucket.
    """
    call.require("s3:PutObject", f"{bucket.arn}/{call.key}")
    body = call.request.body
    if len(body) > PUT_MAX_BYTES:
        raise AwsError(
            400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size"
        )
    checksum = verify_body(call.request.headers, body)
    check_write_conditions(call, bucket)
    stored = StoredObject(
        call.key, body, md5_hex(body), stored_headers(call.request.headers), checksum
    )
    bucket.put(stored)
    headers = {"ETag": f'"{stored.etag}"', **_ENCRYPTION}
    if checksum is not None:
        headers[f"x-amz-checksum-{checksum[0]}"] = checksum[1]
        headers["x-amz-checksum-type"] = "FULL_OBJECT"
    return Response(200, headers)


def get_object(call: S3Call, bucket: Bucket) -> Response:
    """Return an object, or the range asked for, or for HEAD only what is known of it.

    Args:
        call: The call.
        bucket: The bucket.
    """
    call.require("s3:GetObject", f"{bucket.arn}/{call.key}")
    stored = call.existing(bucket)
    refused = _read_condition(call, stored)
    if refused is not None:
        return refused
    size = len(stored.body)
    span = _range(call.request.header("range"), size)
    is_head = call.request.method == "HEAD"
    if span is None:
        wants_checksum = call.request.header("x-amz-checksum-mode").upper() == "ENABLED"
        headers = stored.response_headers(wants_checksum) | _ENCRYPTION
        return Response(200, headers, b"" if is_head else stored.body, length=size)
    start, stop = span
    headers = stored.response_headers(False) | _ENCRYPTION
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    body = b"" if is_head else stored.body[start:stop]
    return Response(206, headers, body, length=stop - start)


def delete_object(call: S3Call, bucket: Bucket) -> Response:
    """Remove an object; a missing one is no error.

    Args:
        call: The call.
        bucket: The bucket.
    """
    call.require("s3:DeleteObject", f"{bucket.arn}/{call.key}")
    bucket.delete(call.key)
    return Response(204)


def delete_objects(call: S3Call, bucket: Bucket) -> Response:
    """Remove up to 1,000 objects, answering for each.

    Args:
        call: The call.
        bucket: The bucket.
    """
    request = call.request
    checksum = verify_body(request.headers, request.body)
    if checksum is None and "content-md5" not in request.headers:
        raise AwsError(
            400, "InvalidRequest", "Missing required header for this request: Content-MD5"
        )
    tree = parse_xml(request.body, "Delete")
    keys = [element.findtext("Key") or "" for element in tree.findall("Object")]
    if not 0 < len(keys) <= DELETE_OBJECTS_MAX_KEYS or "" in keys:
        raise malformed_xml()
    is_quiet = tree.findtext("Quiet") == "true"
    lines: list[str] = []
    for key in keys:
        if not call.identity.may("s3:DeleteObject", f"{bucket.arn}/{key}"):
            lines.append(
                f"<Error><Key>{escape(key)}</Key><Code>AccessDenied</Code>"
                "<Message>Access Denied</Message></Error>"
            )
            continue
        bucket.delete(key)
        if not is_quiet:
            lines.append(f"<Deleted><Key>{escape(key)}</Key></Deleted>")
    return xml_response("DeleteResult", "".join(lines))


def check_write_conditions(call: S3Call, bucket: Bucket) -> None:
    """Refuse a conditional write whose condition does not hold.

    Args:
        call: A PutObject or CompleteMultipartUpload.
        bucket: The bucket.

    Raises:
        AwsError: PreconditionFailed, NoSuchKey or NotImplemented.
    """
    none_match = call.request.header("if-none-match")
    match = call.request.header("if-match")
    if not none_match and not match:
        return
    if (none_match and match) or none_match not in ("", "*"):
        raise AwsError(
            501, "NotImplemented",
            "A header you provided implies functionality that is not implemented",
            {"Header": "If-None-Match"},
        )  # fmt: skip
    stored = bucket.objects.get(call.key)
    if none_match:
        if stored is not None:
            raise precondition_failed("If-None-Match")
        return
    call.require("s3:GetObject", f"{bucket.arn}/{call.key}")
    if stored is None:
        raise AwsError(404, "NoSuchKey", "The specified key does not exist.", {"Key": call.key})
    if not _matches(match, stored):
        raise precondition_failed("If-Match")


def stored_headers(headers: dict[str, str]) -> dict[str, str]:
    """Return what S3 keeps of a request's headers: content headers and user metadata.

    Args:
        headers: The request's headers.

    Raises:
        AwsError: MetadataTooLarge.
    """
    kept = {name: headers[name] for name in _CONTENT_HEADERS if name in headers}
    if "content-encoding" in kept:
        codings = [coding.strip() for coding in kept["content-encoding"].split(",")]
        kept["content-encoding"] = ",".join([name for name in codings if name != "aws-chunked"])
        if not kept["content-encoding"]:
            del kept["content-encoding"]
    metadata = {name: value for name, value in headers.items() if name.startswith("x-amz-meta-")}
    if sum(len(name) - 11 + len(value) for name, value in metadata.items()) > METADATA_MAX_BYTES:
        raise AwsError(
            400, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed size"
        )
    return kept | metadata


def precondition_failed(condition: str) -> AwsError:
    """Return the 412.

    Args:
        condition: The header that did not hold.
    """
    return AwsError(
        412,
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
        {"Condition": condition},
    )


def _matches(header: str, stored: StoredObject) -> bool:
    tags = [tag.strip().strip('"') for tag in header.split(",")]
    return "*" in tags or stored.etag in tags


def _read_condition(call: S3Call, stored: StoredObject) -> Response | None:
    match = call.request.header("if-match")
    if match and not _matches(match, stored):
        raise precondition_failed("If-Match")
    none_match = call.request.header("if-none-match")
    if none_match and _matches(none_match, stored):
        return Response(304, {"ETag": f'"{stored.etag}"'})
    return None


def _range(header: str, size: int) -> tuple[int, int] | None:
    """Return start and stop of the range asked for; None where S3 answers with the whole object."""
    found = _RANGE.fullmatch(header) if header else None
    if found is None or (not found[1] and not found[2]):
        return None
    if found[1]:
        start = int(found[1])
        stop = min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    else:
        start, stop = max(size - int(found[2]), 0), size
    if start >= stop:
        raise AwsError(
            416, "InvalidRange", "The requested range is not satisfiable",
            {"RangeRequested": header, "ActualObjectSize": str(size)},
        )  # fmt: skip
    return start, stop
