"""Multipart uploads."""

from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore.exceptions import ClientError

from tests.strict_aws import StrictAws
from tests.strict_aws_tests.wire import send_signed, signed, status_of

MIB = 1024 * 1024


def start(s3: Any, **kwargs: Any) -> str:
    return str(s3.create_multipart_upload(Bucket="jobs", Key="big", **kwargs)["UploadId"])


def part(s3: Any, upload_id: str, number: int, body: bytes) -> dict[str, Any]:
    answer = s3.upload_part(
        Bucket="jobs", Key="big", UploadId=upload_id, PartNumber=number, Body=body
    )
    return {"PartNumber": number, "ETag": answer["ETag"]}


def complete(s3: Any, upload_id: str, parts: list[dict[str, Any]], **kwargs: Any) -> Any:
    return s3.complete_multipart_upload(
        Bucket="jobs", Key="big", UploadId=upload_id, MultipartUpload={"Parts": parts}, **kwargs
    )


def test_parts_become_one_object(s3: Any, aws: StrictAws) -> None:
    upload_id = start(s3, Metadata={"run": "7"})
    second = part(s3, upload_id, 2, b"b" * MIB)
    first = part(s3, upload_id, 1, b"a" * 5 * MIB)
    assert [one["PartNumber"] for one in s3.list_parts(
        Bucket="jobs", Key="big", UploadId=upload_id)["Parts"]] == [1, 2]  # fmt: skip
    assert aws.objects("jobs") == {}
    answer = complete(s3, upload_id, [first, second])
    assert answer["ETag"].endswith('-2"')
    assert aws.objects("jobs")["big"] == b"a" * 5 * MIB + b"b" * MIB
    assert s3.head_object(Bucket="jobs", Key="big")["Metadata"] == {"run": "7"}
    assert aws.uploads("jobs") == []
    with pytest.raises(ClientError, match="NoSuchUpload"):
        complete(s3, upload_id, [first, second])


def test_all_parts_but_the_last_need_5_mib(s3: Any) -> None:
    upload_id = start(s3)
    parts = [part(s3, upload_id, 1, b"a" * (5 * MIB - 1)), part(s3, upload_id, 2, b"b")]
    with pytest.raises(ClientError, match="EntityTooSmall"):
        complete(s3, upload_id, parts)
    complete(s3, upload_id, parts[1:])


def test_what_is_listed_must_be_what_was_sent(s3: Any) -> None:
    upload_id = start(s3)
    first, second = part(s3, upload_id, 1, b"a" * 5 * MIB), part(s3, upload_id, 2, b"b")
    for parts, code in [
        ([second, first], "InvalidPartOrder"),
        ([first, {**second, "ETag": '"other"'}], "InvalidPart"),
        ([first, {**second, "PartNumber": 3}], "InvalidPart"),
        ([], "MalformedXML"),
    ]:
        with pytest.raises(ClientError, match=code):
            complete(s3, upload_id, parts)


def test_part_numbers_have_bounds(s3: Any) -> None:
    upload_id = start(s3)
    part(s3, upload_id, 10_000, b"")
    for number in (0, 10_001):
        with pytest.raises(ClientError, match="InvalidArgument"):
            part(s3, upload_id, number, b"")


def test_abort_and_the_list_of_uploads(s3: Any, aws: StrictAws) -> None:
    ids = {start(s3), start(s3)}
    uploads = s3.list_multipart_uploads(Bucket="jobs")["Uploads"]
    assert {upload["UploadId"] for upload in uploads} == ids
    page = s3.list_multipart_uploads(Bucket="jobs", MaxUploads=1)
    rest = s3.list_multipart_uploads(
        Bucket="jobs", KeyMarker=page["NextKeyMarker"], UploadIdMarker=page["NextUploadIdMarker"]
    )
    assert {page["Uploads"][0]["UploadId"], rest["Uploads"][0]["UploadId"]} == ids
    with pytest.raises(ClientError, match="BucketNotEmpty"):
        s3.delete_bucket(Bucket="jobs")
    for upload_id in ids:
        s3.abort_multipart_upload(Bucket="jobs", Key="big", UploadId=upload_id)
    with pytest.raises(ClientError, match="NoSuchUpload"):
        part(s3, next(iter(ids)), 1, b"")
    assert aws.uploads("jobs") == []


def test_complete_is_conditional(s3: Any, aws: StrictAws) -> None:
    aws.put_object("jobs", "big", b"first")
    upload_id = start(s3)
    parts = [part(s3, upload_id, 1, b"second")]
    with pytest.raises(ClientError) as caught:
        complete(s3, upload_id, parts, IfNoneMatch="*")
    assert status_of(caught.value) == 412
    aws.delete_object("jobs", "big")
    complete(s3, upload_id, parts, IfNoneMatch="*")
    assert aws.objects("jobs") == {"big": b"second"}


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
def test_checksums_of_parts(s3: Any, algorithm: str) -> None:
    upload_id = start(s3, ChecksumAlgorithm=algorithm)
    name = f"Checksum{algorithm}"
    parts = []
    for number, body in [(1, b"a" * 5 * MIB), (2, b"b")]:
        answer = s3.upload_part(
            Bucket="jobs", Key="big", UploadId=upload_id, PartNumber=number, Body=body,
            ChecksumAlgorithm=algorithm,
        )  # fmt: skip
        parts.append({"PartNumber": number, "ETag": answer["ETag"], name: answer[name]})
    with pytest.raises(ClientError, match="InvalidPart"):
        complete(s3, upload_id, [parts[0], {**parts[1], name: parts[0][name]}])
    assert complete(s3, upload_id, parts)[name].endswith("-2")


def test_a_part_with_a_wrong_checksum_is_refused(s3: Any, aws: StrictAws) -> None:
    upload_id = start(s3)
    request = signed(
        aws, "PUT", f"/jobs/big?partNumber=1&uploadId={upload_id}", b"x",
        {"x-amz-checksum-crc32": "AAAAAA=="},
    )  # fmt: skip
    status, _, body = send_signed(aws, request)
    assert (status, b"BadDigest" in body) == (400, True)


def test_s3transfer_up_and_down(aws: StrictAws, tmp_path: Any) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 4096 * 11)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    client = Session().client("s3", **aws.client_args())
    client.upload_file(str(source), "jobs", "big", Config=config)
    client.download_file("jobs", "big", str(target), Config=config)
    client.close()
    assert source.read_bytes() == target.read_bytes()
    assert aws.requests["UploadPart"] == 3
    assert aws.requests["GetObject"] == 3
