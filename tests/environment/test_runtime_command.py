"""`lambdafutures runtime`: build, list, remove."""

from __future__ import annotations

import io
import re

import pytest

from lambdafutures._environment import installer
from lambdafutures._environment.target import Target
from lambdafutures.cli import main
from lambdafutures.cli.bar import Bar
from tests.aws_cloud import BUCKET
from tests.environment.wheels import make_wheel


@pytest.fixture
def command(capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["runtime", *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def name_in(text: str) -> str:
    return re.findall(r"\b[0-9a-f]{12}\b", text)[0]


def test_build_list_and_remove(plain, own, index, command):
    python = Target.here().python
    plain.remember(python=python, packages={})
    make_wheel(index, "small", "1.0")
    make_wheel(index, "other", "2.0")
    status, out, err = command("build", "small")
    assert (status, err) == (0, "installing ...\ncompiling ...\npacking ...\nuploading ...\n")
    assert f"for Python {python} on linux" in out
    assert f"bucket {BUCKET}: uploaded in " in out
    small = name_in(out)
    status, out, err = command("build", "small")
    assert (status, err, name_in(out)) == (0, "", small)
    assert f"bucket {BUCKET}: it was there" in out

    # An executor finds it.
    def version():
        import small

        return small.VERSION

    plain.fake.clear_log()
    with plain.executor(1, requirements=["small"]) as ex:
        assert ex.submit(version).result() == "1.0"
    assert plain.fake.requests["PutObject"] == 0

    from harbour import is_stormy

    with plain.executor(1) as ex:
        assert ex.submit(is_stormy).result()
    (index / "list.txt").write_text("other\nsmall\n")
    assert command("build", "-r", str(index / "list.txt"), "--here")[0] == 0
    status, out, err = command("list")
    assert (status, err) == (0, "")
    here, _, there = out.partition(f"in bucket {BUCKET}:\n")
    assert here.startswith("on this machine:\n")
    assert "other, small, for Python" in here
    assert re.search(rf"{small} +0.00 MB, +0.00 MB unpacked: small, for Python", there)
    assert "and 1 bundles of modules, 0.00 MB" in there

    status, out, err = command("remove", small[:6])
    assert (status, out, err) == (0, f"removed {small} (here, bucket)\n", "")
    assert small not in command("list")[1]
    status, out, err = command("remove", "--all")
    assert (status, err, out.count("removed")) == (0, "", 2)
    assert [key for key in plain.fake.objects(BUCKET) if "/bundles/" in key] == []
    assert command("list")[1] == f"on this machine:\nin bucket {BUCKET}:\n"


def test_without_a_deployment(index, command):
    make_wheel(index, "small", "1.0")
    status, out, _ = command("build", "small")
    assert status == 0
    assert out.endswith("nothing was uploaded: nothing is deployed\n")
    assert command("list")[1].count("\n") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("build",), "give either requirements or a file of them with -r"),
        (("build", "small", "-r", "x"), "give either requirements or a file"),
        (("build", "-r", "nowhere.txt"), "'nowhere.txt' is no file"),
        (("build", "nowhere"), "nowhere cannot be had as a wheel for Python"),
        (("remove",), "give names, as `lambdafutures runtime list` shows them, or --all"),
        (("remove", "abc"), "none of the runtimes begin with 'abc'"),
    ],
)
def test_what_is_refused(index, command, arguments, message, monkeypatch):
    monkeypatch.setenv(installer.INSTALLER_VARIABLE, "pip")
    status, _, err = command(*arguments)
    assert status == 1
    assert f"lambdafutures: {message}" in err or message in err


def test_the_bar_of_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    file = Terminal()
    with Bar(file) as bar:
        bar.show("packing", 0.0)
        bar.show("packing", 0.5)
    lines = file.getvalue().split("\r")
    assert lines[2] == f"packing      [{'#' * 15}{'.' * 15}]  50%"
    assert lines[-2].strip() == ""
