"""CPython's own tests of executors, bound to `LambdaPoolExecutor` on the local backend.

Run it with `python -m tests.cpython_mixins`, plus any arguments of `unittest`. Few Pythons ship
their tests; where the running one does not, another of the same version is looked for.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing.context
import os
import shutil
import site
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any

from lambdafutures import LambdaFuture, LambdaPoolExecutor
from tests.calls import FileEvent

HOME = Path(__file__).parents[1]
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PACKAGE = "test.test_concurrent_futures"
# Until 3.11 one module, since 3.12 a package of these.
PARTS = (
    "util",
    "test_as_completed",
    "test_deadlock",
    "test_future",
    "test_init",
    "test_process_pool",
    "test_shutdown",
    "test_wait",
)
# Each is bound; those that they derive from (`ExecutorTest`, `ExecutorShutdownTest`) go with them.
MIXINS = (
    "AsCompletedTests",
    "ExecutorDeadlockTest",
    "FailingInitializerMixin",
    "FutureTests",
    "InitializerMixin",
    "ProcessPoolExecutorTest",
    "ProcessPoolShutdownTest",
    "WaitTests",
)

_PROCESSES = "looks into `_processes`, the standard library's table of its workers"
_MANAGER_THREAD = "waits for `_executor_manager_thread`, the standard library's own"
_SEMAPHORE = "hands workers a semaphore of multiprocessing, which only its own children can get"
_BY_NAME = "makes a `ProcessPoolExecutor` by its name and looks into it"
_MOCKED = "mocks the insides of the standard library"
_REPR = "wants the words of `Future.__repr__`; ours names the call"

# Why a test is not run. Some of it is tested by us in other words; the rest is a difference that
# docs/compatibility.md names.
LEFT_OUT = {
    "ExecutorDeadlockTest.test_gh105829_should_not_deadlock_if_wakeup_pipe_full": _MOCKED,
    "ExecutorDeadlockTest.test_shutdown_deadlock_pickle": _MANAGER_THREAD,
    "FutureTests.test_multiple_set_exception": _REPR,
    "FutureTests.test_multiple_set_result": _REPR,
    "FutureTests.test_repr": _REPR,
    "ProcessPoolExecutorTest.test_broken_process_pool_traceback": _PROCESSES,
    "ProcessPoolExecutorTest.test_failed_worker_replacement_breaks_pool": _MOCKED,
    "ProcessPoolExecutorTest.test_force_shutdown_during_max_tasks_worker_exit": _MOCKED,
    "ProcessPoolExecutorTest.test_force_shutdown_workers": _PROCESSES,
    "ProcessPoolExecutorTest.test_force_shutdown_workers_invalid_op": "calls `_force_shutdown`",
    "ProcessPoolExecutorTest.test_force_shutdown_workers_stops_pool": _PROCESSES,
    "ProcessPoolExecutorTest.test_gc_during_max_tasks_worker_exit_gh152967": (
        "wants the calls of an executor that is gone to fail; ours are finished"
    ),
    "ProcessPoolExecutorTest.test_idle_process_reuse_multiple": _PROCESSES,
    "ProcessPoolExecutorTest.test_idle_process_reuse_one": _PROCESSES,
    "ProcessPoolExecutorTest.test_kill_workers": _MOCKED,
    "ProcessPoolExecutorTest.test_killed_child": (
        _PROCESSES + ", and wants a killed worker to break the executor; ours goes on"
    ),
    "ProcessPoolExecutorTest.test_max_tasks_per_child": _PROCESSES,
    "ProcessPoolExecutorTest.test_max_tasks_per_child_defaults_to_spawn_context": (
        "looks at the context of multiprocessing, of which none is used"
    ),
    "ProcessPoolExecutorTest.test_python_finalization_error": _MOCKED,
    "ProcessPoolExecutorTest.test_saturation": _SEMAPHORE,
    "ProcessPoolExecutorTest.test_shutdown_no_wait_max_tasks_gh119592": _MANAGER_THREAD,
    "ProcessPoolExecutorTest.test_terminate_workers": _MOCKED,
    "ProcessPoolShutdownTest.test_context_manager_shutdown": _BY_NAME,
    "ProcessPoolShutdownTest.test_del_shutdown": _BY_NAME,
    "ProcessPoolShutdownTest.test_processes_terminate": _SEMAPHORE,
    "ProcessPoolShutdownTest.test_shutdown_gh_132969_case_1": _BY_NAME,
    "ProcessPoolShutdownTest.test_shutdown_gh_132969_case_2": _BY_NAME,
    "ProcessPoolShutdownTest.test_shutdown_no_wait": _BY_NAME,
}


class FileContext(multiprocessing.context.SpawnContext):
    """Stand in for a context of multiprocessing: what its manager makes is shared through files."""

    def Manager(self) -> FileManager:
        return FileManager()


class FileManager:
    """Make events that workers of any kind can wait for."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.events = 0

    def Event(self) -> FileEvent:
        self.events += 1
        return FileEvent(f"{self.folder.name}/{self.events}")

    def shutdown(self) -> None:
        self.folder.cleanup()

    def join(self) -> None:
        """Do nothing: there is no process to wait for."""


def modules() -> list[ModuleType]:
    """Return CPython's test modules, as this Python has them."""
    package = importlib.import_module(PACKAGE)
    if not hasattr(package, "__path__"):
        return [package]
    return [importlib.import_module(f"{PACKAGE}.{part}") for part in PARTS]


def bind(mixin: type, executor_mixin: type, base: type[unittest.TestCase]) -> type:
    """Return a test case that runs a mixin on our executor.

    Args:
        mixin: One of CPython's.
        executor_mixin: CPython's `ExecutorMixin`, which makes the executor.
        base: CPython's `BaseTestCase`, which complains of threads and processes left behind.
    """

    from test import support

    class LambdaPoolMixin(executor_mixin):  # type: ignore[misc, valid-type]
        executor_type = LambdaPoolExecutor

        def setUp(self) -> None:
            self.shared = FileManager()
            self.addCleanup(self.shared.shutdown)
            super().setUp()

        def get_context(self) -> FileContext:
            return FileContext()

        def create_event(self) -> FileEvent:
            return self.shared.Event()

        def tearDown(self) -> None:
            super().tearDown()
            left, support.environment_altered = support.environment_altered, False
            assert not left, "threads or processes were left behind"

    bases = (mixin,) if issubclass(mixin, base) else (mixin, LambdaPoolMixin, base)
    own: dict[str, object] = {
        name: unittest.skip(reason)(getattr(mixin, name))
        for (of, name), reason in ((each.split("."), why) for each, why in LEFT_OUT.items())
        if of == mixin.__name__ and hasattr(mixin, name)
    }
    if hasattr(mixin, "_assert_logged"):
        own["_assert_logged"] = _assert_told
    return type(mixin.__name__, bases, own | {"__module__": __name__})


@contextlib.contextmanager
def _assert_told(case, message):
    """Look for what the standard library logs in a worker: our error tells it."""
    yield
    assert message in str(case.executor._broken)


def _use_our_futures(found: list[ModuleType]) -> None:
    """Have CPython's tests of futures, and the ready-made ones they share, use `LambdaFuture`."""
    states = {
        "PENDING_FUTURE": {"state": "PENDING"},
        "RUNNING_FUTURE": {"state": "RUNNING"},
        "CANCELLED_FUTURE": {"state": "CANCELLED"},
        "CANCELLED_AND_NOTIFIED_FUTURE": {"state": "CANCELLED_AND_NOTIFIED"},
        "EXCEPTION_FUTURE": {"state": "FINISHED", "exception": OSError()},
        "SUCCESSFUL_FUTURE": {"state": "FINISHED", "result": 42},
    }
    for module in found:
        if hasattr(module, "Future"):
            module.Future = LambdaFuture
    made = {name: found[0].create_future(**kwargs) for name, kwargs in states.items()}
    for module in found:
        for name in made.keys() & vars(module).keys():
            setattr(module, name, made[name])


def _assert_python_ok(flag: str, script: str):
    """Run a script of CPython's tests with our executor in place of the standard library's."""
    from test.support import script_helper

    theirs = "from concurrent.futures import LambdaPoolExecutor"
    assert theirs in script
    ours = f"import sys; sys.path[:] = {sys.path!r}; from lambdafutures import LambdaPoolExecutor"
    return script_helper.assert_python_ok(flag, script.replace(theirs, ours))


def load_tests(loader: unittest.TestLoader, *_: object) -> unittest.TestSuite:
    """Return CPython's tests, bound; `unittest` calls this."""
    found = modules()
    _use_our_futures(found)
    names: dict[str, type] = {}
    for module in found:
        names |= {name: value for name, value in vars(module).items() if isinstance(value, type)}
        if hasattr(module, "assert_python_ok"):
            module.assert_python_ok = _assert_python_ok
    suite = unittest.TestSuite()
    for name in MIXINS:
        case = bind(names[name], names["ExecutorMixin"], names["BaseTestCase"])
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


def find_python() -> str | None:
    """Return a Python of this version that ships CPython's tests; None if there is none."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/local/bin"]
    found = [shutil.which(f"python{VERSION}", path=folder) for folder in folders]
    check = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({PACKAGE!r}) is None)"
    for python in dict.fromkeys([sys.executable, *filter(None, found)]):
        if subprocess.run([python, "-c", check], capture_output=True).returncode == 0:
            return python
    return None


def start(python: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Run this script by a Python, with the packages of this one.

    Args:
        python: A Python of this version.
        arguments: Arguments of `unittest`.
        options: Of `subprocess.Popen`.
    """
    path = os.pathsep.join([str(HOME), *site.getsitepackages()])
    flags = ("-W", "ignore:mp_context is ignored")
    return subprocess.Popen(
        [python, *flags, "-m", "unittest", "tests.cpython_mixins", *arguments],
        env=os.environ | {"PYTHONPATH": path, "LAMBDAFUTURES_BACKEND": "local"},
        cwd=HOME,
        text=True,
        **options,
    )


NOWHERE = f"no Python {VERSION} on this machine ships CPython's tests ({PACKAGE})"

if __name__ == "__main__":
    found = find_python()
    if found is None:
        print(f"skipped: {NOWHERE}")
        sys.exit(0)
    sys.exit(start(found, *sys.argv[1:]).wait())
