"""The commands as such: their help, what they load, what they print without AWS."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lambdafutures.cli import main
from lambdafutures.deploy.session import Region, choose_region
from lambdafutures.deployment import Deployment
from tests.deploy.conftest import REGION

HELP = Path(__file__).with_name("help.txt")
VERBS = ("deploy", "doctor", "status", "runtime", "destroy", "jobs", "clean")


def show_help(verb: str) -> str:
    """The text of `--help`, the same on any terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "lambdafutures.cli", verb, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "90", "NO_COLOR": "1", "PYTHONPATH": str(HELP.parents[2])},
        timeout=30,
    )
    return done.stdout


def test_help_is_pinned():
    """To accept a change: python -m tests.deploy.test_cli"""
    assert "\n".join(map(show_help, VERBS)) == HELP.read_text()


def test_the_command_is_light():
    """Neither boto3 nor the deployment's modules are loaded before a verb runs."""
    program = (
        "import sys, lambdafutures.cli\n"
        "heavy = {'boto3', 'botocore', 'aiobotocore', 'zipfile'} | "
        "{m for m in sys.modules if m.startswith('lambdafutures.deploy.')}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == ""


def test_the_template_is_printed_without_aws(no_aws, lambdafutures):
    status, out, err = lambdafutures("deploy", "--print-template", "--memory", "256")
    assert (status, err) == (0, "")
    resources = json.loads(out)["Resources"]
    assert [
        r["Properties"]["MemorySize"] for r in resources.values() if "MemorySize" in r["Properties"]
    ] == [256]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--memory", "1"], "--memory 1 is not between 128 and 10240 MB"),
        (["--timeout", "0"], "--timeout 0 is not between 1 and 900 s"),
        (["--name", "A"], "--name 'A' must be"),
    ],
)
def test_bad_arguments_are_told_before_aws_is_asked(no_aws, lambdafutures, arguments, complaint):
    status, _, err = lambdafutures("deploy", *arguments)
    assert status == 1
    assert complaint in err


def test_boto3_missing(no_aws, lambdafutures, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    status, _, err = lambdafutures("status")
    assert status == 1
    assert "pip install 'lambdafutures[deploy]'" in err


def test_declining_changes_nothing(cloud, monkeypatch, lambdafutures):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    before = cloud.inventory()
    status, out, _ = lambdafutures("deploy")
    assert status == 1
    assert "nothing was changed" in out
    assert cloud.inventory() == before
    lambdafutures("deploy", "--yes")
    status, out, _ = lambdafutures("destroy")
    assert status == 1
    assert "nothing was deleted" in out
    status, out, _ = lambdafutures("destroy", "--dry-run")
    assert status == 0
    assert "lambdafutures" in cloud.inventory()["stacks"]


def test_profiles_and_names(cloud, lambdafutures, monkeypatch, tmp_path):
    """Credentials and region of a profile; a name from the environment."""
    (tmp_path / "config").write_text(f"[profile work]\nregion = {REGION}\n")
    (tmp_path / "credentials").write_text(
        "[work]\naws_access_key_id = test\naws_secret_access_key = test-secret\n"
    )
    with monkeypatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            patch.delenv(name)
        patch.setenv("LAMBDAFUTURES_DEPLOYMENT", "other")
        assert lambdafutures("deploy", "--yes", "--profile", "work")[0] == 0
        assert "other" in cloud.inventory()["stacks"]
        patch.setenv("AWS_PROFILE", "work")
        assert "other in " + REGION in lambdafutures("status")[1]
        assert lambdafutures("destroy", "--yes")[0] == 0


THERE = Deployment("d", "eu-west-1", "b")


@pytest.mark.parametrize(
    ("given", "remembered", "environ", "of_profile", "expected"),
    [
        ("a", THERE, {"AWS_REGION": "x"}, "y", Region("a", "--region")),
        (None, THERE, {"AWS_REGION": "x"}, "y", Region("eu-west-1", "remembered deployment 'd'")),
        (
            None,
            None,
            {"AWS_REGION": "x", "AWS_DEFAULT_REGION": "z"},
            "y",
            Region("x", "AWS_REGION"),
        ),
        (None, None, {"AWS_DEFAULT_REGION": "z"}, "y", Region("z", "AWS_DEFAULT_REGION")),
        (None, None, {"AWS_REGION": ""}, "y", Region("y", "the profile")),
        (None, None, {}, None, Region("", "nothing")),
    ],
)
def test_who_chooses_the_region(given, remembered, environ, of_profile, expected):
    assert choose_region(given, remembered, environ, of_profile) == expected


def test_every_verb_is_listed(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)


if __name__ == "__main__":
    HELP.write_text("\n".join(map(show_help, VERBS)))
