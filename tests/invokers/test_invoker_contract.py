"""What the engine may rely on of every invoker."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from lambdafutures._backends.lambda_invoker import LambdaInvoker
from lambdafutures._wire import blob, codec, outcome
from lambdafutures._wire.outcome import Outcome
from lambdafutures._wire.payload import Payload, SessionHead
from tests import calls
from tests.conftest import PATIENCE_S, _belongings, has_grown_since, left_since, wait_until


@dataclass
class Sink:
    """Keeps what an invoker reports, and lets a test wait for it."""

    loop: asyncio.AbstractEventLoop

    def __post_init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.broken: list[Exception] = []
        self._news = asyncio.Event()

    def on_outcome(self, outcome: Outcome) -> None:
        assert asyncio.get_running_loop() is self.loop
        self.outcomes.append(outcome)
        self._news.set()

    def on_broken(self, error: Exception) -> None:
        assert asyncio.get_running_loop() is self.loop
        self.broken.append(error)
        self._news.set()

    async def wait(self, count: int) -> list[Outcome]:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.outcomes) < count and not self.broken:
                self._news.clear()
                await self._news.wait()
        return sorted(self.outcomes, key=lambda each: (each.chunk, each.attempt))

    async def wait_broken(self) -> Exception:
        async with asyncio.timeout(PATIENCE_S):
            while not self.broken:
                self._news.clear()
                await self._news.wait()
        return self.broken[0]


def head(initializer: Any = None) -> SessionHead:
    return SessionHead(
        os.urandom(6).hex(),
        f"{sys.version_info.major}.{sys.version_info.minor}",
        initializer=None if initializer is None else codec.dumps((initializer, ())),
        sys_path=None,
    )


def payload(number: int, function: Any, *items: Any, **fields: Any) -> Payload:
    parts = codec.dumps(function).parts
    arguments = codec.dumps([(item,) for item in items]).parts
    return Payload(
        number, 1, blob.digest(parts), arguments, function_parts=parts, **fields
    )  # fmt: skip


def run(invoker: Any, test: Callable[[Any, Sink], Any], session: SessionHead | None = None) -> Any:
    """Open an invoker on a loop, run a test on it, close it."""
    session = session or head()
    if not isinstance(invoker, LambdaInvoker):
        session.sys_path = [path or os.getcwd() for path in sys.path]

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sink = Sink(loop)
        invoker.prestart(session)
        invoker.open(loop, sink)
        try:
            return await test(invoker, sink)
        finally:
            async with asyncio.timeout(PATIENCE_S):
                await invoker.close()

    return asyncio.run(main())


def values(answer: Outcome) -> list[Any]:
    assert answer.fault is None
    return [value for entry in answer.entries for value in codec.loads(entry.parts)]


def test_an_attempt_is_answered_with_its_outcome(make_invoker):
    async def test(invoker, sink):
        invoker.send(payload(1, calls.identity, "a", "b"))
        (answer,) = await sink.wait(1)
        assert (answer.chunk, answer.attempt) == (1, 1)
        assert values(answer) == ["a", "b"]
        assert len(answer.run_s) == 2
        assert answer.peak_memory_bytes > 0

    run(make_invoker(), test)


def test_only_the_calls_that_are_asked_for_run(make_invoker):
    async def test(invoker, sink):
        invoker.send(payload(1, calls.identity, *"abcdef", calls=[(1, 2), (5, 1)]))
        (answer,) = await sink.wait(1)
        assert [(entry.first, entry.count) for entry in answer.entries] == [(1, 2), (5, 1)]
        assert values(answer) == ["b", "c", "f"]

    run(make_invoker(), test)


def test_several_attempts_are_under_way_at_once(make_invoker, kind, tmp_path):
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    # Where nobody will come to the meeting, it need not last long.
    patience_s = 3 if kind.startswith("ministack") else PATIENCE_S

    async def test(invoker, sink):
        invoker.send(payload(1, calls.meet, (a, b, patience_s)))
        invoker.send(payload(2, calls.meet, (b, a, patience_s)))
        assert [values(answer) for answer in await sink.wait(2)] == [[a], [b]]

    run(make_invoker(), test)


@pytest.mark.parametrize("function", [calls.die, os._exit], ids=lambda function: function.__name__)
def test_a_worker_that_dies_is_a_fault_that_names_the_call(make_invoker, function):
    async def test(invoker, sink):
        invoker.send(payload(1, function, 1))
        (answer,) = await sink.wait(1)
        assert answer.fault.kind == outcome.DIED
        assert answer.fault.call == 0
        invoker.send(payload(2, calls.identity, 1))
        assert values((await sink.wait(2))[1]) == [1]

    run(make_invoker(), test)


def test_a_time_limit_is_a_fault_and_what_had_ended_is_kept(make_invoker, tmp_path):
    go = tmp_path / "go"

    async def test(invoker, sink):
        waits = payload(
            1, calls.spin_or_wait, (0.01, None), (0.01, None), (0, str(go)), limit_s=1.2
        )
        invoker.send(waits)
        (answer,) = await sink.wait(1)
        assert answer.fault.kind == outcome.TIME
        assert answer.fault.call == 2
        assert "time limit of 1.2 s" in answer.fault.message
        assert [entry.first for entry in answer.entries] == [0, 1]
        invoker.send(payload(2, calls.identity, 5))
        assert values((await sink.wait(2))[1]) == [5]
        go.touch()  # for a thread, which cannot be ended

    run(make_invoker(1), test)


def test_an_attempt_that_was_abandoned_holds_up_no_other(make_invoker, tmp_path):
    go, begun = tmp_path / "go", tmp_path / "begun"

    async def test(invoker, sink):
        invoker.send(payload(1, calls.touch_then_wait, (str(begun), str(go))))
        await asyncio.to_thread(wait_until, begun.exists)
        invoker.abandon(1, 1)
        go.touch()  # for a thread, and for a function that only one can use at a time
        invoker.send(payload(2, calls.identity, 5))
        while not any(answer.chunk == 2 for answer in sink.outcomes):
            await sink.wait(len(sink.outcomes) + 1)
        assert values(sink.outcomes[-1]) == [5]

    run(make_invoker(1), test)


def test_a_function_that_is_not_what_its_hash_says_is_refused(make_invoker):
    async def test(invoker, sink):
        wrong = payload(1, calls.identity, 1)
        wrong.function = "0" * 64
        invoker.send(wrong)
        (answer,) = await sink.wait(1)
        assert answer.fault.kind == outcome.REFUSED

    run(make_invoker(), test)


def test_a_failing_initializer_breaks_it(make_invoker):
    async def test(invoker, sink):
        invoker.send(payload(1, calls.identity, 1))
        assert "no initializer today" in str(await sink.wait_broken())

    run(make_invoker(1), test, head(calls.fail_to_initialize))


def test_kill_and_close_wait_for_nothing_that_runs(make_invoker, tmp_path):
    go, begun = tmp_path / "go", tmp_path / "begun"

    async def test(invoker, sink):
        invoker.send(payload(1, calls.touch_then_wait, (str(begun), str(go))))
        await asyncio.to_thread(wait_until, begun.exists)
        invoker.kill()

    run(make_invoker(), test)
    go.touch()


def test_close_leaves_nothing(make_invoker, request):
    async def test(invoker, sink):
        invoker.send(payload(1, calls.identity, 1))
        await sink.wait(1)

    run(make_invoker(1), test)  # what libraries and the fake keep is there from now on
    before = _belongings()
    run(make_invoker(1), test)
    wait_until(lambda: not has_grown_since(before), lambda: str(left_since(before)))
