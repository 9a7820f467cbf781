"""AWS as the executor's tests see it: the strict fake, with the real worker zip deployed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from lambdafutures import LambdaPoolExecutor
from lambdafutures._backends import sign_of_life
from lambdafutures.deploy import bundle
from lambdafutures.deployment import Deployment, remember
from tests import calls
from tests.strict_aws import StrictAws

BUCKET = "jobs"
FUNCTION = "lf"
MEMORY_MB = 1769
# "auto" is one of these two at each invocation; where it chooses is tested by itself.
MODES = ("response", "poll")
WORKER_ACTIONS = ("GetObject", "PutObject", "DeleteObject")


def make_layer(folder: Path) -> Path:
    """Make a layer of the functions that tests call: workers have nothing else of this machine."""
    (folder / "tests").mkdir()
    (folder / "tests" / "__init__.py").touch()
    shutil.copy(calls.__file__, folder / "tests" / "calls.py")
    return folder


def zip_with_calls() -> bytes:
    """Return the worker's zip with the functions that tests call, where there are no layers."""
    files: dict[str, bytes] = {"tests/__init__.py": b""}
    for package in bundle.PACKAGES:
        files |= bundle.sources(package)
    files["tests/calls.py"] = Path(calls.__file__).read_bytes()
    return bundle.pack(files)


class Aws:
    """The fake with a worker deployed, and the client's environment set to reach it."""

    def __init__(self, fake: StrictAws, worker_zip: bytes, layer: Path) -> None:
        self.fake = fake
        self._zip = worker_zip
        self._layer = layer
        self.role = fake.identity(
            "worker",
            [f"s3:{action} arn:aws:s3:::{BUCKET}/*" for action in WORKER_ACTIONS]
            + [f"s3:ListBucket arn:aws:s3:::{BUCKET}"],
            is_role=True,
        )
        self._rules = list(self.role.rules)
        self._usual: object = None

    def begin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be as new for a test, but for the function's environments, which stay warm."""
        self._monkeypatch = monkeypatch
        self.fake.wait_quiet()
        self.fake.forget()
        self.fake.create_bucket(BUCKET)
        self.role.rules[:] = self._rules
        self.client = self.fake.identity(
            "client",
            [
                f"s3:{action} arn:aws:s3:::{BUCKET}/*"
                for action in ("GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload")
            ]
            + [f"s3:ListBucket arn:aws:s3:::{BUCKET}", "lambda:InvokeFunction *"],
            has_session=True,
        )
        self.use(self.client)
        # Executors end sooner, and more often workers ask whether they have.
        monkeypatch.setattr(sign_of_life, "LATE_S", 0.2)
        monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        if FUNCTION not in self.names or self.fake.function(FUNCTION) is not self._usual:
            self.deploy()
            self._usual = self.fake.function(FUNCTION)
        else:
            self.remember()

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
        # What these tests call is in the layer: nothing of it travels.
        options = {"exclude": ["tests"]} | options
        return LambdaPoolExecutor(max_workers, backend="aws", completion=mode, **options)
