"""The instant AWS in a process of its own, and this process's environment set to reach it.

with InstantAws() as aws, LambdaPoolExecutor(64, backend="aws") as ex:
    ...
    aws.counts()
"""

from __future__ import annotations

import http.client
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from lambdafutures.deployment import Deployment, remember
from tests.benchmarks.instant_server import COUNTS_PATH, SETTINGS_PATH

ROOT = Path(__file__).parents[2]
BUCKET = "jobs"
FUNCTION = "lf"
REGION = "us-east-1"
ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "example-secret"


class InstantAws:
    """Run the server, and deploy to it.

    Args:
        s3_s: What a request to S3 takes, in seconds.
        lambda_s: What an Invoke takes besides its calls, in seconds.
        run_s: What a call takes, in seconds.
        concurrency: What the account is said to allow.
    """

    def __init__(
        self,
        s3_s: float = 0.0,
        lambda_s: float = 0.0,
        run_s: float = 0.0,
        concurrency: int = 10_000,
    ) -> None:
        self._times = {"s3_s": s3_s, "lambda_s": lambda_s, "run_s": run_s}
        self._concurrency = concurrency

    def __enter__(self) -> Self:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # inherited by the server
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.instant_server"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        self.set(**self._times)
        self._saved = dict(os.environ)
        self._home = tempfile.TemporaryDirectory()
        for name in [name for name in os.environ if name.startswith(("AWS_", "LAMBDAFUTURES_DEP"))]:
            del os.environ[name]
        os.environ.update(self.environ(), LAMBDAFUTURES_HOME=self._home.name)
        remember(
            Deployment(
                "lambdafutures", REGION, BUCKET, {1769: FUNCTION}, concurrency=self._concurrency
            )
        )
        return self

    def __exit__(self, *_: object) -> None:
        os.environ.clear()
        os.environ.update(self._saved)
        self._home.cleanup()
        self._process.communicate()

    def environ(self) -> dict[str, str]:
        """Return the environment variables that lead an SDK here."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    @property
    def endpoint_url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """Its port, on 127.0.0.1."""
        return self._port

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def set(self, **times: float) -> None:
        """Let things take other times, in seconds, and count from zero.

        Args:
            times: Fields of `Settings`.
        """
        self._ask(SETTINGS_PATH, json.dumps(times))

    def counts(self) -> dict[str, int]:
        """Return the requests so far, by operation."""
        return self._ask(COUNTS_PATH)

    def _ask(self, path: str, body: str = "") -> dict[str, int]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        try:
            connection.request("POST", path, body)
            found: dict[str, int] = json.loads(connection.getresponse().read())
            return found
        finally:
            connection.close()
