"""A project of one's own travels with no configuration: on the strict fake, ministack, and here."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from lambdafutures.cli import main
from tests.aws_cloud import MODES
from tests.environment import project


@pytest.fixture
def run_script(tmp_path):
    """Run the project's script from a folder outside of the project; returns what it printed."""
    folder = project.write(tmp_path / "project")
    script = tmp_path / "elsewhere" / "script.py"
    script.parent.mkdir()
    script.write_text(textwrap.dedent(project.SCRIPT))

    def run(**options):
        done = subprocess.run(
            [sys.executable, "-W", "error", str(script), str(folder), json.dumps(options)],
            capture_output=True,
            text=True,
            cwd=script.parent,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def lines_of(report: str) -> dict[str, str]:
    return {line.partition(":")[0]: line for line in report.splitlines()}


def check(report: str) -> None:
    lines = lines_of(report)
    assert "4 files" in lines["fleet"]
    assert "a call refers to it" in lines["fleet"]
    assert "fleet.ships imports it" in lines["harbour"]
    assert "a function that travels imports it" in lines["pilot"]
    assert "2 files" in lines["ocean.north"]
    assert "unrelated" not in report


@pytest.mark.parametrize("mode", MODES)
def test_on_the_strict_fake(make_aws, run_script, mode):
    aws = make_aws()
    check(run_script(backend="aws", completion=mode))
    uploads = [r.key for r in aws.fake.log if r.operation == "PutObject" and "/bundles/" in r.key]
    assert len(uploads) == len(set(uploads))
    # Another executor finds them.
    check(run_script(backend="aws", completion=mode))
    again = [r.key for r in aws.fake.log if r.operation == "PutObject" and "/bundles/" in r.key]
    assert again == uploads


def test_on_ministack(cloud, run_script):
    assert main(["deploy", "--yes"]) == 0
    check(run_script(backend="aws"))


def test_here(run_script):
    assert run_script(backend="local") == "nothing travels\n"
