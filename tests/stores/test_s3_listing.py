"""Our reading of a listing's page beside botocore's, over listings of any keys."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

import pytest
from aiobotocore.session import AioSession
from botocore import handlers
from botocore.parsers import create_parser
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdafutures._backends import s3_listing
from lambdafutures._backends.base import StoredObject
from lambdafutures._backends.s3_listing import OBJECTS, BrokenPage, take_objects

# What XML 1.0 can hold; with encoding-type=url S3 sends any other character percent-encoded too.
_PLAIN = st.text(st.characters(min_codepoint=0x20, exclude_categories=("Cs", "Cc", "Cn")))
_ANY = st.text(st.characters(exclude_categories=("Cs",)))
_TRICKY = st.sampled_from(
    ["a b", "a+b", "a%20b", "<Key>", "</Contents>", "&amp;", "&", "é/日本", "%", "+", "]]>", "'\""]
)
_SIZES = st.integers(0, 5 * 2**40)
_FIELDS = st.sampled_from(
    [
        "<ETag>&quot;9a&quot;</ETag>",
        "<StorageClass>STANDARD</StorageClass>",
        "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>",
        "<Owner><ID>1</ID><DisplayName>Key</DisplayName></Owner>",
        "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus>",
    ]
)


def page(
    objects: list[tuple[str, int]], fields: list[str], token: str | None, *, is_url: bool, gap: str
) -> bytes:
    """Return a page as S3 writes it."""

    def written(text: str) -> str:
        return escape(quote_plus(text, safe="/*-._") if is_url else text)

    contents = gap.join(
        f"<Contents><Key>{written(key)}</Key><LastModified>2026-11-22T01:02:03.000Z</LastModified>"
        f"{''.join(fields)}<Size>{size}</Size></Contents>"
        for key, size in objects
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>jobs</Name>'
        f"<Prefix>p</Prefix><KeyCount>{len(objects)}</KeyCount><MaxKeys>1000</MaxKeys>"
        f"{'<EncodingType>url</EncodingType>' if is_url else ''}"
        f"<IsTruncated>{str(token is not None).lower()}</IsTruncated>"
        + (
            f"<NextContinuationToken>{escape(token)}</NextContinuationToken>"
            if token is not None
            else ""
        )
        + f"{contents}</ListBucketResult>"
    ).encode()


def shape() -> Any:
    async def get() -> Any:
        model = await AioSession().get_service_model("s3")
        return model.operation_model("ListObjectsV2").output_shape

    return asyncio.run(get())


LIST_SHAPE = shape()


def parsed(body: bytes) -> dict[str, Any]:
    """Return what botocore's parser makes of a body, keys decoded as its client does."""
    answer = {"status_code": 200, "headers": {}, "body": body}
    found: dict[str, Any] = create_parser("rest-xml").parse(answer, LIST_SHAPE)
    handlers.decode_list_object_v2(found, {"encoding_type_auto_set": True})
    return found


@settings(max_examples=300, deadline=None)
@given(
    keys=st.lists(_PLAIN | _TRICKY, max_size=8),
    url_keys=st.lists(_ANY | _TRICKY, max_size=8),
    sizes=st.lists(_SIZES, min_size=8, max_size=8),
    fields=st.lists(_FIELDS, unique=True),
    token=st.none() | _TRICKY,
    is_url=st.booleans(),
    gap=st.sampled_from(["", "\n  "]),
)
def test_a_page_is_read_as_botocore_reads_it(
    keys: list[str],
    url_keys: list[str],
    sizes: list[int],
    fields: list[str],
    token: str | None,
    is_url: bool,
    gap: str,
) -> None:
    objects = list(zip(url_keys if is_url else keys, sizes, strict=False))
    body = page(objects, fields, token, is_url=is_url, gap=gap)
    theirs = parsed(body)

    answer: dict[str, Any] = {"status_code": 200, "headers": {}, "body": body}
    taken: dict[str, Any] = {}
    take_objects(answer, taken)
    ours = parsed(answer["body"])

    contents = theirs.pop("Contents", [])
    assert taken[OBJECTS] == [StoredObject(each["Key"], each["Size"]) for each in contents]
    assert [(each.key, each.size_bytes) for each in taken[OBJECTS]] == objects
    assert "Contents" not in ours
    assert ours == theirs


@pytest.mark.parametrize("cut", ["<Size>", "</Key>", "</Contents></ListBucketResult>"])
def test_a_page_that_was_cut_is_broken(cut: str) -> None:
    body = page([("a", 1), ("b", 2)], [], None, is_url=True, gap="")
    answer: dict[str, Any] = {"status_code": 200, "headers": {}, "body": body}
    answer["body"] = body[: body.rindex(cut.encode())]
    with pytest.raises(Exception) as caught:  # noqa: PT012 - by us or by the parser after us
        take_objects(answer, {})
        parsed(answer["body"])
    assert isinstance(caught.value, BrokenPage) or "ResponseParserError" in repr(caught.type)


def test_an_error_is_left_as_it_is() -> None:
    answer = {"status_code": 404, "headers": {}, "body": b"<Contents>"}
    take_objects(answer, {})
    assert answer["body"] == b"<Contents>"


def test_botocores_handler_sees_what_ours_has_left() -> None:
    """It reads the whole body as XML, in search of an error."""
    body = page([("a", 1)], [], None, is_url=True, gap="")
    seen: list[bytes] = []

    async def main() -> None:
        async with AioSession().create_client(
            "s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        ) as client:
            events = client.meta.events
            events.register(s3_listing.EVENT, take_objects)
            # Where botocore's own is registered.
            events.register_first(
                "before-parse.s3.*", lambda response_dict, **_: seen.append(response_dict["body"])
            )
            await events.emit(
                "before-parse.s3.ListObjectsV2",
                operation_model=client.meta.service_model.operation_model("ListObjectsV2"),
                response_dict={"status_code": 200, "headers": {}, "body": body},
                customized_response_dict={},
            )

    asyncio.run(main())
    assert b"<Contents>" in body
    assert b"<Contents>" not in seen[0]
