"""Functions that tests have workers call; imports nothing heavy, for workers import it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import_pid = os.getpid()
state: dict[str, int] = {"initialized": 0}


def identity(x):
    return x


def add(x, y=0):
    return x + y


def joined(*texts):
    return "".join(texts)


def kwargs_only(**kwargs):
    return kwargs


def pid(*_):
    return os.getpid()


def thread_name(*_):
    import threading

    return threading.current_thread().name


def worker_name(*_):
    return f"{os.getpid()} {thread_name()}"


def fail(x):
    raise ValueError(f"bad {x}")


def fail_on(x, bad):
    if x == bad:
        raise ValueError(f"bad {x}")
    return x


class NeedsTwo(Exception):
    """An exception whose constructor wants other arguments than its args."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


def fail_with_two(code, text):
    raise NeedsTwo(code, text)


class CannotTravel(Exception):
    def __str__(self):
        return "from afar"


def fail_untravelling():
    raise CannotTravel(lock())


def chain():
    try:
        {}["missing"]
    except KeyError as error:
        raise RuntimeError("outer") from error


def leave(code=3):
    sys.exit(code)


def raise_(kind, *args):
    raise kind(*args)


def interrupt():
    raise KeyboardInterrupt


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def crash():
    import ctypes

    ctypes.string_at(0)


def note_run(folder, x):
    """Leave a trace of each run of call `x`."""
    path = Path(folder) / f"{x}"
    with path.open("a") as trace:
        trace.write(f"{os.getpid()}\n")
    return x


def note_and_wait(folder, x, path):
    """Leave a trace of a run that ends once a file is there."""
    note_run(folder, x)
    return wait_for_file(path, x)


def runs(folder, x):
    path = Path(folder) / f"{x}"
    return len(path.read_text().splitlines()) if path.exists() else 0


def count_run(path, x, seconds=0.0, ballast=b""):
    """Note a run in a file that all calls share: a short write at its end is never torn."""
    with open(path, "ab", buffering=0) as trace:
        trace.write(b"%d\n" % x)
    time.sleep(seconds)
    return x


def count_run_and_fail(path, x, seconds):
    raise ValueError(f"bad {count_run(path, x, seconds)}")


def count_run_and_make(path, x, nbytes):
    return count_run(path, x).to_bytes(4, "big") * (nbytes // 4)


def die_the_first_time(folder, x, victim):
    note_run(folder, x)
    if x == victim and runs(folder, x) == 1:
        die()
    return x


def die_always(folder, x, victim):
    note_run(folder, x)
    if x == victim:
        die()
    return x


def wait_for_file(path, then=None):
    """Return once a file is there: the test decides when."""
    deadline = time.monotonic() + 30  # a test that has failed must not wait for ever
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.002)
    return then


def wait_for_file_if(path, then):
    """Wait for a file if one is named."""
    return wait_for_file(path, then) if path else then


class FileEvent:
    """What `threading.Event` is, for processes that share a file system."""

    def __init__(self, path):
        self.path = path

    def set(self):
        Path(self.path).touch()

    def wait(self, timeout=30):
        """Return whether it is set; give up after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not os.path.exists(self.path):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True


def wait_the_first_time(folder, x, victim, path):
    """Return at once, but for the first run of one call: that waits for the test."""
    note_run(folder, x)
    if x == victim and runs(folder, x) == 1:
        wait_for_file(path)
    return x


def touch_and_wait(mine, other):
    """Meet another call: neither returns before both run."""
    Path(mine).touch()
    wait_for_file(other)
    return mine


def meet(names):
    """Meet another call, within a time."""
    mine, other, patience_s = names
    Path(mine).touch()
    deadline = time.monotonic() + patience_s
    while not os.path.exists(other):
        if time.monotonic() > deadline:
            raise TimeoutError(other)
        time.sleep(0.002)
    return mine


def touch_then_wait(paths):
    begun, go = paths
    Path(begun).touch()
    wait_for_file(go)


def spin_or_wait(how):
    seconds, go = how
    return spin(seconds) if go is None else wait_for_file(go)


def touch_then_sleep(path, seconds):
    Path(path).write_text(str(os.getpid()))
    time.sleep(seconds)


def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return seconds


def rest(seconds):
    """Take time, but no processor's."""
    time.sleep(seconds)
    return seconds


def allocate(megabytes):
    block = bytearray(megabytes * 1024 * 1024)
    block[::4096] = b"x" * len(block[::4096])
    time.sleep(30)
    return len(block)


def hold(megabytes, seconds=0.4):
    """Use memory for long enough to be seen, and return how much."""
    block = bytearray(megabytes * 1024 * 1024)
    block[::4096] = b"x" * len(block[::4096])
    time.sleep(seconds)
    return len(block) // (1024 * 1024)


def initialize(value=1):
    state["initialized"] += value
    state["pid"] = os.getpid()


def initialized(*_):
    return os.getpid(), state["initialized"]


def fail_to_initialize():
    raise RuntimeError("no initializer today")


def speak(text):
    import logging

    print(f"out {text}")
    print(f"err {text}", file=sys.stderr)
    logging.getLogger("speaker").warning("log %s", text)
    return text


def lock():
    import threading

    return threading.Lock()


def lock_on(x, bad):
    return lock() if x == bad else x


class BadUnpickle:
    """Unpickles nowhere."""

    def __reduce__(self):
        return (_refuse, ())


def _refuse():
    raise ImportError("cannot be unpickled")


def bad_result():
    return BadUnpickle()


class BadUnpickleInClient:
    """Unpickles in workers only."""

    def __init__(self, client):
        self.client = client

    def __reduce__(self):
        return (_refuse_in, (self.client,))


def _refuse_in(client, error=ImportError):
    if os.getpid() == client:
        raise error("not in the client")
    return BadUnpickleInClient(client)


class ExitsWhenUnpickledInClient(BadUnpickleInClient):
    def __reduce__(self):
        return (_refuse_in, (self.client, SystemExit))


def make(kind, *arguments):
    return kind(*arguments)


def for_workers_only(client):
    return BadUnpickleInClient(client)


def nested(depth, backend="local"):
    from lambdafutures import LambdaPoolExecutor

    with LambdaPoolExecutor(1, backend=backend) as ex:
        return ex.submit(identity, depth).result()


def environment(name):
    return os.environ.get(name)


def spawn_child(path):
    """Start a process that would outlive the worker, and say which."""
    import subprocess

    child = subprocess.Popen(["sleep", "60"])
    Path(path).write_text(f"{os.getpid()} {child.pid}")
    time.sleep(60)


def loaded():
    return list(sys.modules)


def leave_at_once():
    os._exit(3)


def second_one_waits(folder):
    """As an initializer: the first worker goes on, the second waits for the test."""
    try:
        Path(folder, "first").touch(exist_ok=False)
    except FileExistsError:
        wait_for_file(f"{folder}/go")


class Counter:
    def __init__(self):
        self.number = 0

    def count(self):
        self.number += 1
        return self.number


def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def many_parts(count):
    import pickle

    return [pickle.PickleBuffer(bytearray(20_000)) for _ in range(count)]


class Unprintable:
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


def log_unprintable():
    import logging

    logging.getLogger("odd").addHandler(logging.NullHandler())
    logging.getLogger("odd").propagate = False
    logging.getLogger("odd").warning(Unprintable())
    return "went on"


class ExitsWhenPickled:
    def __reduce__(self):
        raise SystemExit(4)


def exits_when_pickled():
    return ExitsWhenPickled()


def fork_and_return():
    return "parent" if os.fork() else "child"


def make_bytearray(size):
    import pickle

    return pickle.PickleBuffer(bytearray(size))


class KnowsItsThread:
    """Knows in which thread it was unpickled."""

    def __init__(self, size):
        self.data = bytes(size)
        self.thread = None

    def __getstate__(self):
        return self.data

    def __setstate__(self, data):
        import threading

        self.data = data
        self.thread = threading.get_ident()


def fail_with_notes():
    error = ValueError("noted")
    error.add_note("mind this")
    error.extra = 5
    raise error


def read_stdin():
    return sys.stdin.read()


def main_file():
    return getattr(sys.modules["__main__"], "__file__", None)


def set_authkey(key):
    import multiprocessing

    multiprocessing.current_process().authkey = key


def set_and_ask(event):
    event.set()
    return event.is_set()
