"""What all tests share: a home of their own, no backend chosen, and nothing left behind."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import io
import os
import threading
import time

import pytest
from hypothesis import settings

from lambdafutures import LambdaPoolExecutor

# CI tries the same examples each time, so that what it says depends on the commit alone; at a
# developer's desk new ones are tried. None has a deadline: a busy machine is no failure.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("desk", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

# How long a condition may take to come true before a test fails: far more than it ever takes.
PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory, monkeypatch):
    """No deployment of the developer's own is found, and no backend is chosen for the tests."""
    monkeypatch.setenv("LAMBDAFUTURES_HOME", str(tmp_path_factory.mktemp("home")))
    for name in ("LAMBDAFUTURES_BACKEND", "LAMBDAFUTURES_DEPLOYMENT", "LAMBDAFUTURES_DEPTH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _libraries_have_what_they_keep():
    """What dill and tqdm open once and keep is theirs, not left behind by a test."""
    for name in ("dill", "tqdm.auto"):
        with contextlib.suppress(ImportError):
            module = importlib.import_module(name)
            if name == "tqdm.auto":
                module.tqdm(total=0, disable=False, file=io.StringIO()).close()


@pytest.fixture
def ex():
    """An executor of two local workers."""
    with LambdaPoolExecutor(2, backend="local") as executor:
        yield executor


@pytest.fixture(scope="session")
def worker_zip():
    """What is deployed to Lambda."""
    from lambdafutures.deploy import bundle

    return bundle.build().data


@pytest.fixture(scope="session")
def layer(tmp_path_factory):
    """What the functions of the tests find besides."""
    from tests.aws_cloud import make_layer

    return make_layer(tmp_path_factory.mktemp("layer"))


@pytest.fixture(scope="session")
def _start_aws(worker_zip, layer):
    """Start fakes of AWS that end with the session, or earlier where that is asked for."""
    from tests.aws_cloud import BUCKET, Aws
    from tests.strict_aws import StrictAws

    with contextlib.ExitStack() as running:

        def start(stack=running, **settings):
            fake = stack.enter_context(StrictAws(buckets=[BUCKET], **settings))
            return Aws(fake, worker_zip, layer)

        yield start


@pytest.fixture(scope="session")
def _shared_aws(_start_aws):
    """The fake that tests share, started when it is first needed."""
    return functools.cache(_start_aws)


@pytest.fixture
def make_aws(_start_aws, monkeypatch):
    """Start fakes of the test's own, with other settings than usual; they end with the test."""
    with contextlib.ExitStack() as running:

        def make(**settings):
            aws = _start_aws(running, **settings)
            aws.begin(monkeypatch)
            return aws

        yield make


@pytest.fixture
def aws(request, _shared_aws, make_aws, monkeypatch):
    """AWS over HTTP: as good as new, but that its function may be warm already.

    A test that counts cold starts is marked `fresh_aws`.
    """
    if request.node.get_closest_marker("fresh_aws"):
        return make_aws()
    try:
        _shared_aws().begin(monkeypatch)
    except TimeoutError:  # what a failed test has left there goes on and on
        _shared_aws.cache_clear()
        _shared_aws().begin(monkeypatch)
    return _shared_aws()


@pytest.fixture
def nothing_left():
    """After the test, no thread, child process or descriptor is left that was not there before."""
    before = _belongings()
    yield
    wait_until(lambda: not left_since(before), lambda: f"left: {left_since(before)}")


def _belongings() -> set[str]:
    threads = {f"thread {thread.name}" for thread in threading.enumerate()}
    threads.discard("thread tqdm_monitor")  # tqdm's own, kept for the next bar
    handles = set()
    if os.path.isdir("/proc/self/fd"):
        for name in os.listdir("/proc/self/fd"):
            try:
                handles.add(f"descriptor {name} {os.readlink(f'/proc/self/fd/{name}')}")
            except OSError:
                continue  # the listing's own descriptor
    return threads | handles | {f"child {child}" for child in children(os.getpid())}


def left_since(before: set[str]) -> set[str]:
    left = _belongings() - before
    if left:
        gc.collect()  # what only garbage holds counts as gone
        left = _belongings() - before
    return left


def has_grown_since(before: set[str]) -> bool:
    """Tell whether there is more than before, where a fake in this process changes what it has."""
    gc.collect()
    return len(_belongings()) > len(before)


def children(pid: int) -> set[int]:
    """Return the processes whose parent is `pid`, those that have ended and wait included."""
    found = set()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as stat:
                    parent = int(stat.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found.add(int(name))
    return found


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def payloads_limited_to(limit_s):
    """Return the payloads that are alive and have a time limit.

    A limit that no other test uses tells a test's own payloads from those that hang on the
    tracebacks of earlier tests and wait for the garbage collector.
    """
    return [
        each
        for each in gc.get_objects()
        if type(each).__name__ == "Payload" and each.limit_s == limit_s
    ]


def wait_until(condition, complaint=lambda: "the condition did not come true"):
    """Wait for something that has no event of its own (another process, the kernel)."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.005)
