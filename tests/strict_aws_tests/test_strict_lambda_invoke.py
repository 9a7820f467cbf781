"""Invoke: functions that run for real, their errors, and Lambda's limits."""

import base64
import json
import os
import re
import signal
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.strict_aws import StrictAws
from tests.strict_aws_tests.wire import (
    code_of,
    connect,
    invoke,
    invoke_status,
    send_signed,
    signed,
    status_of,
)

OTHER_PYTHONS = [
    path
    for path in (
        Path("/opt/python3.14/bin/python3"),
        Path("/opt/python3.13/bin/python3"),
        *Path(os.environ.get("PYENV_ROOT", "/root/.pyenv")).glob("versions/3.1[2-4]*/bin/python3"),
    )
    if path.exists()
]


@pytest.fixture
def function(aws: StrictAws, code_dir: Path) -> str:
    aws.create_function("f", code_dir, timeout_s=20)
    return "f"


def test_a_function_runs_under_awslambdaric_and_stays_warm(lambda_: Any, function: str) -> None:
    first, error = invoke(lambda_, function)
    second, _ = invoke(lambda_, function)
    assert error == ""
    assert (first["count"], second["count"]) == (1, 2)
    assert first["pid"] == second["pid"]
    assert first["pid"] != os.getpid()
    assert first["arn"] == "arn:aws:lambda:us-east-1:123456789012:function:f"
    assert 19_000 < first["remaining_ms"] <= 20_000


def test_the_response_has_lambdas_headers(lambda_: Any, function: str) -> None:
    response = lambda_.invoke(FunctionName=function, Payload=b"{}")
    headers = response["ResponseMetadata"]["HTTPHeaders"]
    assert response["StatusCode"] == 200
    assert response["ExecutedVersion"] == "$LATEST"
    assert headers["x-amzn-requestid"] == json.loads(response["Payload"].read())["request_id"]
    assert "LogResult" not in response


def test_the_log_tail_is_4_kb_and_ends_in_the_report(lambda_: Any, function: str) -> None:
    response = lambda_.invoke(
        FunctionName=function, LogType="Tail", Payload=json.dumps({"do": "print", "bytes": 9000})
    )
    tail = base64.b64decode(response["LogResult"])
    assert len(tail) == 4096
    report = tail.decode().splitlines()[-1]
    assert re.fullmatch(
        r"REPORT RequestId: \S+\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 1769 MB"
        r"\tMax Memory Used: \d+ MB\tInit Duration: [\d.]+ ms\t",
        report,
    )
    response = lambda_.invoke(FunctionName=function, LogType="Tail", Payload=b"{}")
    lines = base64.b64decode(response["LogResult"]).decode().splitlines()
    assert lines[0].startswith("START RequestId: ")
    assert lines[1] == "event None"
    assert lines[2].startswith("END RequestId: ")
    assert "Init Duration" not in lines[3]


def test_an_exception_has_the_body_of_awslambdaric(lambda_: Any, function: str) -> None:
    body, error = invoke(lambda_, function, {"do": "raise"})
    assert error == "Unhandled"
    assert (body["errorType"], body["errorMessage"]) == ("ValueError", "it broke")
    assert 'raise ValueError("it broke")' in "".join(body["stackTrace"])
    again, _ = invoke(lambda_, function)
    assert again["count"] == 2  # the environment lives on


@pytest.mark.parametrize(
    ("code", "text"),
    [(3, "exit status 3"), (0, "Runtime exited without providing a reason")],
)
def test_the_end_of_the_runtime(lambda_: Any, function: str, code: int, text: str) -> None:
    body, error = invoke(lambda_, function, {"do": "exit", "code": code})
    assert (error, body["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert body["errorMessage"].startswith("RequestId: ")
    assert text in body["errorMessage"]
    again, _ = invoke(lambda_, function)
    assert again["count"] == 1  # a new environment


def test_a_time_out_kills_the_environment(aws: StrictAws, lambda_: Any, code_dir: Path) -> None:
    aws.create_function("f", code_dir, timeout_s=0.25)
    before, _ = invoke(lambda_, "f")
    body, error = invoke(lambda_, "f", {"do": "sleep", "s": 60})
    assert error == "Unhandled"
    assert body["errorMessage"].endswith("Task timed out after 0.25 seconds")
    after, _ = invoke(lambda_, "f")
    assert after["pid"] != before["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(before["pid"], 0)


@pytest.mark.parametrize(
    ("source", "kind", "text"),
    [
        (
            "import nothing_like_it",
            "Runtime.ImportModuleError",
            "No module named 'nothing_like_it'",
        ),
        ("def handler(:", "Runtime.UserCodeSyntaxError", "invalid syntax"),
        ("x = 1", "Runtime.HandlerNotFound", "missing on module"),
        ("1 / 0", "ZeroDivisionError", "division by zero"),
        ("import os; os._exit(9)", "Runtime.ExitError", "exit status 9"),
    ],
)
def test_init_errors(
    aws: StrictAws, lambda_: Any, tmp_path: Path, source: str, kind: str, text: str
) -> None:
    (tmp_path / "handler.py").write_text(source)
    aws.create_function("f", tmp_path)
    body, error = invoke(lambda_, "f")
    assert (error, body["errorType"]) == ("Unhandled", kind)
    assert text in body["errorMessage"]


def test_request_limits(aws: StrictAws, lambda_: Any) -> None:
    aws.create_function("f", respond=lambda event: b"%d" % len(event))
    for kind, limit in [("RequestResponse", 6_291_456), ("Event", 1_048_576)]:
        payload = b'"' + b"x" * (limit - 2) + b'"'
        lambda_.invoke(FunctionName="f", InvocationType=kind, Payload=payload)
        with pytest.raises(ClientError) as caught:
            lambda_.invoke(FunctionName="f", InvocationType=kind, Payload=payload + b" ")
        assert status_of(caught.value) == 413
        assert code_of(caught.value) == "RequestEntityTooLargeException"
        assert f"{limit + 1} byte payload is too large for the {kind}" in str(caught.value)


def test_the_response_limit(lambda_: Any, function: str) -> None:
    limit = 6 * 1024 * 1024 + 100
    whole, error = invoke(lambda_, function, {"do": "size", "bytes": limit - 2})
    assert (len(whole), error) == (limit - 2, "")
    body, error = invoke(lambda_, function, {"do": "size", "bytes": limit - 1})
    assert (error, body["errorType"]) == ("Unhandled", "Function.ResponseSizeTooLarge")
    assert f"({limit} bytes)" in body["errorMessage"]
    assert invoke(lambda_, function)[0]["count"] == 1  # as on AWS, the runtime did not survive it


def test_what_invoke_refuses(aws: StrictAws, lambda_: Any, make_client: Any) -> None:
    aws.create_function("f", respond=lambda event: event)
    assert invoke_status(lambda_, "f", InvocationType="DryRun") == 204
    refused: list[tuple[dict[str, Any], int, str]] = [
        ({"FunctionName": "g"}, 404, "ResourceNotFoundException"),
        ({"FunctionName": "f", "Qualifier": "7"}, 404, "ResourceNotFoundException"),
        ({"FunctionName": "f", "Payload": b"{"}, 400, "InvalidRequestContentException"),
    ]
    for kwargs, status, code in refused:
        with pytest.raises(ClientError) as caught:
            lambda_.invoke(**kwargs)
        assert (status_of(caught.value), code_of(caught.value)) == (status, code)
    with pytest.raises(ClientError, match=r"arn:aws:lambda:eu-west-1:123456789012:function:f"):
        make_client(aws, "lambda", region="eu-west-1").invoke(FunctionName="f")
    assert lambda_.invoke(FunctionName="f")["Payload"].read() == b"{}"


def test_a_function_has_all_the_names_of_its_own(lambda_: Any, function: str) -> None:
    for name in ("f", "f:$LATEST", "123456789012:function:f",
                 "arn:aws:lambda:us-east-1:123456789012:function:f"):  # fmt: skip
        assert invoke(lambda_, name)[1] == ""


def test_the_environment_is_lambdas_and_nothing_leaks(
    aws: StrictAws, lambda_: Any, code_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_SECRET", "leaks")
    aws.create_function("f", code_dir, memory_mb=256, environment={"MINE": "1"})
    found, _ = invoke(lambda_, "f", {"do": "environ"})
    assert "HOST_SECRET" not in found
    assert "HOME" not in found
    assert "VIRTUAL_ENV" not in found
    assert found["MINE"] == "1"
    assert found["AWS_LAMBDA_FUNCTION_NAME"] == "f"
    assert found["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert found["AWS_REGION"] == found["AWS_DEFAULT_REGION"] == "us-east-1"
    assert found["AWS_ENDPOINT_URL_S3"] == aws.endpoint_url
    assert found["AWS_EXECUTION_ENV"] == f"AWS_Lambda_python3.{sys.version_info.minor}"
    assert found["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert found["AWS_SESSION_TOKEN"]
    assert found["LAMBDA_TASK_ROOT"] == os.path.dirname(found["LAMBDA_TASK_ROOT"] + "/x")


@pytest.mark.parametrize("module", ["boto3", "pytest", "tests", "pip", "tests.strict_aws"])
def test_what_is_missing_on_lambda_is_missing_here(
    lambda_: Any, function: str, module: str
) -> None:
    body, _ = invoke(lambda_, function, {"do": "import", "name": module})
    assert body["errorType"] in ("ModuleNotFoundError", "ImportError")


def test_layers_are_importable(
    aws: StrictAws, lambda_: Any, code_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "from_a_layer.py").write_text("")
    aws.create_function("f", code_dir, layers=[str(tmp_path)])
    assert invoke(lambda_, "f", {"do": "import", "name": "from_a_layer"})[1] == ""


@pytest.mark.parametrize("python", OTHER_PYTHONS, ids=str)
def test_another_interpreter(aws: StrictAws, lambda_: Any, code_dir: Path, python: Path) -> None:
    aws.create_function("f", code_dir, python=str(python))
    found, error = invoke(lambda_, "f", {"do": "environ"})
    assert error == ""
    version = found["AWS_EXECUTION_ENV"].removeprefix("AWS_Lambda_python")
    assert re.search(rf"python-?{re.escape(version)}|/{re.escape(version)}", str(python))
    assert invoke(lambda_, "f", {"do": "raise"})[0]["errorType"] == "ValueError"
    assert invoke(lambda_, "f")[0]["count"] == 3


def test_memory_above_the_limit_is_killed(aws: StrictAws, lambda_: Any, code_dir: Path) -> None:
    aws.create_function("f", code_dir, memory_mb=128, enforce_memory=True)
    assert invoke(lambda_, "f")[1] == ""
    body, error = invoke(lambda_, "f", {"do": "allocate", "mb": 200})
    assert (error, body["errorType"]) == ("Unhandled", "Runtime.OutOfMemory")
    assert "signal: killed" in body["errorMessage"]


def test_memory_kills_the_child_that_offers_itself(
    aws: StrictAws, lambda_: Any, tmp_path: Path
) -> None:
    """As the kernel does: `oom_score_adj` decides which process of the sandbox dies."""
    (tmp_path / "handler.py").write_text(
        "import os, time\n"
        "def handler(event, context):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        open('/proc/self/oom_score_adj', 'w').write('1000')\n"
        "        block = bytearray(200 << 20)\n"
        "        time.sleep(5)\n"
        "    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
    )
    aws.create_function("f", tmp_path, memory_mb=128, enforce_memory=True)
    assert invoke(lambda_, "f") == (-signal.SIGKILL, "")


def test_idle_environments_are_frozen(aws: StrictAws, lambda_: Any, tmp_path: Path) -> None:
    """A thread that a handler leaves behind does not run between invocations."""
    (tmp_path / "handler.py").write_text(
        "import os\ndef handler(event, context):\n    return os.getpid()\n"
    )
    aws.create_function("f", tmp_path)
    pid, _ = invoke(lambda_, "f")
    stopped = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    assert stopped is not None
    assert stopped.si_status == signal.SIGSTOP
    assert invoke(lambda_, "f") == (pid, "")
    aws.freezes_idle = False
    aws.recycle("f")
    pid, _ = invoke(lambda_, "f")
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T"


def test_processes_end_with_the_fake(make_client: Any, tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text(
        "import os, subprocess\n"
        "def handler(event, context):\n"
        "    child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "    return [os.getpid(), child.pid]\n"
    )
    before = set(threading.enumerate())  # other fakes may live as long as the session of tests
    with StrictAws() as aws:
        aws.create_function("f", tmp_path)
        pids, _ = invoke(make_client(aws, "lambda"), "f")
        work_dir = aws.function("f").code_dir.parent
        assert work_dir.exists()
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat")
        # Whoever inherits the grandchild may not have reaped it yet.
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"
    assert not work_dir.exists()
    left = set(threading.enumerate()) - before
    assert not any(thread.name == "strict-aws" for thread in left)


def test_an_init_that_takes_too_long_is_repeated_in_the_invocation(
    aws: StrictAws, lambda_: Any, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    code = tmp_path / "code"
    code.mkdir()
    (code / "handler.py").write_text(
        "import pathlib, time\n"
        f"marker = pathlib.Path({str(marker)!r})\n"
        "if not marker.exists():\n"
        "    marker.touch()\n"
        "    time.sleep(60)\n"
        "def handler(event, context):\n"
        "    return 'second'\n"
    )
    aws.lambda_.pool.init_max_s = 0.3
    aws.create_function("f", code)
    assert invoke(lambda_, "f") == ("second", "")
    aws.recycle("f")
    (aws.function("f").code_dir / "handler.py").write_text("import time; time.sleep(60)")
    aws.function("f").timeout_s = 0.2
    body, _ = invoke(lambda_, "f")
    assert body["errorType"] == "Sandbox.Timedout"


def test_a_client_that_goes_away_does_not_stop_the_function(
    aws: StrictAws, code_dir: Path, tmp_path: Path
) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    aws.create_function("f", code_dir)
    body = json.dumps({"do": "wait", "fifo": fifo}).encode()
    path = "/2015-03-31/functions/f/invocations"
    request = signed(aws, "POST", path, body, service="lambda")
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    host = aws.endpoint_url.removeprefix("http://")
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    with connect(aws) as sock:
        sock.sendall(head.encode() + body)
        writer = open(fifo, "w")  # noqa: SIM115  returns once the handler runs
    writer.close()
    aws.wait_quiet()
    [record] = aws.log
    assert (record.status, record.response_bytes > 0) == (200, True)
    assert aws.cold_starts("f") == 1


def test_a_chain_of_a_function_calling_itself_is_stopped(aws: StrictAws) -> None:
    aws.create_function("f", respond=lambda event: event)
    path = "/2015-03-31/functions/f/invocations"
    trace = ""
    for depth in range(1, 18):
        headers = {"X-Amzn-Trace-Id": trace} if trace else {}
        request = signed(aws, "POST", path, b"{}", headers, service="lambda")
        status, _, body = send_signed(aws, request)
        assert (status, b"recursive loop" in body) == ((200, False) if depth <= 16 else (400, True))
        trace = f"Root=1-0-0;Sampled=0;Lineage=1:{LINEAGE}:{depth}"


LINEAGE = f"{zlib.crc32(b'arn:aws:lambda:us-east-1:123456789012:function:f'):08x}"


def test_the_trace_reaches_the_function(aws: StrictAws, lambda_: Any, function: str) -> None:
    found, _ = invoke(lambda_, function, {"do": "environ"})
    assert found["_X_AMZN_TRACE_ID"].endswith(f"Lineage=1:{LINEAGE}:1")
