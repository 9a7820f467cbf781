"""The control plane."""

import io
import zipfile
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.strict_aws import StrictAws
from tests.strict_aws_tests.wire import code_of, invoke

SOURCE = "import os\ndef handler(event, context):\n    return [{!r}, os.environ.get('MINE')]\n"


def zipped(answer: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("handler.py", SOURCE.format(answer))
    return data.getvalue()


def create(aws: StrictAws, client: Any, **kwargs: Any) -> Any:
    role = aws._identities.by_name.get("worker") or aws.identity("worker", ["*"], is_role=True)
    defaults = {
        "FunctionName": "f", "Role": role.arn, "Handler": "handler.handler",
        "Runtime": "python3.11", "Code": {"ZipFile": zipped("one")}, "Timeout": 5,
    }  # fmt: skip
    return client.create_function(**(defaults | kwargs))


def test_the_life_of_a_function(aws: StrictAws, lambda_: Any) -> None:
    made = create(aws, lambda_, Environment={"Variables": {"MINE": "1"}}, MemorySize=256)
    assert (made["State"], made["Timeout"], made["MemorySize"]) == ("Active", 5, 256)
    assert invoke(lambda_, "f") == (["one", "1"], "")
    with pytest.raises(ClientError) as caught:
        create(aws, lambda_)
    assert code_of(caught.value) == "ResourceConflictException"
    updated = lambda_.update_function_code(FunctionName="f", ZipFile=zipped("two"))
    assert updated["CodeSha256"] != made["CodeSha256"]
    assert invoke(lambda_, "f") == (["two", "1"], "")
    lambda_.update_function_configuration(
        FunctionName="f", Timeout=7, Environment={"Variables": {"MINE": "2"}}
    )
    assert invoke(lambda_, "f") == (["two", "2"], "")
    found = lambda_.get_function_configuration(FunctionName="f")
    assert found["Timeout"] == 7
    assert (
        lambda_.get_function(FunctionName="f")["Configuration"]["FunctionArn"]
        == made["FunctionArn"]
    )
    assert [each["FunctionName"] for each in lambda_.list_functions()["Functions"]] == ["f"]
    lambda_.delete_function(FunctionName="f")
    with pytest.raises(ClientError, match="Function not found"):
        lambda_.get_function(FunctionName="f")


def test_list_functions_pages(aws: StrictAws, lambda_: Any) -> None:
    for number in range(5):
        aws.create_function(f"f{number}", respond=lambda event: event)
    pages = list(lambda_.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["Functions"]) for page in pages] == [2, 2, 1]


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"Role": "arn:aws:iam::123456789012:role/nobody"}, "cannot be assumed by Lambda"),
        ({"Code": {"ZipFile": b"no zip"}}, "Could not unzip"),
        ({"Timeout": 901}, "timeout"),
        ({"MemorySize": 127}, "memorySize"),
        ({"Environment": {"Variables": {"AWS_REGION": "x"}}}, "reserved keys"),
        ({"Environment": {"Variables": {"X": "y" * 4096}}}, "4 KB"),
        ({"Runtime": "java21"}, "runtime"),
    ],
)
def test_what_create_refuses(
    aws: StrictAws, lambda_: Any, kwargs: dict[str, Any], text: str
) -> None:
    with pytest.raises(ClientError, match=text) as caught:
        create(aws, lambda_, **kwargs)
    assert code_of(caught.value) == "InvalidParameterValueException"


def test_create_needs_pass_role(aws: StrictAws, make_client: Any) -> None:
    who = aws.identity("who", ["lambda:*"])
    with pytest.raises(ClientError, match="iam:PassRole"):
        create(aws, make_client(aws, "lambda", who))


def test_concurrency_and_account_settings(aws: StrictAws, lambda_: Any) -> None:
    aws.create_function("f", respond=lambda event: event)
    assert "ReservedConcurrentExecutions" not in lambda_.get_function_concurrency(FunctionName="f")
    lambda_.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=900)
    with pytest.raises(ClientError, match="below its minimum"):
        lambda_.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=901)
    limits = lambda_.get_account_settings()["AccountLimit"]
    assert limits["ConcurrentExecutions"] == 1000
    assert limits["UnreservedConcurrentExecutions"] == 100
    concurrency = lambda_.get_function(FunctionName="f")["Concurrency"]
    assert concurrency == {"ReservedConcurrentExecutions": 900}
    lambda_.delete_function_concurrency(FunctionName="f")
    assert lambda_.get_account_settings()["AccountUsage"]["FunctionCount"] == 1


def test_event_invoke_config(aws: StrictAws, lambda_: Any) -> None:
    aws.create_function("f", respond=lambda event: event)
    with pytest.raises(ClientError, match="EventInvokeConfig"):
        lambda_.get_function_event_invoke_config(FunctionName="f")
    lambda_.put_function_event_invoke_config(FunctionName="f", MaximumRetryAttempts=0)
    assert lambda_.get_function_event_invoke_config(FunctionName="f")["MaximumRetryAttempts"] == 0
    assert aws.function("f").max_retries == 0
    for kwargs in ({"MaximumRetryAttempts": 3}, {"MaximumEventAgeInSeconds": 59}):
        with pytest.raises(ClientError, match="InvalidParameterValueException"):
            lambda_.put_function_event_invoke_config(FunctionName="f", **kwargs)


def test_control_plane_needs_permission(aws: StrictAws, make_client: Any) -> None:
    aws.create_function("f", respond=lambda event: event)
    client = make_client(aws, "lambda", aws.identity("who", ["lambda:ListFunctions"]))
    assert len(client.list_functions()["Functions"]) == 1
    for operation in ("get_function", "delete_function", "get_function_configuration"):
        with pytest.raises(ClientError, match="AccessDeniedException"):
            getattr(client, operation)(FunctionName="f")
    with pytest.raises(ClientError, match="AccessDeniedException"):
        client.get_account_settings()
