"""Whole scripts, as users write them, in interpreters of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE_S = 60


def run_script(path: Path, text: str, *arguments: str, status: int = 0) -> str:
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stderr == "" or status, done.stderr
    return done.stdout


def test_a_script_without_a_main_guard(tmp_path):
    said = run_script(
        tmp_path / "script.py",
        """
import itertools
from lambdafutures import LambdaPoolExecutor

class Point:
    def __init__(self, x):
        self.x = x

def double(point):
    return Point(point.x * 2)

with LambdaPoolExecutor(2) as ex:
    print(sum(ex.map(pow, range(1000), itertools.repeat(2))))
    back = list(ex.map(double, map(Point, range(3))))
    print([point.x for point in back], all(type(point) is Point for point in back))
""",
    )
    assert said == "332833500\n[0, 2, 4] True\n"


def test_a_script_without_a_main_guard_under_asyncio(tmp_path):
    said = run_script(
        tmp_path / "script.py",
        """
import asyncio
from lambdafutures import LambdaPoolExecutor

async def main():
    with LambdaPoolExecutor(2) as ex:
        futures = [ex.submit(pow, x, 2) for x in range(1000)]
        print(sum(await asyncio.gather(*futures)))

asyncio.run(main())
""",
    )
    assert said == "332833500\n"


def test_modules_beside_the_script_are_found_by_workers(tmp_path):
    (tmp_path / "neighbour.py").write_text(
        "class Thing:\n    size = 3\ndef make():\n    return Thing()\n"
    )
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text(
        "import neighbour\ndef size():\n    return neighbour.Thing.size\n"
    )
    said = run_script(
        tmp_path / "script.py",
        """
import neighbour
from pack.inner import size
from lambdafutures import LambdaPoolExecutor

with LambdaPoolExecutor(1) as ex:
    print(isinstance(ex.submit(neighbour.make).result(), neighbour.Thing), ex.submit(size).result())
""",
    )
    assert said == "True 3\n"


def test_modules_that_no_path_leads_to_travel_by_value(tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "plugin.py").write_text(
        "class Thing:\n    size = 3\ndef make(x):\n    return Thing(), helper(x)\n"
        "def helper(x):\n    return x + 1\n"
    )
    said = run_script(
        tmp_path / "script.py",
        """
import importlib.util, sys
from lambdafutures import LambdaPoolExecutor

spec = importlib.util.spec_from_file_location("plugin", sys.argv[1])
plugin = importlib.util.module_from_spec(spec)
sys.modules["plugin"] = plugin
spec.loader.exec_module(plugin)
with LambdaPoolExecutor(1) as ex:
    thing, number = ex.submit(plugin.make, 1).result()
    print(isinstance(thing, plugin.Thing), number)
""",
        str(hidden / "plugin.py"),
    )
    assert said == "True 2\n"


@pytest.mark.parametrize("flag", ["-O", "-X dev", "-W ignore"])
def test_the_interpreters_flags_reach_the_workers(tmp_path, flag):
    script = tmp_path / "script.py"
    script.write_text(
        """
import sys
from lambdafutures import LambdaPoolExecutor

def flags():
    import sys
    return sys.flags.optimize, sys.flags.dev_mode, sys.warnoptions

with LambdaPoolExecutor(1) as ex:
    assert ex.submit(flags).result() == flags(), (ex.submit(flags).result(), flags())
    print("same")
"""
    )
    done = subprocess.run(
        [sys.executable, *flag.split(), str(script)], capture_output=True, text=True
    )
    assert done.stdout == "same\n", done.stderr


def test_attributes_of_the_scripts_classes_are_the_clients_own(tmp_path):
    said = run_script(
        tmp_path / "script.py",
        """
from lambdafutures import LambdaPoolExecutor

class Job:
    done = 0

class Made:
    pass

def work(x):
    job = Job()
    job.x = x
    Job.done = 99
    class Local:
        value = x
    return job, Local().value, Local, Made

with LambdaPoolExecutor(2) as ex:
    for job, value, local, made in ex.map(work, range(10)):
        Job.done += 1
        assert type(job) is Job and value == job.x == local.value and made is Made
    print(Job.done)
""",
    )
    assert said == "10\n"


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-"])
def test_a_client_without_standard_streams(tmp_path, closed):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom lambdafutures import LambdaPoolExecutor\n"
        "with LambdaPoolExecutor(2) as ex:\n"
        "    found = list(ex.map(abs, range(-5, 0)))\n"
        "open(sys.argv[1], 'w').write(str(found))\n"
    )
    out = tmp_path / "out"
    subprocess.run(f"{sys.executable} {script} {out} {closed}", shell=True, timeout=PATIENCE_S)
    assert out.read_text() == "[5, 4, 3, 2, 1]"
