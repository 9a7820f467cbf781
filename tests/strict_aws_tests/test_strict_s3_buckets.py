"""Buckets: their life, their regions, and the listing of their objects."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.strict_aws import StrictAws
from tests.strict_aws_tests.wire import code_of, send_signed, signed, status_of


def test_the_life_of_a_bucket(s3: Any, aws: StrictAws) -> None:
    with pytest.raises(ClientError) as caught:
        s3.head_bucket(Bucket="other")
    assert status_of(caught.value) == 404
    s3.create_bucket(Bucket="other")
    s3.create_bucket(Bucket="other")  # us-east-1 lets its owner do it again
    assert s3.head_bucket(Bucket="other")["BucketRegion"] == "us-east-1"
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["jobs", "other"]
    aws.put_object("other", "k", b"")
    with pytest.raises(ClientError, match="BucketNotEmpty"):
        s3.delete_bucket(Bucket="other")
    s3.delete_object(Bucket="other", Key="k")
    s3.delete_bucket(Bucket="other")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3.put_object(Bucket="other", Key="k", Body=b"")


def test_bucket_names_are_global(s3: Any, aws: StrictAws) -> None:
    aws.s3.taken_names.add("taken")
    with pytest.raises(ClientError, match="BucketAlreadyExists"):
        s3.create_bucket(Bucket="taken")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.get_object(Bucket="taken", Key="k")
    status, _, body = send_signed(aws, signed(aws, "PUT", "/Not_A_Name"))
    assert (status, b"InvalidBucketName" in body) == (400, True)


def test_a_bucket_elsewhere_needs_its_location(aws: StrictAws, make_client: Any) -> None:
    client = make_client(aws, "s3", region="eu-west-1")
    with pytest.raises(ClientError, match="IllegalLocationConstraint"):
        client.create_bucket(Bucket="far")
    client.create_bucket(
        Bucket="far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    assert client.get_bucket_location(Bucket="far")["LocationConstraint"] == "eu-west-1"
    with pytest.raises(ClientError, match="BucketAlreadyOwnedByYou"):
        client.create_bucket(
            Bucket="far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )


def test_the_wrong_region_is_redirected(aws: StrictAws, make_client: Any) -> None:
    aws.create_bucket("far", "eu-west-1")
    status, headers, body = send_signed(aws, signed(aws, "GET", "/far/k"))
    assert (status, headers["x-amz-bucket-region"]) == (301, "eu-west-1")
    assert b"PermanentRedirect" in body
    # boto3 follows, as it does on AWS.
    make_client(aws, "s3").put_object(Bucket="far", Key="k", Body=b"there")
    assert aws.objects("far") == {"k": b"there"}


def test_the_wrong_region_at_the_buckets_own_endpoint(aws: StrictAws) -> None:
    aws.s3.wrong_region = "malformed"
    status, _, body = send_signed(aws, signed(aws, "GET", "/jobs/k", region="eu-west-1"))
    assert status == 400
    assert b"AuthorizationHeaderMalformed" in body
    assert b"expecting 'us-east-1'" in body


def test_listing_pages_in_the_order_of_bytes(s3: Any, aws: StrictAws) -> None:
    keys = sorted(f"p/{number:05d}" for number in range(2500))
    for key in reversed(keys):
        aws.put_object("jobs", key, b"x")
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket="jobs"))
    assert [page["KeyCount"] for page in pages] == [1000, 1000, 500]
    assert [entry["Key"] for page in pages for entry in page["Contents"]] == keys
    assert s3.list_objects_v2(Bucket="jobs", MaxKeys=5000)["KeyCount"] == 1000
    after = s3.list_objects_v2(Bucket="jobs", Prefix="p/", StartAfter=keys[2490])
    assert [entry["Key"] for entry in after["Contents"]] == keys[2491:]
    assert not after["IsTruncated"]


def test_utf8_order_and_encoding(s3: Any, aws: StrictAws) -> None:
    keys = ["Z", "a b", "a+b", "a<&>", "z", "é", "☃", "😀"]
    for key in keys:
        aws.put_object("jobs", key, b"")
    found = [entry["Key"] for entry in s3.list_objects_v2(Bucket="jobs")["Contents"]]
    assert found == sorted(keys, key=str.encode)
    _, _, body = send_signed(aws, signed(aws, "GET", "/jobs?list-type=2"))
    assert b"<Key>a&lt;&amp;&gt;</Key>" in body
    _, _, body = send_signed(aws, signed(aws, "GET", "/jobs?encoding-type=url&list-type=2"))
    assert b"<Key>a%2Bb</Key>" in body


def test_delimiter_rolls_keys_up_into_prefixes(s3: Any, aws: StrictAws) -> None:
    for key in ["a", "d1/x", "d1/y", "d2/x/y", "d3", "e/"]:
        aws.put_object("jobs", key, b"")
    found: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = s3.list_objects_v2(Bucket="jobs", Delimiter="/", MaxKeys=2, **token)
        found += [entry["Key"] for entry in page.get("Contents", [])]
        found += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
        assert page["KeyCount"] <= 2
        if not page["IsTruncated"]:
            break
        token = {"ContinuationToken": page["NextContinuationToken"]}
    assert sorted(found) == ["a", "d1/", "d2/", "d3", "e/"]
    inner = s3.list_objects_v2(Bucket="jobs", Delimiter="/", Prefix="d1/")
    assert [entry["Key"] for entry in inner["Contents"]] == ["d1/x", "d1/y"]


def test_bad_listing_arguments(s3: Any) -> None:
    with pytest.raises(ClientError) as caught:
        s3.list_objects_v2(Bucket="jobs", ContinuationToken="made up")
    assert code_of(caught.value) == "InvalidArgument"
    with pytest.raises(ClientError, match="InvalidArgument"):
        s3.list_objects_v2(Bucket="jobs", MaxKeys=-1)
    assert s3.list_objects_v2(Bucket="jobs", MaxKeys=0)["KeyCount"] == 0
