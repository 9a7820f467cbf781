"""AWS over HTTP for the executor: the strict fake, with the real worker zip under awslambdaric."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lambdafutures import LambdaPoolExecutor
from lambdafutures.deploy import bundle
from lambdafutures.deployment import Deployment, remember
from tests import calls
from tests.strict_aws import StrictAws

BUCKET = "jobs"
FUNCTION = "lf"
MEMORY_MB = 1769
# "auto" is one of these two at each invocation; where it chooses is tested by itself.
MODES = ("response", "poll")


@pytest.fixture(scope="session")
def worker_zip() -> bytes:
    return bundle.build().data


@pytest.fixture(scope="session")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer with the functions that tests call; workers have nothing else of this machine."""
    folder = tmp_path_factory.mktemp("layer")
    (folder / "tests").mkdir()
    (folder / "tests" / "__init__.py").touch()
    shutil.copy(calls.__file__, folder / "tests" / "calls.py")
    return folder


class Aws:
    """The fake with a worker deployed, and the client's environment set to reach it."""

    def __init__(
        self,
        fake: StrictAws,
        worker_zip: bytes,
        layer: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.fake = fake
        self._zip = worker_zip
        self._layer = layer
        self._monkeypatch = monkeypatch
        self.role = fake.identity(
            "worker",
            [f"s3:{action} arn:aws:s3:::{BUCKET}/*" for action in ("GetObject", "PutObject")]
            + [f"s3:ListBucket arn:aws:s3:::{BUCKET}"],
            is_role=True,
        )
        self.client = fake.identity(
            "client",
            [
                f"s3:{action} arn:aws:s3:::{BUCKET}/*"
                for action in ("GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload")
            ]
            + [f"s3:ListBucket arn:aws:s3:::{BUCKET}", "lambda:InvokeFunction *"],
            has_session=True,
        )
        self.use(self.client)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        self.deploy()

    def use(self, identity: Any) -> None:
        """Let the client be somebody, or nobody."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            self._monkeypatch.delenv(name)
        environ = self.fake.environ(identity or self.client)
        for name, value in environ.items():
            if identity is not None or not ("KEY" in name or "TOKEN" in name):
                self._monkeypatch.setenv(name, value)
        self._monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def deploy(self, *, code: bytes | None = None, **options: Any) -> None:
        """Make the function anew, and remember the deployment."""
        options = {"timeout_s": 30, "memory_mb": MEMORY_MB, "max_retries": 0} | options
        if FUNCTION in self.names:
            self.fake.delete_function(FUNCTION)
        self.fake.create_function(
            FUNCTION,
            code or self._zip,
            bundle.HANDLER,
            role=self.role,
            layers=[str(self._layer)],
            **options,
        )
        self.remember(timeout_s=max(1, round(options["timeout_s"])))

    def remember(self, **fields: Any) -> None:
        """Remember the deployment, with other fields than usual."""
        usual = {
            "name": "lambdafutures",
            "region": self.fake.region,
            "bucket": BUCKET,
            "functions": {MEMORY_MB: FUNCTION},
            "timeout_s": 30,
        }
        remember(Deployment(**(usual | fields)))

    @property
    def names(self) -> set[str]:
        return {
            name for _, name in self.fake.call(lambda: list(self.fake.lambda_.control.functions))
        }

    def keys(self) -> list[str]:
        return list(self.fake.objects(BUCKET))

    def executor(self, max_workers: int = 2, mode: str = "response", **options: Any) -> Any:
        return LambdaPoolExecutor(max_workers, backend="aws", completion=mode, **options)


@pytest.fixture
def make_aws(worker_zip, layer, monkeypatch):
    """Start fakes with other settings than usual; they end with the test."""
    started: list[StrictAws] = []

    def make(**settings: Any) -> Aws:
        fake = StrictAws(buckets=[BUCKET], **settings)
        fake.__enter__()
        started.append(fake)
        return Aws(fake, worker_zip, layer, monkeypatch)

    yield make
    for fake in started:
        fake.__exit__(None, None, None)


@pytest.fixture
def aws(make_aws: Callable[..., Aws]) -> Aws:
    return make_aws()
