"""Fakes for the tests of code that uses an executor.

Most tests need none: ``LambdaPoolExecutor(backend="memory")``, or ``LAMBDAFUTURES_BACKEND=memory``
for a whole test run, runs calls in threads of the test's own process, where breakpoints and
coverage work. What your code makes of faults that only AWS brings can be tried with a script::

    from lambdafutures.testing import DIED, scripted_executor

    def test_the_report_names_the_input_that_failed():
        with scripted_executor([DIED] * 3) as ex:  # three tries, then `WorkerDied`
            assert "input 0" in make_report(ex)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from lambdafutures._backends.memory_invoker import MemoryInvoker
from lambdafutures._wire.outcome import (
    DIED,
    LOST,
    MEMORY,
    THROTTLED,
    TIME,
    Fault,
    Outcome,
)
from lambdafutures._wire.payload import Payload
from lambdafutures.executor import LambdaPoolExecutor

__all__ = ["DIED", "FAULTS", "LOST", "MEMORY", "THROTTLED", "TIME", "scripted_executor"]

FAULTS = {
    DIED: "ended its worker",
    LOST: "was lost",
    MEMORY: "used more memory than its limit",
    THROTTLED: "found no room",
    TIME: "had not returned after its time limit",
}
"""What a script may hold, and how errors word it."""


def scripted_executor(
    script: Iterable[str | None],
    max_workers: int = 1,
    *,
    max_tasks_per_child: int | None = None,
    **options: Any,
) -> LambdaPoolExecutor:
    """Return an executor on the memory backend whose attempts meet faults.

    Each attempt takes the next entry of the script; None, and all after its end, lets it run. With
    one worker attempts are made in the order of the calls, a retry before the calls that wait.

    A name that is no fault's breaks the executor with `ValueError`.

    Args:
        script: Names of faults, from this module, and None; may be endless (`itertools.cycle`). It
            is read on the engine's thread and must not block.
        max_workers: Calls that run at once.
        max_tasks_per_child: As `LambdaPoolExecutor` has it.
        **options: Further arguments of `LambdaPoolExecutor`.
    """
    executor = LambdaPoolExecutor(max_workers, backend="memory", **options)
    # In the place of its own, which nothing has used: that begins with the first call.
    executor._pool.invoker = _ScriptedInvoker(iter(script), max_workers, max_tasks_per_child)
    return executor


class _ScriptedInvoker(MemoryInvoker):
    """Let attempts meet faults before they reach a thread."""

    def __init__(
        self, script: Iterator[str | None], max_workers: int, max_chunks: int | None
    ) -> None:
        super().__init__(max_workers, max_chunks)
        self._script = script

    def send(self, payload: Payload) -> None:
        """End an attempt by the script's next fault, or run it."""
        kind = next(self._script, None)
        if kind is None:
            super().send(payload)
            return
        if kind not in FAULTS:
            self._break(ValueError(f"no fault is called {kind!r}: use one of {list(FAULTS)}"))
            return
        fault = Fault(kind, f"{FAULTS[kind]}, as the test's script has it")
        answer = Outcome(payload.chunk, payload.attempt, fault=fault)
        self._loop.call_soon(self._sink.on_outcome, answer)
