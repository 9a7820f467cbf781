"""One S3 request on its way through the handlers, and the checks they share."""

from dataclasses import dataclass
from xml.etree import ElementTree

from .identities import Identity
from .messages import AwsError, Request, Response
from .s3_model import Bucket, StoredObject

XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@dataclass(slots=True)
class S3Call:
    """A verified S3 request.

    Attributes:
        operation: Its API name.
        request: The request, its body decoded.
        bucket_name: The bucket's name, empty for ListBuckets.
        key: The object's key, empty for operations upon a bucket.
        identity: Who calls.
        region: The region it was signed for, which stands for the endpoint's region.
    """

    operation: str
    request: Request
    bucket_name: str
    key: str
    identity: Identity
    region: str

    def require(self, action: str, resource: str, prefix: str | None = None) -> None:
        """Refuse the call unless its identity may do something.

        Args:
            action: Such as `s3:GetObject`.
            resource: The ARN.
            prefix: The condition key `s3:prefix`.

        Raises:
            AwsError: AccessDenied.
        """
        if not self.identity.may(action, resource, prefix):
            raise AwsError(
                403,
                "AccessDenied",
                f"User: {self.identity.principal_arn} is not authorized to perform: {action} on "
                f'resource: "{resource}" because no identity-based policy allows the {action} '
                "action",
            )

    def existing(self, bucket: Bucket) -> StoredObject:
        """Return the object the call names.

        Args:
            bucket: Its bucket.

        Raises:
            AwsError: NoSuchKey, or AccessDenied for whoever may not list the bucket: S3 does not
                tell strangers which keys exist.
        """
        stored = bucket.objects.get(self.key)
        if stored is None:
            self.require("s3:ListBucket", bucket.arn)
            raise AwsError(404, "NoSuchKey", "The specified key does not exist.", {"Key": self.key})
        return stored

    def int_query(self, name: str, default: int, least: int, most: int) -> int:
        """Return an integer query parameter.

        Args:
            name: Its name.
            default: What stands for an absent one.
            least: The smallest value.
            most: The largest value.

        Raises:
            AwsError: InvalidArgument.
        """
        text = self.request.query.get(name)
        if text is None or text == "":
            return default
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise AwsError(
                400,
                "InvalidArgument",
                f"Argument {name} must be an integer between {least} and {most}",
                {"ArgumentName": name, "ArgumentValue": text},
            )
        return value


def xml_response(root: str, content: str, headers: dict[str, str] | None = None) -> Response:
    """Return a 200 with an XML body.

    Args:
        root: The name of the root element.
        content: What is inside it.
        headers: More headers.
    """
    body = f"{XML_HEAD}<{root} {NAMESPACE}>{content}</{root}>".encode()
    return Response(200, {"Content-Type": "application/xml", **(headers or {})}, body)


def parse_xml(body: bytes, root: str) -> ElementTree.Element:
    """Return the root of a request's XML body, its namespaces taken off.

    Args:
        body: The body.
        root: The name its root must have.

    Raises:
        AwsError: MalformedXML.
    """
    try:
        tree = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        raise malformed_xml() from None
    for element in tree.iter():
        element.tag = element.tag.rpartition("}")[2]
    if tree.tag != root:
        raise malformed_xml()
    return tree


def malformed_xml() -> AwsError:
    """Return the error for XML that S3's schema does not know."""
    return AwsError(
        400,
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
