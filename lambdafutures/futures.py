"""`LambdaFuture`, and the vocabulary of `concurrent.futures` so that one import suffices."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    InvalidStateError,
    as_completed,
    wait,
)
from dataclasses import dataclass
from typing import Any, TypeVar

from lambdafutures._endings import AttemptFacts, Ending
from lambdafutures._packed_future import PackedFuture

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BrokenExecutor",
    "CallOutput",
    "CancelledError",
    "Executor",
    "Future",
    "InvalidStateError",
    "LambdaFuture",
    "LogLine",
    "Timings",
    "as_completed",
    "wait",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LogLine:
    """Hold one log record of a call.

    Args:
        time_s: When it was made, in seconds since the epoch.
        level: Name of its level.
        logger: Name of its logger.
        message: Its text.
    """

    time_s: float
    level: str
    logger: str
    message: str


@dataclass(frozen=True, slots=True)
class CallOutput:
    """Hold what a call printed and logged.

    Args:
        stdout: Text written to `sys.stdout`.
        stderr: Text written to `sys.stderr`.
        logs: Records made through `logging`.
    """

    stdout: str = ""
    stderr: str = ""
    logs: tuple[LogLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Timings:
    """Tell where the time of a call went; instants are seconds since the epoch.

    Args:
        submitted_s: When the call was handed to the executor.
        sent_s: When its last attempt was sent.
        received_s: When the worker received that.
        setup_s: Seconds from there to its chunk's first call: fetching modules and packages,
            unpickling, imports.
        run_s: Seconds that the function ran.
        packing_s: Seconds to pickle the results of its chunk.
        done_s: When the outcome reached the client.
    """

    submitted_s: float
    sent_s: float
    received_s: float
    setup_s: float
    run_s: float
    packing_s: float
    done_s: float


class LambdaFuture(PackedFuture[T]):
    """Hold the future result of one call: a `concurrent.futures.Future` that can be awaited.

    Beside the standard interface it tells, once the call has ended, what is known of it. `await`
    works in any event loop; for functions that take coroutines only, such as
    `asyncio.TaskGroup.create_task`, use `coroutine()`.

    Args:
        session: Id of the executor's session.
        number: Number of the call's chunk in the session.
    """

    def __init__(self, session: str = "", number: int = 0) -> None:
        super().__init__()
        self._session = session
        self._number = number
        self._facts: AttemptFacts | None = None
        self._run_s = 0.0

    def _settle(self, endings: list[Ending]) -> bool:
        ending = endings[0]
        self._facts = ending.facts
        if ending.run_s:
            self._run_s = ending.run_s[0]
        return super()._settle(endings)

    def _open(self, endings: list[Ending]) -> tuple[object, BaseException | None]:
        values, error = endings[0].unpack()
        return (None, error) if error is not None else (values[0], None)

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio

        if self._is_large():
            yield from asyncio.to_thread(self._unpack).__await__()
        return (yield from asyncio.wrap_future(self).__await__())

    async def coroutine(self) -> T:
        """Return a coroutine of this future, for `TaskGroup.create_task` and `asyncio.wait`."""
        return await self

    @property
    def call_id(self) -> str:
        """Names the call: its executor's session and its number there."""
        return f"{self._session}-{self._number}"

    @property
    def attempts(self) -> int:
        """How often the call was tried; 0 while it has not ended."""
        return self._facts.attempts if self._facts else 0

    @property
    def timings(self) -> Timings | None:
        """Where the time went; None while the call has not ended."""
        facts = self._facts
        if facts is None:
            return None
        return Timings(
            submitted_s=facts.submitted_s,
            sent_s=facts.sent_s,
            received_s=facts.received_s,
            setup_s=facts.setup_s,
            run_s=self._run_s,
            packing_s=facts.packing_s,
            done_s=facts.done_s,
        )

    @property
    def peak_memory_bytes(self) -> int | None:
        """The worker's peak resident memory by the end of the call, or None if unknown."""
        return (self._facts.peak_memory_bytes or None) if self._facts else None

    @property
    def fetched_bytes(self) -> int:
        """Length of the modules and packages that the worker fetched for the call's chunk."""
        return self._facts.fetched_bytes if self._facts else 0

    @property
    def output(self) -> CallOutput | None:
        """What the call printed and logged; None while it has not ended.

        It is empty on the memory backend, whose threads share one output.
        """
        if self._facts is None:
            return None
        said = (self._facts.output or {}).get(0, {})
        return CallOutput(
            stdout=said.get("stdout", ""),
            stderr=said.get("stderr", ""),
            logs=tuple(LogLine(**line) for line in said.get("logs", ())),
        )

    def __repr__(self) -> str:
        state = str(self._state).lower().replace("_and_notified", "")
        tried = f" attempts={self.attempts}" if self._facts else ""
        return f"<LambdaFuture {self.call_id} {state}{tried}>"
