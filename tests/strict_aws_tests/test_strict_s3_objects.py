"""S3 objects: put, get, head, delete, conditions, checksums, limits."""

import base64
import hashlib
import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.strict_aws import StrictAws
from tests.strict_aws.checksums import ALGORITHMS, digest_base64
from tests.strict_aws_tests.wire import code_of, send_signed, signed, status_of

CHECK = b"123456789"


@pytest.mark.parametrize("key", ["plain", "a b/c+d&e=f", "ünï/☃/😀", "a//b/../c", "%41", "q?x#y"])
def test_a_key_comes_back_as_it_was_put(s3: Any, aws: StrictAws, key: str) -> None:
    s3.put_object(Bucket="jobs", Key=key, Body=b"body")
    assert s3.get_object(Bucket="jobs", Key=key)["Body"].read() == b"body"
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="jobs")["Contents"]] == [key]
    s3.delete_object(Bucket="jobs", Key=key)
    assert aws.objects("jobs") == {}


def test_put_answers_etag_and_head_tells_metadata(s3: Any) -> None:
    put = s3.put_object(
        Bucket="jobs", Key="k", Body=b"hello", ContentType="text/x", Metadata={"run": "7"}
    )
    assert put["ETag"] == f'"{hashlib.md5(b"hello").hexdigest()}"'
    head = s3.head_object(Bucket="jobs", Key="k")
    assert (head["ContentLength"], head["ContentType"]) == (5, "text/x")
    assert (head["Metadata"], head["ETag"]) == ({"run": "7"}, put["ETag"])


@pytest.mark.parametrize(
    ("span", "body"),
    [("bytes=0-0", b"0"), ("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-3", b"789"),
     ("bytes=5-99", b"56789"), ("bytes=-99", b"0123456789")],
)  # fmt: skip
def test_ranges(s3: Any, span: str, body: bytes) -> None:
    s3.put_object(Bucket="jobs", Key="k", Body=b"0123456789")
    response = s3.get_object(Bucket="jobs", Key="k", Range=span)
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert response["Body"].read() == body
    start = b"0123456789".index(body)
    assert response["ContentRange"] == f"bytes {start}-{start + len(body) - 1}/10"


@pytest.mark.parametrize("span", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_beyond_the_end_is_416(s3: Any, span: str) -> None:
    s3.put_object(Bucket="jobs", Key="k", Body=b"0123456789")
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket="jobs", Key="k", Range=span)
    assert (status_of(caught.value), code_of(caught.value)) == (416, "InvalidRange")


def test_put_if_none_match_lets_one_racer_win(s3: Any, aws: StrictAws) -> None:
    outcomes: list[str] = []

    def race(number: int) -> None:
        try:
            s3.put_object(Bucket="jobs", Key="k", Body=b"%d" % number, IfNoneMatch="*")
        except ClientError as exc:
            outcomes.append(f"{status_of(exc)} {code_of(exc)}")
        else:
            outcomes.append("won")

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["412 PreconditionFailed"] * 7 + ["won"]
    assert len(aws.objects("jobs")) == 1


def test_put_if_match_needs_the_current_etag(s3: Any) -> None:
    etag = s3.put_object(Bucket="jobs", Key="k", Body=b"1")["ETag"]
    s3.put_object(Bucket="jobs", Key="k", Body=b"2", IfMatch=etag)
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket="jobs", Key="k", Body=b"3", IfMatch=etag)
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.put_object(Bucket="jobs", Key="other", Body=b"3", IfMatch=etag)
    with pytest.raises(ClientError, match="NotImplemented"):
        s3.put_object(Bucket="jobs", Key="k", Body=b"3", IfNoneMatch=etag)


def test_get_conditions(s3: Any) -> None:
    etag = s3.put_object(Bucket="jobs", Key="k", Body=b"1")["ETag"]
    assert s3.get_object(Bucket="jobs", Key="k", IfMatch=etag)["Body"].read() == b"1"
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket="jobs", Key="k", IfNoneMatch=etag)
    assert status_of(caught.value) == 304
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket="jobs", Key="k", IfMatch='"other"')
    assert status_of(caught.value) == 412


def test_delete_objects_takes_a_thousand_and_answers_for_each(s3: Any, aws: StrictAws) -> None:
    for number in range(3):
        aws.put_object("jobs", f"k{number}", b"")
    keys = [{"Key": f"k{number}"} for number in range(1000)]
    response = s3.delete_objects(Bucket="jobs", Delete={"Objects": keys})
    assert len(response["Deleted"]) == 1000
    assert aws.objects("jobs") == {}
    assert "Deleted" not in s3.delete_objects(
        Bucket="jobs", Delete={"Objects": keys[:2], "Quiet": True}
    )
    with pytest.raises(ClientError, match="MalformedXML"):
        s3.delete_objects(Bucket="jobs", Delete={"Objects": [*keys, {"Key": "one more"}]})


def test_delete_objects_without_a_digest_is_refused(aws: StrictAws) -> None:
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    status, _, answer = send_signed(aws, signed(aws, "POST", "/jobs?delete", body))
    assert status == 400
    assert b"Content-MD5" in answer


def test_a_key_may_have_1024_bytes(s3: Any) -> None:
    s3.put_object(Bucket="jobs", Key="é" * 512, Body=b"")
    with pytest.raises(ClientError, match="KeyTooLongError"):
        s3.put_object(Bucket="jobs", Key="é" * 512 + "x", Body=b"")


def test_metadata_has_a_limit(s3: Any) -> None:
    with pytest.raises(ClientError, match="MetadataTooLarge"):
        s3.put_object(Bucket="jobs", Key="k", Body=b"", Metadata={"m": "x" * 2048})


@pytest.mark.parametrize(
    ("algorithm", "check"),
    [("crc32", "cbf43926"), ("crc32c", "e3069283"), ("crc64nvme", "ae8b14860a799888")],
)
def test_crc_check_values(algorithm: str, check: str) -> None:
    """The check values of the CRC catalogue, for the text 123456789."""
    assert ALGORITHMS[algorithm](CHECK).hex() == check


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_a_checksum_is_verified_kept_and_returned(aws: StrictAws, algorithm: str) -> None:
    name = f"x-amz-checksum-{algorithm}"
    right, wrong = digest_base64(algorithm, CHECK), digest_base64(algorithm, b"other")
    status, _, body = send_signed(aws, signed(aws, "PUT", "/jobs/k", CHECK, {name: wrong}))
    assert (status, b"<Code>BadDigest</Code>" in body) == (400, True)
    status, headers, _ = send_signed(aws, signed(aws, "PUT", "/jobs/k", CHECK, {name: right}))
    assert (status, headers[name]) == (200, right)
    mode = {"x-amz-checksum-mode": "ENABLED"}
    _, headers, _ = send_signed(aws, signed(aws, "GET", "/jobs/k", headers=mode))
    assert headers[name] == right
    _, headers, _ = send_signed(aws, signed(aws, "GET", "/jobs/k"))
    assert name not in headers


def test_content_md5_is_verified(aws: StrictAws) -> None:
    right = base64.b64encode(hashlib.md5(CHECK).digest()).decode()
    for value, code in [(right, b""), (right[::-1], b"InvalidDigest"), ("x", b"InvalidDigest"),
                        (base64.b64encode(bytes(16)).decode(), b"BadDigest")]:  # fmt: skip
        request = signed(aws, "PUT", "/jobs/k", CHECK, {"Content-MD5": value})
        status, _, body = send_signed(aws, request)
        assert (status == 200) is not bool(code)
        assert code in body


def test_a_body_that_is_not_the_signed_one_is_refused(aws: StrictAws) -> None:
    request = signed(aws, "PUT", "/jobs/k", CHECK)
    request.data = b"987654321"
    status, _, body = send_signed(aws, request)
    assert (status, b"XAmzContentSHA256Mismatch" in body) == (400, True)
    assert aws.objects("jobs") == {}


def test_a_missing_key_is_404_for_who_may_list_and_403_for_others(
    s3: Any, aws: StrictAws, make_client: Any
) -> None:
    stranger = aws.identity("stranger", ["s3:GetObject arn:aws:s3:::jobs/*"])
    other = make_client(aws, "s3", stranger)
    for client, status, code in [(s3, 404, "NoSuchKey"), (other, 403, "AccessDenied")]:
        with pytest.raises(ClientError) as caught:
            client.get_object(Bucket="jobs", Key="missing")
        assert (status_of(caught.value), code_of(caught.value)) == (status, code)
        with pytest.raises(ClientError) as caught:
            client.head_object(Bucket="jobs", Key="missing")
        assert status_of(caught.value) == status


def test_what_is_not_implemented_says_so(s3: Any) -> None:
    with pytest.raises(ClientError, match="NotImplemented"):
        s3.get_object_acl(Bucket="jobs", Key="k")
    with pytest.raises(ClientError, match="NotImplemented"):
        s3.copy_object(Bucket="jobs", Key="k", CopySource="jobs/other")


def test_an_error_has_the_body_of_s3(aws: StrictAws) -> None:
    status, headers, body = send_signed(aws, signed(aws, "GET", "/jobs/missing"))
    assert (status, headers["content-type"]) == (404, "application/xml")
    request_id = headers["x-amz-request-id"]
    assert body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>')
    assert b"<Key>missing</Key>" in body
    assert f"<RequestId>{request_id}</RequestId><HostId>".encode() in body
