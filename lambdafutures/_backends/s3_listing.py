"""Pages of a listing, read without botocore's parser.

The parser builds a dict with a parsed date per object, 64 ms of the loop's time per page of 1,000.
Here keys and sizes are taken out of the body by two regular expressions (2 ms) before the parser
sees it, and it is left the page's head: whether there is more, and the token to go on with.
"""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import unquote_plus

from lambdafutures._backends.base import StoredObject

# Where the client finds the objects in the parsed answer.
OBJECTS = "LambdafuturesObjects"
# With a star for the service it comes before botocore's own handler of "before-parse.s3.*", which
# reads the whole body as XML, 3 ms for each page, in search of an error. (Of handlers that match,
# botocore calls those with stars first.)
EVENT = "before-parse.*.ListObjectsV2"

_KEY = re.compile(rb"<Key>([^<]*)</Key>")
_SIZE = re.compile(rb"<Size>(\d+)</Size>")
_FIRST, _LAST = b"<Contents>", b"</Contents>"
_IS_URL_ENCODED = b"<EncodingType>url</EncodingType>"


class BrokenPage(Exception):
    """Say that a page of a listing is not whole."""


def take_objects(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    """Move the objects of a page from the body to the parsed answer: a handler of `EVENT`.

    Args:
        response_dict: The answer, not parsed yet; its body is shortened.
        customized_response_dict: What is added to the parsed answer.

    Raises:
        BrokenPage: If the body is not a whole page of a listing.
    """
    if response_dict["status_code"] >= 300:
        return
    body = response_dict["body"]
    begin = body.find(_FIRST)
    if begin < 0:
        customized_response_dict[OBJECTS] = []
        return
    # S3 writes all objects in one run, after the head and before common prefixes.
    end = body.rfind(_LAST) + len(_LAST)
    head = body[:begin] + body[end:]
    response_dict["body"] = head
    customized_response_dict[OBJECTS] = _objects(body[begin:end], _IS_URL_ENCODED in head)


def _objects(text: bytes, is_url_encoded: bool) -> list[StoredObject]:
    keys, sizes = _KEY.findall(text), _SIZE.findall(text)
    if len(keys) != len(sizes) or len(keys) != text.count(_FIRST):
        raise BrokenPage(f"a page with {len(keys)} keys and {len(sizes)} sizes")
    return [
        StoredObject(_decoded(key.decode(), is_url_encoded), int(size))
        for key, size in zip(keys, sizes, strict=True)
    ]


def _decoded(key: str, is_url_encoded: bool) -> str:
    # XML's escapes are the outer ones: S3 leaves none inside the URL encoding, other servers do.
    if "&" in key:
        key = html.unescape(key)
    return unquote_plus(key) if is_url_encoded and ("%" in key or "+" in key) else key
