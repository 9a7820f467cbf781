"""S3, path-style: from a request to its operation, to permission, to an answer."""

from collections.abc import Callable

from .bodies import decode_body
from .limits import KEY_MAX_BYTES
from .messages import AwsError, Request, Response
from .s3_buckets import (
    create_bucket,
    delete_bucket,
    get_location,
    head_bucket,
    list_buckets,
    list_objects,
)
from .s3_call import S3Call
from .s3_model import Bucket, StoredObject, md5_hex
from .s3_multipart import (
    abort_upload,
    complete_upload,
    create_upload,
    list_parts,
    list_uploads,
    upload_part,
)
from .s3_objects import delete_object, delete_objects, get_object, put_object
from .sigv4 import Caller

Target = tuple[str, str, str]
"""Operation, bucket, key."""

_PARAMETERS = {
    "x-id", "list-type", "prefix", "delimiter", "start-after", "continuation-token", "max-keys",
    "encoding-type", "fetch-owner", "uploads", "uploadId", "partNumber", "delete", "location",
    "max-uploads", "key-marker", "upload-id-marker", "max-parts", "part-number-marker",
    "max-buckets", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
    "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Security-Token",
}  # fmt: skip
"""Query parameters that are understood; another one (`acl`, `tagging`, …) is NotImplemented."""

UNSUPPORTED = "Unsupported"

_BUCKET_OPERATIONS: dict[str, Callable[[S3Call, Bucket], Response]] = {
    "HeadBucket": head_bucket,
    "GetBucketLocation": get_location,
    "ListObjectsV2": list_objects,
    "DeleteObjects": delete_objects,
    "ListMultipartUploads": list_uploads,
    "PutObject": put_object,
    "GetObject": get_object,
    "HeadObject": get_object,
    "DeleteObject": delete_object,
    "CreateMultipartUpload": create_upload,
    "UploadPart": upload_part,
    "CompleteMultipartUpload": complete_upload,
    "AbortMultipartUpload": abort_upload,
    "ListParts": list_parts,
}


def identify(request: Request) -> Target:
    """Return what a request asks for.

    Args:
        request: The request.
    """
    bucket, _, key = request.path[1:].partition("/")
    query = request.query
    if query and not query.keys() <= _PARAMETERS:
        return UNSUPPORTED, bucket, key
    if not bucket:
        return ("ListBuckets" if request.method == "GET" else UNSUPPORTED), "", ""
    if key:
        return _object_operation(request), bucket, key
    return _bucket_operation(request), bucket, ""


def _object_operation(request: Request) -> str:
    query = request.query
    has_upload = "uploadId" in query
    if "x-amz-copy-source" in request.headers or ("partNumber" in query and not has_upload):
        return UNSUPPORTED
    if request.method == "POST":
        if "uploads" in query:
            return "CreateMultipartUpload"
        return "CompleteMultipartUpload" if has_upload else UNSUPPORTED
    plain, with_upload = {
        "GET": ("GetObject", "ListParts"),
        "HEAD": ("HeadObject", UNSUPPORTED),
        "PUT": ("PutObject", "UploadPart"),
        "DELETE": ("DeleteObject", "AbortMultipartUpload"),
    }.get(request.method, (UNSUPPORTED, UNSUPPORTED))
    return with_upload if has_upload else plain


def _bucket_operation(request: Request) -> str:
    query = request.query
    if request.method == "GET":
        if query.get("list-type") == "2":
            return "ListObjectsV2"
        if "uploads" in query:
            return "ListMultipartUploads"
        return "GetBucketLocation" if "location" in query else UNSUPPORTED
    if request.method == "POST":
        return "DeleteObjects" if "delete" in query else UNSUPPORTED
    plain = {"HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}
    return plain.get(request.method, UNSUPPORTED)


class S3Service:
    """All buckets of the account, and S3's answers.

    Attributes:
        buckets: The account's buckets by name.
        taken_names: Bucket names that other accounts hold: creating one is BucketAlreadyExists,
            using one AccessDenied.
        wrong_region: What a request signed for another region than its bucket's meets: `redirect`
            is the 301 of that region's endpoint, `malformed` the 400 of the bucket's own endpoint.
    """

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.taken_names: set[str] = set()
        self.wrong_region = "redirect"

    def execute(self, target: Target, request: Request, caller: Caller) -> Response:
        """Answer a request.

        Args:
            target: What `identify` found.
            request: The request.
            caller: Who signed it.

        Raises:
            AwsError: Whatever S3 refuses.
        """
        operation, bucket_name, key = target
        if operation == UNSUPPORTED:
            raise AwsError(
                501,
                "NotImplemented",
                f"The fake does not know {request.method} {request.target}",
            )
        decode_body(request, caller)
        call = S3Call(operation, request, bucket_name, key, caller.identity, caller.region)
        if operation == "ListBuckets":
            return list_buckets(call, self.buckets)
        if operation == "CreateBucket":
            return create_bucket(call, self.buckets, self.taken_names)
        bucket = self._bucket(call)
        if key and len(key.encode()) > KEY_MAX_BYTES:
            raise AwsError(
                400,
                "KeyTooLongError",
                "Your key is too long",
                {"Size": str(len(key.encode())), "MaxSizeAllowed": str(KEY_MAX_BYTES)},
            )
        if operation == "DeleteBucket":
            return delete_bucket(call, bucket, self.buckets)
        return _BUCKET_OPERATIONS[operation](call, bucket)

    def _bucket(self, call: S3Call) -> Bucket:
        name = call.bucket_name
        if name in self.taken_names:
            raise AwsError(403, "AccessDenied", "Access Denied")
        bucket = self.buckets.get(name)
        if bucket is None:
            raise AwsError(
                404, "NoSuchBucket", "The specified bucket does not exist", {"BucketName": name}
            )
        if call.region != bucket.region:
            raise self._region_error(call.region, bucket)
        return bucket

    def _region_error(self, region: str, bucket: Bucket) -> AwsError:
        headers = {"x-amz-bucket-region": bucket.region}
        if self.wrong_region == "malformed":
            return AwsError(
                400,
                "AuthorizationHeaderMalformed",
                f"The authorization header is malformed; the region '{region}' is wrong; "
                f"expecting '{bucket.region}'",
                {"Region": bucket.region},
                headers,
            )
        return AwsError(
            301,
            "PermanentRedirect",
            "The bucket you are attempting to access must be addressed using the specified "
            "endpoint. Please send all future requests to this endpoint.",
            {
                "Endpoint": f"{bucket.name}.s3.{bucket.region}.amazonaws.com",
                "Bucket": bucket.name,
            },
            headers,
        )

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Store an object without a request, as another writer would (for the loop's thread).

        Args:
            bucket: The bucket's name.
            key: The key.
            body: The bytes.
        """
        self.buckets[bucket].put(StoredObject(key, body, md5_hex(body)))
