"""What all tests share: a home of their own, no backend chosen, and nothing left behind."""

from __future__ import annotations

import contextlib
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
# developer's desk new ones are tried.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

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


@pytest.fixture
def nothing_left():
    """After the test, no thread, child process or descriptor is left that was not there before."""
    before = _belongings()
    yield
    wait_until(lambda: not left_since(before), lambda: f"left: {left_since(before)}")


def _belongings() -> set[str]:
    gc.collect()
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
    return _belongings() - before


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


def wait_until(condition, complaint=lambda: "the condition did not come true"):
    """Wait for something that has no event of its own (another process, the kernel)."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.005)
