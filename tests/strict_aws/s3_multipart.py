"""Multipart uploads: create, part, complete, abort, and their two listings."""

import hashlib
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from .checksums import ALGORITHMS, composite_base64, digest_base64, verify_body
from .limits import PART_MAX_NUMBER, PART_MIN_BYTES, PUT_MAX_BYTES
from .messages import AwsError, Response
from .s3_call import S3Call, malformed_xml, parse_xml, xml_response
from .s3_model import Bucket, Part, StoredObject, Upload, iso_time, md5_hex
from .s3_objects import check_write_conditions, stored_headers

_OWNER = "<ID>owner</ID><DisplayName>owner</DisplayName>"


def create_upload(call: S3Call, bucket: Bucket) -> Response:
    """Begin an upload.

    Args:
        call: The call.
        bucket: The bucket.
    """
    call.require("s3:PutObject", f"{bucket.arn}/{call.key}")
    headers = call.request.headers
    algorithm = headers.get("x-amz-checksum-algorithm", "").lower()
    if algorithm and algorithm not in ALGORITHMS:
        raise AwsError(400, "InvalidRequest", "Checksum algorithm provided is unsupported.")
    default = "FULL_OBJECT" if algorithm == "crc64nvme" else "COMPOSITE"
    checksum_type = headers.get("x-amz-checksum-type", default)
    upload = bucket.start_upload(call.key, stored_headers(headers), algorithm, checksum_type)
    more = {}
    if algorithm:
        more = {"x-amz-checksum-algorithm": algorithm.upper(), "x-amz-checksum-type": checksum_type}
    return xml_response(
        "InitiateMultipartUploadResult",
        f"<Bucket>{bucket.name}</Bucket><Key>{escape(call.key)}</Key>"
        f"<UploadId>{upload.upload_id}</UploadId>",
        more,
    )


def upload_part(call: S3Call, bucket: Bucket) -> Response:
    """Store one part, replacing one of the same number.

    Args:
        call: The call.
        bucket: The bucket.
    """
    call.require("s3:PutObject", f"{bucket.arn}/{call.key}")
    number = call.int_query("partNumber", 0, 1, PART_MAX_NUMBER)
    if not number:
        raise AwsError(400, "InvalidArgument", "This operation needs a partNumber.")
    upload = _upload(call, bucket)
    body = call.request.body
    if len(body) > PUT_MAX_BYTES:
        raise AwsError(
            400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size"
        )
    checksum = verify_body(call.request.headers, body)
    if checksum is not None and upload.algorithm and checksum[0] != upload.algorithm:
        raise AwsError(
            400,
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {upload.algorithm}, "
            f"actual checksum Type: {checksum[0]}",
        )
    part = Part(number, body, md5_hex(body), checksum)
    upload.parts[number] = part
    headers = {"ETag": f'"{part.etag}"'}
    if checksum is not None:
        headers[f"x-amz-checksum-{checksum[0]}"] = checksum[1]
    return Response(200, headers)


def complete_upload(call: S3Call, bucket: Bucket) -> Response:
    """Make the object of the parts that the client lists.

    Args:
        call: The call.
        bucket: The bucket.
    """
    call.require("s3:PutObject", f"{bucket.arn}/{call.key}")
    upload = _upload(call, bucket)
    parts = _listed_parts(parse_xml(call.request.body, "CompleteMultipartUpload"), upload)
    for part in parts[:-1]:
        if len(part.body) < PART_MIN_BYTES:
            raise AwsError(
                400,
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
                {
                    "ProposedSize": str(len(part.body)),
                    "MinSizeAllowed": str(PART_MIN_BYTES),
                    "PartNumber": str(part.number),
                    "ETag": part.etag,
                },
            )
    check_write_conditions(call, bucket)
    bodies = [part.body for part in parts]
    body = b"".join(bodies)
    digests = b"".join([bytes.fromhex(part.etag) for part in parts])
    etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
    stored = StoredObject(call.key, body, etag, upload.headers)
    checksum_xml = ""
    if upload.algorithm:
        if upload.checksum_type == "FULL_OBJECT":
            value = digest_base64(upload.algorithm, body)
        else:
            value = composite_base64(upload.algorithm, bodies)
        stored.checksum = (upload.algorithm, value)
        stored.checksum_type = upload.checksum_type
        name = f"Checksum{upload.algorithm.upper()}"
        checksum_xml = (
            f"<{name}>{value}</{name}><ChecksumType>{upload.checksum_type}</ChecksumType>"
        )
    bucket.put(stored)
    del bucket.uploads[upload.upload_id]
    return xml_response(
        "CompleteMultipartUploadResult",
        f"<Location>/{bucket.name}/{escape(call.key)}</Location><Bucket>{bucket.name}</Bucket>"
        f"<Key>{escape(call.key)}</Key><ETag>&quot;{etag}&quot;</ETag>{checksum_xml}",
    )


def abort_upload(call: S3Call, bucket: Bucket) -> Response:
    """Drop an upload and its parts.

    Args:
        call: The call.
        bucket: The bucket.
    """
    call.require("s3:AbortMultipartUpload", f"{bucket.arn}/{call.key}")
    del bucket.uploads[_upload(call, bucket).upload_id]
    return Response(204)


def list_uploads(call: S3Call, bucket: Bucket) -> Response:
    """List the unfinished uploads of a bucket.

    Args:
        call: The call.
        bucket: The bucket.
    """
    call.require("s3:ListBucketMultipartUploads", bucket.arn)
    query = call.request.query
    most = call.int_query("max-uploads", 1000, 0, 1000)
    marker = (query.get("key-marker", ""), query.get("upload-id-marker", ""))
    prefix = query.get("prefix", "")
    found = sorted(
        (upload for upload in bucket.uploads.values() if upload.key.startswith(prefix)),
        key=lambda upload: (upload.key, upload.upload_id),
    )
    if marker[0]:
        # Without an upload id the marker stands behind all uploads of its key.
        behind = marker if marker[1] else (marker[0], "\U0010ffff")
        found = [upload for upload in found if (upload.key, upload.upload_id) > behind]
    page = found[:most]
    is_truncated = len(found) > len(page)
    lines = [
        f"<Bucket>{bucket.name}</Bucket><MaxUploads>{most}</MaxUploads>"
        f"<IsTruncated>{str(is_truncated).lower()}</IsTruncated>"
    ]
    if is_truncated and page:
        lines.append(
            f"<NextKeyMarker>{escape(page[-1].key)}</NextKeyMarker>"
            f"<NextUploadIdMarker>{page[-1].upload_id}</NextUploadIdMarker>"
        )
    lines.extend(
        f"<Upload><Key>{escape(upload.key)}</Key><UploadId>{upload.upload_id}</UploadId>"
        f"<Initiator>{_OWNER}</Initiator><Owner>{_OWNER}</Owner>"
        "<StorageClass>STANDARD</StorageClass>"
        f"<Initiated>{iso_time(upload.started_at)}</Initiated></Upload>"
        for upload in page
    )
    return xml_response("ListMultipartUploadsResult", "".join(lines))


def list_parts(call: S3Call, bucket: Bucket) -> Response:
    """List the parts of an upload.

    Args:
        call: The call.
        bucket: The bucket.
    """
    call.require("s3:ListMultipartUploadParts", f"{bucket.arn}/{call.key}")
    upload = _upload(call, bucket)
    most = call.int_query("max-parts", 1000, 0, 1000)
    after = call.int_query("part-number-marker", 0, 0, PART_MAX_NUMBER)
    found = [upload.parts[number] for number in sorted(upload.parts) if number > after]
    page = found[:most]
    is_truncated = len(found) > len(page)
    lines = [
        f"<Bucket>{bucket.name}</Bucket><Key>{escape(upload.key)}</Key>"
        f"<UploadId>{upload.upload_id}</UploadId><PartNumberMarker>{after}</PartNumberMarker>"
        f"<MaxParts>{most}</MaxParts><IsTruncated>{str(is_truncated).lower()}</IsTruncated>"
        f"<NextPartNumberMarker>{page[-1].number if page else 0}</NextPartNumberMarker>"
    ]
    lines.extend(
        f"<Part><PartNumber>{part.number}</PartNumber>"
        f"<LastModified>{iso_time(part.modified_at)}</LastModified>"
        f"<ETag>&quot;{part.etag}&quot;</ETag><Size>{len(part.body)}</Size></Part>"
        for part in page
    )
    return xml_response("ListPartsResult", "".join(lines))


def _upload(call: S3Call, bucket: Bucket) -> Upload:
    upload = bucket.uploads.get(call.request.query["uploadId"])
    if upload is None or upload.key != call.key:
        raise AwsError(
            404,
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the upload may "
            "have been aborted or completed.",
            {"UploadId": call.request.query["uploadId"]},
        )
    return upload


def _listed_parts(tree: ElementTree.Element, upload: Upload) -> list[Part]:
    """Return the parts the client lists, checked against those that arrived."""
    parts: list[Part] = []
    for element in tree.findall("Part"):
        number_text = element.findtext("PartNumber") or ""
        if not number_text.isdigit():
            raise malformed_xml()
        number = int(number_text)
        if parts and number <= parts[-1].number:
            raise AwsError(
                400,
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part "
                "number.",
                {"UploadId": upload.upload_id},
            )
        part = upload.parts.get(number)
        etag = (element.findtext("ETag") or "").strip('"')
        if part is None or part.etag != etag or not _has_listed_checksum(element, part):
            raise AwsError(
                400,
                "InvalidPart",
                "One or more of the specified parts could not be found. The part may not have been "
                "uploaded, or the specified entity tag may not match the part's entity tag.",
                {"UploadId": upload.upload_id, "PartNumber": number_text, "ETag": etag},
            )
        parts.append(part)
    if not parts:
        raise malformed_xml()
    return parts


def _has_listed_checksum(element: ElementTree.Element, part: Part) -> bool:
    """Return whether the checksum listed for a part, if any, is the part's own."""
    for algorithm in ALGORITHMS:
        value = element.findtext(f"Checksum{algorithm.upper()}")
        if value is not None and value != digest_base64(algorithm, part.body):
            return False
    return True
