"""Scripted faults, latencies, and what the fake remembers."""

import json
import os
import random
import select
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    IncompleteReadError,
    ResponseStreamingError,
)

from tests.strict_aws import StrictAws, heavy_tail, uniform
from tests.strict_aws_tests.wire import (
    code_of,
    invoke,
    invoke_status,
    send_signed,
    signed,
    status_of,
)

ROOT = Path(__file__).parents[2]


def put(s3: Any, key: str = "k", body: bytes = b"body") -> Any:
    return s3.put_object(Bucket="jobs", Key=key, Body=body)


def test_a_status_for_the_nth_matching_request(aws: StrictAws, s3: Any) -> None:
    rule = aws.script.on("PutObject", key="*/out/*", nth=2).status(503, "SlowDown")
    put(s3, "in/1")
    put(s3, "a/out/1")
    with pytest.raises(ClientError) as caught:
        put(s3, "a/out/2")
    assert (status_of(caught.value), code_of(caught.value)) == (503, "SlowDown")
    put(s3, "a/out/2")
    assert (rule.matched, rule.fired) == (3, 1)
    assert list(aws.objects("jobs")) == ["a/out/1", "a/out/2", "in/1"]
    assert [record.fault for record in aws.log] == ["", "", "status", ""]


def test_usual_codes_by_service(aws: StrictAws, s3: Any, lambda_: Any) -> None:
    aws.script.on(times=2).status(500)
    with pytest.raises(ClientError, match="InternalError"):
        put(s3)
    with pytest.raises(ClientError, match="ServiceException"):
        lambda_.list_functions()
    put(s3)


def test_reset_is_not_applied_and_a_lost_response_is(aws: StrictAws, s3: Any) -> None:
    aws.script.on("PutObject", key="reset").reset()
    aws.script.on("PutObject", key="lost").lose_response()
    for key in ("reset", "lost"):
        with pytest.raises((ConnectionClosedError, EndpointConnectionError)):
            put(s3, key)
    aws.wait_quiet()
    assert aws.objects("jobs") == {"lost": b"body"}
    assert [(record.status, record.fault) for record in aws.log] == [
        (0, "reset"), (0, "lose_response")
    ]  # fmt: skip


def test_a_response_cut_in_its_middle(aws: StrictAws, s3: Any, lambda_: Any) -> None:
    aws.put_object("jobs", "k", b"x" * 1000)
    aws.create_function("f", respond=lambda event: b'"' + b"y" * 1000 + b'"')
    aws.script.on("GetObject").cut_response(100)
    aws.script.on("Invoke").cut_response(100)
    with pytest.raises((IncompleteReadError, ResponseStreamingError)):
        s3.get_object(Bucket="jobs", Key="k")["Body"].read()
    with pytest.raises((IncompleteReadError, ResponseStreamingError)):
        lambda_.invoke(FunctionName="f")["Payload"].read()
    assert aws.peak_concurrency("f") == 1


def test_throttles_name_their_reason(aws: StrictAws, s3: Any, lambda_: Any) -> None:
    aws.create_function("f", respond=lambda event: event)
    aws.script.on(nth=[1, 2]).throttle(retry_after=0.5, reason="CallerRateLimitExceeded")
    with pytest.raises(ClientError) as caught:
        invoke_status(lambda_, "f")
    assert caught.value.response["Reason"] == "CallerRateLimitExceeded"
    assert caught.value.response["retryAfterSeconds"] == "0.5"
    with pytest.raises(ClientError, match="SlowDown"):
        put(s3)
    assert aws.peak_concurrency("f") == 0


def test_a_killed_runtime(aws: StrictAws, lambda_: Any, code_dir: Path) -> None:
    aws.create_function("f", code_dir)
    aws.script.on("Invoke", nth=1).kill_runtime()
    body, error = invoke(lambda_, "f", {"do": "sleep", "s": 30})
    assert (error, body["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert body["errorMessage"].endswith("Runtime exited with error: signal: killed")
    assert invoke(lambda_, "f")[0]["count"] == 1


def test_latency_and_delays_are_scaled(aws: StrictAws, s3: Any) -> None:
    aws.time_scale = 0.01
    aws.latency["s3"] = 1.0
    aws.latency["HeadBucket"] = 0.0
    aws.script.on("PutObject", nth=2).delay(uniform(4.0, 5.0))
    aws.script.on("PutObject", nth=3).delay_response(3.0)
    s3.head_bucket(Bucket="jobs")
    for _ in range(3):
        put(s3)
    head, plain, late, answered_late = (
        record.finished_at - record.received_at for record in aws.log
    )
    assert head < 0.01 <= plain
    assert late >= 0.05
    assert answered_late >= 0.04


def test_a_heavy_tail_is_one() -> None:
    draw = heavy_tail(0.02, longest_s=5.0)
    source = random.Random(1)
    drawn = sorted(draw(source) for _ in range(20_000))
    assert 0.018 < drawn[10_000] < 0.022
    assert drawn[19_800] > 10 * drawn[10_000]
    assert drawn[-1] <= 5.0


def test_rates_every_times_and_conditions(aws: StrictAws, s3: Any) -> None:
    often = aws.script.on("HeadBucket", rate=0.25, seed=1).status(500)
    third = aws.script.on("HeadBucket", every=3, times=2).status(503)
    never = aws.script.on("*", when=lambda record: record.bucket == "other").reset()
    statuses = []
    for _ in range(40):
        try:
            statuses.append(status_of_head(s3))
        except ClientError as exc:
            statuses.append(status_of(exc))
    source = random.Random(1)
    picked = [source.random() < 0.25 for _ in range(40)]
    assert often.fired == sum(picked) > 0
    assert (third.fired, never.matched) == (2, 0)
    expected = [500 if hit else 200 for hit in picked]
    expected[2] = expected[5] = 503
    assert statuses == expected
    aws.script.clear()
    assert status_of_head(s3) == 200


def status_of_head(s3: Any) -> int:
    return int(s3.head_bucket(Bucket="jobs")["ResponseMetadata"]["HTTPStatusCode"])


def test_rules_by_identity_and_function(aws: StrictAws, make_client: Any) -> None:
    for name in ("f", "g"):
        aws.create_function(name, respond=lambda event: event)
    other = make_client(aws, "lambda", aws.identity("other", ["*"]))
    aws.script.on(identity="other", function="g").status(500)
    assert invoke_status(other, "f") == 200
    with pytest.raises(ClientError, match="ServiceException"):
        other.invoke(FunctionName="g")
    assert make_client(aws, "lambda").invoke(FunctionName="g")["StatusCode"] == 200


def test_the_log_tells_what_happened(aws: StrictAws, s3: Any) -> None:
    put(s3)
    with pytest.raises(ClientError):
        s3.get_object(Bucket="jobs", Key="missing")
    first, second = aws.log
    assert (first.service, first.operation, first.method) == ("s3", "PutObject", "PUT")
    assert (first.bucket, first.key, first.identity) == ("jobs", "k", "admin")
    assert (first.status, first.error, first.request_bytes) == (200, "", 4)
    assert (second.status, second.error) == (404, "NoSuchKey")
    assert first.request_body is None
    assert aws.requests == {"PutObject": 1, "GetObject": 1}
    aws.clear_log()
    assert (aws.requests, aws.log) == ({}, [])


def test_a_leaked_secret_is_found(make_client: Any, tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text(
        "import os\n"
        "def handler(event, context):\n"
        "    print(os.environ['AWS_SECRET_ACCESS_KEY'])\n"
        "    return os.environ['AWS_SESSION_TOKEN']\n"
    )
    with StrictAws(buckets=["jobs"], keep_bodies=True) as aws:
        role = aws.identity("worker", is_role=True)
        aws.create_function("f", tmp_path, role=role)
        invoke(make_client(aws, "lambda"), "f")
        put(make_client(aws, "s3"), "dump", b"<<my secret>>")
        issued = [key for key in aws._identities.by_key.values() if key.identity is role][-1]
        assert aws.find_text(issued.secret_key) == ["log f"]
        assert aws.find_text(issued.session_token) == ["0 Invoke response"]
        assert aws.find_text("my secret") == ["1 PutObject request", "object jobs/dump"]
        assert aws.find_text(aws.admin.secret_key) == []


def test_an_error_of_the_fake_itself_is_not_hidden(make_client: Any) -> None:
    with pytest.raises(RuntimeError, match="the strict fake failed"):  # noqa: PT012, SIM117
        with StrictAws(buckets=["jobs"]) as aws:
            aws.script.on("PutObject", when=lambda record: bool(1 / 0)).reset()
            with pytest.raises(ClientError, match="InternalError"):
                put(make_client(aws, "s3"))


def test_wait_quiet_waits_for_what_runs(aws: StrictAws, lambda_: Any) -> None:
    aws.create_function("f", respond=lambda event: event)
    aws.script.on("Invoke").duplicate_event(delay_s=0.05)
    lambda_.invoke(FunctionName="f", InvocationType="Event")
    aws.wait_quiet()
    assert [event.status for event in aws.events] == ["done", "done"]
    aws.wait_quiet(0.5)


def test_it_runs_on_its_own(code_dir: Path) -> None:
    command = [sys.executable, "-m", "tests.strict_aws", "--bucket", "b", "--latency", "s3=0.001",
               "--function", f"f={code_dir}:handler.handler"]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = json.loads(process.stdout.readline())
        try:
            session = __import__("botocore.session").session.get_session()
            client = session.create_client(
                "lambda",
                region_name=found["AWS_REGION"],
                endpoint_url=found["endpoint_url"],
                aws_access_key_id=found["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=found["AWS_SECRET_ACCESS_KEY"],
            )
            answer, _ = invoke(client, "f")
            client.close()
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(answer["pid"], 0)


def test_a_bare_request_reaches_it(aws: StrictAws) -> None:
    assert send_signed(aws, signed(aws, "HEAD", "/jobs"))[0] == 200


def test_killed_children_leave_the_runtime_alive(
    aws: StrictAws, lambda_: Any, tmp_path: Path
) -> None:
    (tmp_path / "handler.py").write_text(
        "import subprocess\n"
        "def handler(event, context):\n"
        "    return subprocess.run(['sleep', '30']).returncode\n"
    )
    aws.create_function("f", tmp_path)
    aws.script.on("Invoke").kill_children(after_s=0.2)
    assert invoke(lambda_, "f") == (-signal.SIGKILL, "")
    assert aws.cold_starts("f") == 1


def test_frozen_functions_die_with_a_fake_that_is_killed(code_dir: Path, tmp_path: Path) -> None:
    """The kernel hangs up a stopped process group whose parent has gone."""
    command = [
        sys.executable,
        "-m",
        "tests.strict_aws",
        "--function",
        f"f={code_dir}:handler.handler",
    ]
    # Its files outlive a fake that is killed: they go where pytest tidies up.
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        found = json.loads(process.stdout.readline())
        session = __import__("botocore.session").session.get_session()
        client = session.create_client(
            "lambda",
            region_name=found["AWS_REGION"],
            endpoint_url=found["endpoint_url"],
            aws_access_key_id=found["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=found["AWS_SECRET_ACCESS_KEY"],
        )
        answer, _ = invoke(client, "f")
        client.close()
        descriptor = os.pidfd_open(answer["pid"])
        process.kill()
    ended, _, _ = select.select([descriptor], [], [], 10)
    os.close(descriptor)
    assert ended


def test_a_storm_of_all_faults_leaves_nothing_behind(
    aws: StrictAws, lambda_: Any, code_dir: Path
) -> None:
    aws.time_scale = 0.001
    aws.scaling.account_concurrency = 6
    aws.create_function("f", code_dir)
    aws.latency["*"] = heavy_tail(0.02)
    for seed, rule in enumerate(("reset", "lose_response", "cut_response", "throttle", "lose_event",
                                 "duplicate_event", "kill_runtime")):  # fmt: skip
        getattr(aws.script.on("Invoke", rate=0.05, seed=seed), rule)()
    results: Counter[str] = Counter()

    def one(number: int) -> str:
        kind = "Event" if number % 2 else "RequestResponse"
        try:
            return invoke(lambda_, "f", {"do": None}, InvocationType=kind)[1] or "ok"
        except ClientError as exc:
            return code_of(exc)
        except BotoCoreError:
            return "connection"

    with ThreadPoolExecutor(4) as threads:
        results.update(threads.map(one, range(400)))
    aws.wait_quiet()
    assert set(results) == {"ok", "Unhandled", "TooManyRequestsException", "connection"}
    assert results["ok"] > 250
    states = Counter(event.status for event in aws.events)
    assert set(states) == {"done", "lost"}
    assert aws.peak_concurrency("f") <= 6
