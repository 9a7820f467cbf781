"""One execution environment: a process under AWS's runtime client, serving one call at a time.

starting ──ready──► idle ◄──ready── finishing
    │                │ run()            ▲
    │                ▼                  │ response, error
    └──run()──────► busy ───────────────┘
anywhere: exit, time-out or kill ──► dead
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .function_process import FunctionProcess
from .invocation import UNHANDLED, Invocation, Outcome, platform_error
from .lambda_model import Function
from .limits import SYNC_RESPONSE_MAX_BYTES
from .runtime_api import RuntimeApi, Signal

_FINISH_MAX_S = 2.0
"""How long a runtime may take from its response to its request for the next invocation."""


class Environment(Protocol):
    """What the pool needs of an environment."""

    revision: int

    @property
    def is_alive(self) -> bool:
        """Return whether it can serve another call."""

    async def prepare(self) -> None:
        """Start it ahead of an invocation."""

    async def run(self, invocation: Invocation, wants_memory: bool) -> Outcome:
        """Serve one call."""

    def close(self) -> None:
        """End it."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How the process of an environment starts.

    Attributes:
        command: The command line.
        environment: The environment variables, without the address of the Runtime API.
        cwd: The working directory.
        is_frozen_when_idle: Whether it is stopped between invocations, as in Lambda.
        init_max_s: How long its INIT phase may take.
    """

    command: list[str]
    environment: dict[str, str]
    cwd: Path
    is_frozen_when_idle: bool
    init_max_s: float


class ProcessEnvironment:
    """An environment with a process of its own.

    Attributes:
        revision: The function's revision it was made for.
    """

    def __init__(self, function: Function, make_launch: Callable[[], Launch]) -> None:
        self._loop = asyncio.get_running_loop()
        self._function = function
        self._make_launch = make_launch
        self._launch: Launch | None = None
        self._wake: asyncio.Future[None] | None = None
        self._api = RuntimeApi()
        self._api.on_signal = self._on_signal
        self._process = FunctionProcess(self._on_exit)
        self._init_s: float | None = None
        self._is_closed = False
        self.revision = function.revision

    @property
    def is_alive(self) -> bool:
        """Return whether its process runs."""
        return self._process.is_alive and not self._is_closed

    async def prepare(self) -> None:
        """Start the process and wait until it asks for work, or has failed to."""
        launch = await self._start()
        signal = await self._init(launch.init_max_s)
        if signal is None or signal.kind != "ready":
            self.close()
        else:
            self._init_s = None
            self._freeze()

    async def run(self, invocation: Invocation, wants_memory: bool) -> Outcome:
        """Serve one call, from INIT on if the environment is new.

        Args:
            invocation: The call.
            wants_memory: Whether to measure memory for the REPORT line.
        """
        timeout_s = invocation.function.timeout_s
        self._process.thaw()
        if not self._api.is_waiting:
            failed = await self._cold_init(invocation)
            if failed is not None:
                return self._finish(failed, wants_memory)
        deadline = self._loop.time() + timeout_s
        started = self._loop.time()
        self._api.signals.clear()
        self._api.hand_over(invocation)
        killer = None
        if invocation.kill_after_s is not None:
            kill = self._process.kill_children if invocation.kills_children else self._process.kill
            killer = self._loop.call_later(invocation.kill_after_s, kill)
        try:
            signal = await self._next_signal(deadline)
        finally:
            if killer is not None:
                killer.cancel()
        outcome = self._outcome(invocation, signal)
        outcome.duration_s = self._loop.time() - started
        outcome.init_s, self._init_s = self._init_s, None
        if signal is not None and signal.kind != "exit":
            # Lambda, too, counts the environment as busy until its runtime asks for more work.
            after = await self._next_signal(self._loop.time() + _FINISH_MAX_S)
            if after is None or after.kind != "ready":
                self.close()
        else:
            self.close()
        return self._finish(outcome, wants_memory)

    def close(self) -> None:
        """Kill the process and stop listening."""
        if not self._is_closed:
            self._is_closed = True
            self._process.close()
            self._api.close()

    # -- INIT --------------------------------------------------------------------------------

    async def _start(self) -> Launch:
        self._launch = self._make_launch()
        await self._api.start()
        self._spawn()
        return self._launch

    def _spawn(self) -> None:
        assert self._launch is not None
        environment = self._launch.environment | {"AWS_LAMBDA_RUNTIME_API": self._api.address}
        self._process.start(self._launch.command, environment, self._launch.cwd)
        if self._function.enforces_memory:
            self._process.watch_memory(self._function.memory_mb * 1024)

    async def _init(self, limit_s: float) -> Signal | None:
        started = self._loop.time()
        signal = await self._next_signal(started + limit_s)
        self._init_s = self._loop.time() - started
        return signal

    async def _cold_init(self, invocation: Invocation) -> Outcome | None:
        """Run INIT inside an invocation; return what the invocation gets if it fails."""
        launch = await self._start()
        signal = await self._init(launch.init_max_s)
        if signal is None:
            # Lambda gives up an INIT of 10 s and repeats it within the invocation's own time-out.
            self._process.close()
            self._process = FunctionProcess(self._on_exit)
            self._api.signals.clear()
            self._spawn()
            signal = await self._init(invocation.function.timeout_s)
        if signal is not None and signal.kind == "ready":
            return None
        outcome = self._outcome(invocation, signal)
        outcome.init_s = self._init_s
        self.close()
        return outcome

    # -- outcomes ----------------------------------------------------------------------------

    def _outcome(self, invocation: Invocation, signal: Signal | None) -> Outcome:
        """Return what a signal, or none in time, means for the invocation."""
        prefix = f"RequestId: {invocation.request_id} Error: "
        if signal is None:
            timeout_s = invocation.function.timeout_s
            return platform_error(
                "Sandbox.Timedout",
                f"{prefix}Task timed out after {timeout_s:.2f} seconds",
                "Status: timeout",
            )
        if signal.kind == "response":
            return Outcome(signal.body)
        if signal.kind in ("error", "init-error"):
            return Outcome(signal.body, UNHANDLED)
        if signal.kind == "too-large":
            message = (
                "Response payload size exceeded maximum allowed payload size "
                f"({SYNC_RESPONSE_MAX_BYTES} bytes)."
            )
            kind = "Function.ResponseSizeTooLarge"
            return platform_error(kind, message, f"Status: error\tError Type: {kind}")
        kind = "Runtime.OutOfMemory" if self._process.was_out_of_memory else "Runtime.ExitError"
        return platform_error(
            kind,
            prefix + self._process.exit_message(),
            f"Status: error\tError Type: {kind}",
        )

    def _finish(self, outcome: Outcome, wants_memory: bool) -> Outcome:
        outcome.log = self._process.take_output()
        if wants_memory:
            outcome.memory_mb = self._process.measure_memory()
        self._freeze()
        return outcome

    def _freeze(self) -> None:
        if self._launch is not None and self._launch.is_frozen_when_idle:
            self._process.freeze()

    # -- signals -----------------------------------------------------------------------------

    async def _next_signal(self, deadline: float) -> Signal | None:
        """Wait for the next signal; return None at the deadline."""
        while not self._api.signals:
            self._wake = self._loop.create_future()
            timer = self._loop.call_at(deadline, self._on_signal)
            try:
                await self._wake
            finally:
                timer.cancel()
                self._wake = None
            if not self._api.signals and self._loop.time() >= deadline:
                return None
        return self._api.signals.popleft()

    def _on_signal(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _on_exit(self) -> None:
        self._api.signal(Signal("exit"))
