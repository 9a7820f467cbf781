"""Where the client's CPU goes, by layer and by function, in all its threads.

Run as ``python -m tests.benchmarks.profiles [local | submit | collect]``, with Python 3.11: in
later ones cProfile follows one thread. `local` is a map on the local backend; `submit` are calls
through an instant AWS whose Invoke answers with the outcome; `collect` the same, whose outcomes are
polled for. ``LAMBDAFUTURES_HOT_REQUESTS=off`` shows the two with botocore's requests, as they were
before.
"""

from __future__ import annotations

import argparse
import cProfile
import re
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import CodeType

import lambdafutures
from lambdafutures import LambdaPoolExecutor
from tests.benchmarks import table
from tests.benchmarks.instant_aws import InstantAws
from tests.benchmarks.work import no_op

MODES = {"submit": "response", "collect": "poll"}
CALLS = {"local": 10_000, "submit": 3000, "collect": 3000}
WORKERS = {"local": 2, "submit": 256, "collect": 256}
SHOWN = 10
PACKAGE = Path(lambdafutures.__file__).parent
# What C functions belong to, by a word of their names.
BUILT_IN = (
    ("sockets", r"socket|epoll|'posix|sendmsg|recvmsg"),
    ("pickle", r"pickle"),
    ("locks", r"lock|Lock|Condition"),
    ("digests", r"hash|hmac|hexdigest|HMAC"),
    ("json", r"json|scanner|encoder"),
)


def opened(stack: ExitStack, what: str) -> LambdaPoolExecutor:
    """Return an executor for one of the cases, as often as needed."""
    if what == "local":
        return stack.enter_context(LambdaPoolExecutor(WORKERS[what], backend="local"))
    stack.enter_context(InstantAws())
    return stack.enter_context(
        LambdaPoolExecutor(WORKERS[what], backend="aws", completion=MODES[what])  # type: ignore[arg-type]
    )


def work(ex: LambdaPoolExecutor, what: str, calls: int) -> None:
    """Run calls and take their results."""
    if what == "local":
        assert list(ex.map(no_op, range(calls))) == [None] * calls
    else:
        futures = [ex.submit(no_op, x) for x in range(calls)]
        assert [future.result() for future in futures] == [None] * calls


def cpu_us(what: str) -> float:
    """Return the microseconds of CPU that a call takes where nothing is profiled."""
    with ExitStack() as stack:
        ex = opened(stack, what)
        work(ex, what, CALLS[what] // 4)
        began_s = time.process_time()
        work(ex, what, CALLS[what])
        return (time.process_time() - began_s) / CALLS[what] * 1e6


def profiled(what: str) -> Counter[str]:
    """Return the share of the CPU that each function took itself, in all threads."""
    profiles: list[cProfile.Profile] = []

    def begin(*_: object) -> None:
        # Each thread's first event replaces this hook by a profile of its own. By its CPU time:
        # whoever waits costs nothing.
        profile = cProfile.Profile(time.thread_time)
        profiles.append(profile)
        profile.enable()

    with ExitStack() as stack:
        threading.setprofile(begin)
        ex = opened(stack, what)
        work(ex, what, CALLS[what] // 4)
        mine = cProfile.Profile(time.thread_time)
        profiles.append(mine)
        mine.enable()
        work(ex, what, CALLS[what])
        mine.disable()
        threading.setprofile(None)  # type: ignore[arg-type]
    spent: Counter[str] = Counter()
    for profile in profiles:
        for entry in profile.getstats():
            spent[named(entry.code)] += entry.inlinetime
    whole = sum(spent.values())
    return Counter({name: seconds / whole for name, seconds in spent.items()})


def named(code: CodeType | str) -> str:
    """Return the name of a function: its module's and its own."""
    if isinstance(code, str):
        return code
    path = Path(code.co_filename)
    if path.is_relative_to(PACKAGE):
        return f"lambdafutures/{path.relative_to(PACKAGE)} {code.co_qualname}"
    return f"{'/'.join(path.parts[-2:])} {code.co_qualname}"


def layer(name: str) -> str:
    """Return what a function belongs to."""
    if name.startswith("<"):
        return next((found for found, words in BUILT_IN if re.search(words, name)), "other C code")
    package = name.partition("/")[0]
    if package.startswith("python3"):
        return "standard library"
    return (
        "/".join(name.split("/")[:2]).partition(" ")[0] if package == "lambdafutures" else package
    )


def show(what: str) -> None:
    """Print a profile: first by layers, then by functions."""
    whole_us = cpu_us(what)
    shares = profiled(what)
    layers: Counter[str] = Counter()
    for name, share in shares.items():
        layers[layer(name)] += share
    print(f"\n{what}: {whole_us:.0f} us of CPU a call")
    for title, found in (("layer", layers), ("function", shares)):
        print(f"{title:72s} {'us':>6s} {'share':>6s}")
        for name, share in found.most_common(SHOWN):
            print(f"  {name[:70]:70s} {share * whole_us:6.1f} {share:6.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", metavar="what", default=list(CALLS))
    if sys.version_info >= (3, 12):
        parser.exit(1, "needs Python 3.11: cProfile follows one thread at a time in later ones\n")
    print(table.machine())
    for each in parser.parse_args().what:
        show(each)
