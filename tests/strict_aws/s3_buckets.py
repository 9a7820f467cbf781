"""Operations upon buckets: create, head, delete, list them, list their objects."""

import base64
import re
from urllib.parse import quote
from xml.sax.saxutils import escape

from .limits import LIST_PAGE_KEYS
from .messages import AwsError, Response
from .s3_call import S3Call, parse_xml, xml_response
from .s3_model import Bucket, iso_time

_BUCKET_NAME = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LAST = "\U0010ffff"
"""Sorts behind every key of a common prefix."""


def create_bucket(call: S3Call, buckets: dict[str, Bucket], taken_names: set[str]) -> Response:
    """Make a bucket in the region the request was signed for.

    Args:
        call: The call.
        buckets: All buckets of the account, of all regions.
        taken_names: Names that other accounts hold.
    """
    name = call.bucket_name
    call.require("s3:CreateBucket", f"arn:aws:s3:::{name}")
    if not _BUCKET_NAME.fullmatch(name) or ".." in name:
        raise AwsError(
            400, "InvalidBucketName", "The specified bucket is not valid.", {"BucketName": name}
        )
    wanted = ""
    if call.request.body:
        tree = parse_xml(call.request.body, "CreateBucketConfiguration")
        wanted = tree.findtext("LocationConstraint") or ""
    # us-east-1 is the one region that must not be named.
    expected = "" if call.region == "us-east-1" else call.region
    if wanted != expected:
        raise AwsError(
            400,
            "IllegalLocationConstraintException",
            f"The {wanted or 'unspecified'} location constraint is incompatible for the region "
            "specific endpoint this request was sent to.",
        )
    if name in taken_names:
        raise AwsError(
            409,
            "BucketAlreadyExists",
            "The requested bucket name is not available. The bucket namespace is shared by all "
            "users of the system. Please select a different name and try again.",
            {"BucketName": name},
        )
    known = buckets.get(name)
    # Only us-east-1 lets an owner create the bucket again.
    if known is not None and not (known.region == call.region == "us-east-1"):
        raise AwsError(
            409,
            "BucketAlreadyOwnedByYou",
            "Your previous request to create the named bucket succeeded and you already own it.",
            {"BucketName": name},
        )
    if known is None:
        buckets[name] = Bucket(name, call.region)
    return Response(200, {"Location": f"/{name}"})


def head_bucket(call: S3Call, bucket: Bucket) -> Response:
    """Say whether a bucket is there and where.

    Args:
        call: The call.
        bucket: The bucket.
    """
    call.require("s3:ListBucket", bucket.arn)
    headers = {"x-amz-bucket-region": bucket.region, "x-amz-access-point-alias": "false"}
    return Response(200, headers)


def get_location(call: S3Call, bucket: Bucket) -> Response:
    """Tell a bucket's region, in the old way.

    Args:
        call: The call.
        bucket: The bucket.
    """
    call.require("s3:GetBucketLocation", bucket.arn)
    return xml_response("LocationConstraint", "" if bucket.region == "us-east-1" else bucket.region)


def delete_bucket(call: S3Call, bucket: Bucket, buckets: dict[str, Bucket]) -> Response:
    """Remove an empty bucket.

    Args:
        call: The call.
        bucket: The bucket.
        buckets: All buckets of the account.
    """
    call.require("s3:DeleteBucket", bucket.arn)
    if bucket.objects or bucket.uploads:
        raise AwsError(
            409,
            "BucketNotEmpty",
            "The bucket you tried to delete is not empty",
            {"BucketName": bucket.name},
        )
    del buckets[bucket.name]
    return Response(204)


def list_buckets(call: S3Call, buckets: dict[str, Bucket]) -> Response:
    """List the account's buckets.

    Args:
        call: The call.
        buckets: All buckets of the account.
    """
    call.require("s3:ListAllMyBuckets", "*")
    prefix = call.request.query.get("prefix", "")
    entries = "".join(
        f"<Bucket><Name>{name}</Name><CreationDate>{iso_time(bucket.created_at)}</CreationDate>"
        f"<BucketRegion>{bucket.region}</BucketRegion></Bucket>"
        for name, bucket in sorted(buckets.items())
        if name.startswith(prefix)
    )
    owner = "<Owner><ID>owner</ID><DisplayName>owner</DisplayName></Owner>"
    return xml_response("ListAllMyBucketsResult", f"{owner}<Buckets>{entries}</Buckets>")


def list_objects(call: S3Call, bucket: Bucket) -> Response:
    """List one page of a bucket's keys (ListObjectsV2).

    Args:
        call: The call.
        bucket: The bucket.
    """
    query = call.request.query
    prefix = query.get("prefix", "")
    call.require("s3:ListBucket", bucket.arn, prefix)
    delimiter = query.get("delimiter", "")
    is_encoded = query.get("encoding-type") == "url"
    most = min(call.int_query("max-keys", LIST_PAGE_KEYS, 0, 2**31 - 1), LIST_PAGE_KEYS)
    token = query.get("continuation-token")
    after = query.get("start-after", "") if token is None else _read_token(token)
    entries, prefixes, last, is_truncated = _page(
        bucket, prefix, delimiter, after, most, is_encoded
    )

    def text(value: str) -> str:
        return quote(value) if is_encoded else escape(value)

    lines = [
        f"<Name>{bucket.name}</Name><Prefix>{text(prefix)}</Prefix>"
        f"<KeyCount>{len(entries) + len(prefixes)}</KeyCount><MaxKeys>{most}</MaxKeys>"
        f"<IsTruncated>{str(is_truncated).lower()}</IsTruncated>"
    ]
    if delimiter:
        lines.append(f"<Delimiter>{text(delimiter)}</Delimiter>")
    if is_encoded:
        lines.append("<EncodingType>url</EncodingType>")
    if token is not None:
        lines.append(f"<ContinuationToken>{escape(token)}</ContinuationToken>")
    if is_truncated:
        lines.append(f"<NextContinuationToken>{_make_token(last)}</NextContinuationToken>")
    if "start-after" in query:
        lines.append(f"<StartAfter>{text(query['start-after'])}</StartAfter>")
    lines.extend(entries)
    lines.extend(
        [f"<CommonPrefixes><Prefix>{text(each)}</Prefix></CommonPrefixes>" for each in prefixes]
    )
    return xml_response("ListBucketResult", "".join(lines))


def _page(
    bucket: Bucket, prefix: str, delimiter: str, after: str, most: int, is_encoded: bool
) -> tuple[list[str], list[str], str, bool]:
    """Return a page's entries and common prefixes, where it ended, and whether more follows."""
    entries: list[str] = []
    prefixes: list[str] = []
    last = after
    keys = bucket.keys_after(after, prefix)
    while True:
        key = next(keys, None)
        if key is None:
            return entries, prefixes, last, False
        if len(entries) + len(prefixes) >= most:
            # A page of no keys at all is complete: S3 answers max-keys=0 as not truncated.
            return entries, prefixes, last, most > 0
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        if cut < 0:
            entries.append(bucket.objects[key].list_entry(is_encoded))
            last = key
        else:
            common = key[: cut + len(delimiter)]
            prefixes.append(common)
            # Go on behind everything that the common prefix stands for.
            last = common + _LAST
            keys = bucket.keys_after(last, prefix)


def _make_token(last: str) -> str:
    return base64.urlsafe_b64encode(b"after:" + last.encode()).decode()


def _read_token(token: str) -> str:
    try:
        text = base64.urlsafe_b64decode(token).decode()
    except ValueError:
        text = ""
    if not text.startswith("after:"):
        raise AwsError(
            400,
            "InvalidArgument",
            "The continuation token provided is incorrect",
            {"ArgumentName": "continuation-token"},
        )
    return text[6:]
