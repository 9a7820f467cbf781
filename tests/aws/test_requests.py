"""What calls cost in requests, and that the worker starts wherever it is deployed."""

from __future__ import annotations

import json
import subprocess

import pytest

from lambdafutures.deploy import bundle
from tests.benchmarks import requests

SERVE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from lambdafutures._worker.supervisor import handler

class Context:
    memory_limit_in_mb = "1769"
    def get_remaining_time_in_millis(self):
        return 30_000

answer = handler(json.load(sys.stdin), Context())
print(json.dumps(answer))
"""


def test_many_submits_are_listed_as_cheaply_as_one_map(monkeypatch):
    monkeypatch.setattr(requests, "CALL_S", 0.5)
    by_submits = requests.count_requests("poll", requests.submits)
    by_map = requests.count_requests("poll", requests.one_map)
    assert by_submits["Invoke"] == by_map["Invoke"] == requests.CALLS
    # The same pace and the same prefix: the difference is what this machine was busy with.
    assert by_submits["ListObjectsV2"] <= 2 * by_map["ListObjectsV2"] + 2
    assert by_submits["GetObject"] <= 2 * requests.CALLS


@pytest.mark.parametrize("version", requests.PYTHONS)
def test_the_handler_serves_in_a_bare_interpreter(version, tmp_path):
    python = requests.find_pythons().get(version.removeprefix("python"))
    if python is None:
        pytest.skip(f"there is no {version}")
    (tmp_path / "worker.zip").write_bytes(bundle.build().data)
    subprocess.run(
        [python, "-I", "-m", "zipfile", "-e", "worker.zip", "."], check=True, cwd=tmp_path
    )
    for body, says in (({"hello": 1}, "not a message"), (_call(version), "outcome")):
        done = subprocess.run(
            [python, "-I", "-S", "-c", SERVE, str(tmp_path)],
            input=json.dumps(body),
            check=True,
            capture_output=True,
            text=True,
        )
        assert says in done.stdout
        assert done.stderr == ""


def _call(version: str) -> dict[str, object]:
    from lambdafutures._wire import blob, codec
    from lambdafutures._wire.invocation import Invocation
    from lambdafutures._wire.payload import Payload, SessionHead

    function = codec.dumps(abs).parts
    payload = Payload(
        0, 1, blob.digest(function), codec.dumps([(-1,)]).parts, function_parts=function
    )
    asked = Invocation(
        SessionHead("s", version.removeprefix("python")),
        payload,
        bucket="b",
        prefix="p",
        reply="response",
        out_key="k",
        key=bytes(32),
        deadline_s=0.0,
    )
    fields: dict[str, object] = json.loads(asked.encode())
    return fields
