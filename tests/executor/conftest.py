"""The executor suite: every test runs on every backend, unless it says why it cannot.

A test that can uses `ex`, one executor for all tests of a module; one that needs settings of its
own, or ends its executor, uses `make`, which sees to it that nothing is left. AWS is the strict
fake in a process of its own, so that what it keeps is not mistaken for the executor's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lambdafutures import LambdaPoolExecutor
from lambdafutures.deploy import bundle
from lambdafutures.deployment import JSON_VARIABLE, Deployment
from tests.conftest import _belongings, left_since, wait_until

ROOT = Path(__file__).parents[2]
BACKENDS = ("memory", "local", "aws", "aws-poll")
MEMORY_MB = 1769
SCRIPT_PATIENCE_S = 60


@dataclass(frozen=True)
class Backend:
    """One of the backends.

    Args:
        name: One of `BACKENDS`.
        environ: What this process, or a script, needs to reach it.
    """

    name: str
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """What an executor is made with."""
        name, _, completion = self.name.partition("-")
        # What is called is in the function's zip: nothing of it travels.
        return {"backend": name, "completion": completion or "response", "exclude": ["tests"]}

    @property
    def nested(self) -> str:
        """The backend that a call can open an executor on, wherever it runs."""
        return "memory" if self.name == "memory" else "local"

    def executor(self, max_workers: int = 2, **options: Any) -> LambdaPoolExecutor:
        return LambdaPoolExecutor(max_workers, **self.options, **options)

    def start_script(self, path: Path, text: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a script in which `LambdaPoolExecutor(**OPTIONS)` uses this backend."""
        path.write_text(f"OPTIONS = {self.options!r}\n{text}")
        return subprocess.Popen(
            [sys.executable, str(path), *arguments],
            env={**os.environ, **self.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run_script(self, path: Path, text: str, *arguments: str, status: int = 0) -> str:
        """Run a script to its end and return what it printed."""
        with self.start_script(path, text, *arguments) as script:
            said, complained = script.communicate(timeout=SCRIPT_PATIENCE_S)
        assert script.returncode == status, said + complained
        assert complained == "" or status, complained
        return said


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" not in metafunc.fixturenames:
        return
    left_out: set[str] = set()
    for mark in metafunc.definition.iter_markers("not_on"):
        assert mark.kwargs["reason"]
        left_out.update(mark.args)
    assert left_out <= set(BACKENDS)
    names = [name for name in BACKENDS if name not in left_out]
    metafunc.parametrize("backend", names, indirect=True, scope="module")


@contextmanager
def strict_process(code: Path) -> Iterator[dict[str, str]]:
    """Run the strict fake, and yield the environment that leads to it and to our worker there."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.strict_aws", "--bucket=jobs"]
        + [f"--function=lf={code}:{bundle.HANDLER}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        environ = json.loads(process.stdout.readline())
        environ.pop("endpoint_url")
        deployment = Deployment(
            "suite", environ["AWS_REGION"], "jobs", {MEMORY_MB: "lf"}, timeout_s=30
        )
        try:
            yield environ | {
                JSON_VARIABLE: deployment.to_json(),
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            }
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def aws_environ(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment that leads to AWS."""
    from tests.aws_cloud import zip_with_calls

    code = tmp_path_factory.mktemp("worker") / "worker.zip"
    code.write_bytes(zip_with_calls())
    with strict_process(code) as environ:
        yield environ


@pytest.fixture(scope="module")
def backend(request) -> Iterator[Backend]:
    """Each backend in turn; it can be reached as long as its turn lasts."""
    is_aws = request.param.startswith("aws")
    environ = request.getfixturevalue("aws_environ") if is_aws else {}
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in environ.items():
            patch.setenv(name, value)
        yield Backend(request.param, environ)


@pytest.fixture(scope="module")
def ex(backend: Backend) -> Iterator[LambdaPoolExecutor]:
    """An executor of two workers that the module's tests share; it leaves nothing."""
    before = _belongings()
    with backend.executor() as executor:
        yield executor
    wait_until(lambda: not left_since(before), lambda: f"left: {left_since(before)}")


@pytest.fixture
def make(backend: Backend) -> Iterator[Any]:
    """Make executors of the test's own; whatever it does to them, nothing may be left."""
    before = _belongings()
    made: list[weakref.ref[LambdaPoolExecutor]] = []

    def make(max_workers: int = 2, **options: Any) -> LambdaPoolExecutor:
        executor = backend.executor(max_workers, **options)
        made.append(weakref.ref(executor))
        return executor

    yield make
    for reference in made:
        executor = reference()
        if executor is not None:
            executor.kill_workers()
            del executor
    wait_until(lambda: not left_since(before), lambda: f"left: {left_since(before)}")
