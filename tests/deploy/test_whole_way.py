"""From nothing to a demonstration on Lambda and back: the commands in the order of docs/aws.md."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from pathlib import Path

import pytest

from lambdafutures import LambdaPoolExecutor
from lambdafutures.cli import main
from lambdafutures.deploy import bundle
from lambdafutures.deployment import find_deployment, remember
from tests.deploy.test_doctor import lines, states

DOCS = Path(__file__).parents[2] / "docs" / "aws.md"
HELP = Path(__file__).with_name("help.txt")


def shown() -> list[list[str]]:
    """The commands at the beginning of docs/aws.md, as arguments."""
    block = re.search(r"```sh\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert block is not None
    commands = [line.split() for line in block[1].splitlines()]
    assert {command[0] for command in commands} == {"lambdafutures"}
    return [command[1:] for command in commands]


@pytest.fixture(scope="module")
def built():
    """The worker as it is now, whoever edits the sources meanwhile."""
    return bundle.build()


@pytest.fixture
def command(built, capsys, monkeypatch):
    """Run the command with the real worker; returns its exit status and what it printed."""
    monkeypatch.setattr(bundle, "build", lambda nested=False: built)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def deployed(cloud, command):
    assert command("deploy", "--yes")[0] == 0
    return find_deployment()


def test_the_whole_way(cloud, command):
    """The commands that docs/aws.md shows; afterwards all is as before."""
    before = cloud.inventory()
    deploy, doctor, demo, show, destroy = shown()
    status, out, err = command(*deploy)
    assert (status, err) == (0, "")
    assert "1000 calls at once" in out

    status, out, err = command(*doctor)
    assert (status, err, states(out)) == (0, "", {"ok"}), out
    for path in ("response", "poll"):
        assert re.fullmatch(r"\d+ ms", lines(out)[f"round trip by {path}"][1])

    status, out, err = command(*demo)
    assert (status, err) == (0, "")
    assert f"{demo[-1]} files" in out
    assert "backend=aws" in out
    assert "the totals equal the serial count" in out

    status, out, err = command(*show)
    assert (status, err) == (0, "")
    assert "0 objects of 0 sessions" in out, "executors and doctor leave nothing in the bucket"

    status, out, err = command(*destroy)
    assert (status, err) == (0, "")
    assert cloud.inventory() == before
    assert find_deployment() is None


def test_the_options_that_the_document_names_exist():
    named = set(re.findall(r"`.*?(--[a-z-]+)", DOCS.read_text()))
    assert {"--memory", "--nested", "--no-nested", "--print-policy"} <= named
    assert named <= set(re.findall(r"--[a-z-]+", HELP.read_text()))


def test_what_was_deployed_is_found(deployed):
    """No argument, no variable: the backend, and the account's concurrency as an integer."""
    with LambdaPoolExecutor() as ex:
        assert "backend=aws (deployment 'lambdafutures' is set up) max_workers=1000>" in repr(ex)
    remember(dataclasses.replace(deployed, concurrency=7))
    with LambdaPoolExecutor() as ex:
        assert repr(ex).endswith("max_workers=7>")
    with LambdaPoolExecutor(3) as ex:
        assert repr(ex).endswith("max_workers=3>")


def test_workers_run_what_was_deployed_and_know_the_deployment(deployed):
    """The zip's modules, not those of this machine; this client's paths do not travel."""
    ask = "__import__({!r}).{}"
    with LambdaPoolExecutor(1) as ex:
        file = ex.submit(eval, ask.format("lambdafutures", "__file__")).result()
        path = ex.submit(eval, ask.format("sys", "path")).result()
        told = ex.submit(eval, "__import__('lambdafutures.deployment').deployment.find_deployment")
        there = ex.submit(eval, "f()", {"f": told.result()}).result()
    assert "ministack-lambda-" in file
    assert os.path.dirname(file).startswith(path[0])
    assert there == deployed


def test_doctor_gives_up_on_a_call_that_does_not_come_back(cloud, command, monkeypatch):
    """Within its time limit, with the command that shows why."""
    name = "lambdafutures/_worker/supervisor.py"
    body = b"import threading\ndef handler(event, context):\n    threading.Event().wait(20)\n"
    mute = bundle.Bundle(bundle.pack({name: body}), (name,))
    monkeypatch.setattr(bundle, "build", lambda nested=False: mute)
    monkeypatch.setattr("lambdafutures.cli.doctor.ROUND_TRIP_MAX_S", 0.5)
    # A name of its own: ministack keeps the process of a function that was deleted.
    assert command("deploy", "--yes", "--timeout", "30", "--name", "mute")[0] == 0
    status, out, err = command("doctor", "--name", "mute")
    assert (status, err) == (1, "")
    for path in ("response", "poll"):
        state, finding, remedy = lines(out)[f"round trip by {path}"]
        assert (state, finding) == ("failed", "TimeoutError: no outcome within 0.5 s")
        assert "aws logs tail /aws/lambda/mute-py" in remedy
    assert command("destroy", "--yes", "--name", "mute")[0] == 0


def test_the_counting_function_is_light(built, tmp_path):
    """A worker that counts words loads neither the command nor the executor."""
    import io
    import subprocess
    import zipfile

    with zipfile.ZipFile(io.BytesIO(built.data)) as archive:
        archive.extractall(tmp_path)
    program = (
        "import sys\nbefore = set(sys.modules)\nimport lambdafutures.cli.words\n"
        "print(*(name for name in sorted(set(sys.modules) - before) if 'lambda' in name))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.split() == ["lambdafutures", "lambdafutures.cli", "lambdafutures.cli.words"]
