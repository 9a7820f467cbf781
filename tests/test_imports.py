"""What is imported when: budgets by module, so that nothing slow creeps in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lambdafutures
from lambdafutures import exceptions

SLOW = {"asyncio", "aiohttp", "aiobotocore", "botocore", "boto3", "concurrent.futures", "logging"}


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after running `code`."""
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(found.stdout.split())


def bare() -> set[str]:
    return loaded_by("")


def test_importing_the_package_loads_nothing_but_itself():
    loaded = loaded_by("import lambdafutures") - bare()
    assert loaded <= {"lambdafutures", "__future__"}


def test_the_public_names_load_what_they_need_and_not_the_cloud():
    loaded = loaded_by("from lambdafutures import LambdaPoolExecutor; LambdaPoolExecutor(1)")
    assert not loaded & {"asyncio", "aiohttp", "aiobotocore", "botocore", "boto3", "cloudpickle"}


def test_the_workers_entry_loads_the_standard_library_only():
    loaded = loaded_by("from lambdafutures._worker import runner") - bare()
    ours = {name for name in loaded if name.split(".")[0] == "lambdafutures"}
    foreign = {name.split(".")[0] for name in loaded - ours} - sys.stdlib_module_names
    assert not foreign
    assert not loaded & (
        SLOW | {"typing", "dataclasses", "multiprocessing", "subprocess", "json.tool"}
    )
    assert {name.split(".")[1] for name in ours if "." in name} == {
        "_wire",
        "_worker",
        "exceptions",
    }


def test_a_worker_loads_what_the_call_needs_and_no_more():
    program = (
        "from lambdafutures import LambdaPoolExecutor\n"
        "from tests.calls import loaded\n"
        "with LambdaPoolExecutor(1, backend='local') as ex:\n"
        "    names = set(ex.submit(loaded).result())\n"
        f"print(*sorted(names & {SLOW | {'cloudpickle'}!r}))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert found.stdout.split() == []


def test_all_is_what_there_is_and_what_is_documented():
    for module in (lambdafutures, exceptions):
        names = set(module.__all__)
        assert len(names) == len(module.__all__)
        for name in names:
            value = getattr(module, name)
            assert isinstance(value, str) or value.__doc__, name
    public = {name for name in vars(exceptions) if not name.startswith("_")} - {
        "annotations",
        "TYPE_CHECKING",
    }
    assert public <= set(exceptions.__all__)
    assert set(dir(lambdafutures)) == set(lambdafutures.__all__)
    for module in (lambdafutures, exceptions):
        with pytest.raises(AttributeError, match="nothing_of_that_name"):
            module.nothing_of_that_name  # noqa: B018
