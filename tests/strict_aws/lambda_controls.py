"""What a test does with Lambda behind the clients' backs."""

import sys
from collections import Counter
from collections.abc import Iterable

from .event_queue import Event, EventSettings
from .fake_thread import CALL_MAX_S, FakeThread
from .identities import Identity
from .lambda_model import Code, Function, Responder
from .limits import EVENT_RETRIES
from .runtime_dir import find_interpreter


class LambdaControls(FakeThread):
    """Functions, environments and Events, without requests."""

    def create_function(
        self,
        name: str,
        code: Code | None = None,
        handler: str = "handler.handler",
        *,
        python: str = sys.executable,
        memory_mb: int = 1769,
        timeout_s: float = 30.0,
        environment: dict[str, str] | None = None,
        reserved_concurrency: int | None = None,
        role: Identity | None = None,
        layers: Iterable[str] = (),
        enforce_memory: bool = False,
        max_retries: int = EVENT_RETRIES,
        warm: int = 0,
        respond: Responder | None = None,
    ) -> Function:
        """Make a function without a request.

        Args:
            name: Its name.
            code: A zip's path or bytes, or a directory, which is copied.
            handler: `module.function`.
            python: The interpreter; its site-packages are not importable.
            memory_mb: Its memory size.
            timeout_s: Its time-out, which may be a fraction of a second.
            environment: Its environment variables.
            reserved_concurrency: What is reserved for it.
            role: What it runs under; by default a role that may do everything.
            layers: Directories that are importable besides the code.
            enforce_memory: Whether its processes are killed above the memory size.
            max_retries: MaximumRetryAttempts of its Events.
            warm: Environments to start at once.
            respond: Answers instead of code and a process: from bytes to bytes, may be async.
        """
        if (code is None) == (respond is None):
            raise ValueError("give either code or respond")
        version = find_interpreter(python).version
        role = role or self._default_role()
        function = Function(
            name=name,
            region=self.region,
            account_id=self.account_id,
            role=role,
            handler=handler,
            python=python,
            memory_mb=memory_mb,
            timeout_s=timeout_s,
            environment=dict(environment or {}),
            layers=tuple(layers),
            reserved=reserved_concurrency,
            enforces_memory=enforce_memory,
            max_retries=max_retries,
            responder=respond,
            runtime=f"python{version}",
        )
        self.call(lambda: self._lambda.control.add(function, code))
        if warm:
            self.warm_up(name, warm)
        return function

    def function(self, name: str) -> Function:
        """Return a function, whose attributes a test may change.

        Args:
            name: Its name.
        """
        return self.call(lambda: self._lambda.control.functions[self.region, name])

    def delete_function(self, name: str) -> None:
        """Remove a function without a request, and its idle environments.

        Args:
            name: Its name.
        """
        self.recycle(name)
        self.call(lambda: self._lambda.control.functions.pop((self.region, name)))

    def warm_up(self, name: str, count: int) -> None:
        """Start environments ahead of any invocation.

        Args:
            name: The function's name.
            count: How many.
        """
        self.await_(self._lambda.pool.warm_up(self.function(name), count), CALL_MAX_S)

    def recycle(self, name: str) -> None:
        """End a function's idle environments.

        Args:
            name: The function's name.
        """
        function = self.function(name)
        self.call(lambda: self._lambda.pool.recycle(function))

    def function_log(self, name: str) -> str:
        """Return what a function has written.

        Args:
            name: Its name.
        """
        return self.call(lambda: self._lambda.pool.logs[name].decode(errors="replace"))

    def cold_starts(self, name: str) -> int:
        """Return how many environments invocations of a function have started.

        Args:
            name: Its name.
        """
        return self.call(lambda: self._lambda.pool.cold_starts[name])

    def peak_concurrency(self, name: str) -> int:
        """Return the most invocations of a function that ran at once.

        Args:
            name: Its name.
        """
        return self.call(lambda: self._lambda.pool.scaling.peak[name])

    @property
    def throttles(self) -> Counter[str]:
        """Return the throttles so far, by reason, those of scripts excepted."""
        return self.call(lambda: Counter(self._lambda.pool.scaling.throttles))

    @property
    def events(self) -> list[Event]:
        """Return all Events accepted so far."""
        return self.call(lambda: list(self._lambda.queue.events))

    @property
    def event_settings(self) -> EventSettings:
        """Return the delays of the queue of Events, to change."""
        return self._lambda.queue.settings

    @property
    def freezes_idle(self) -> bool:
        """Return whether environments are stopped between invocations, as in Lambda."""
        return self.call(lambda: self._lambda.pool.is_frozen_when_idle)

    @freezes_idle.setter
    def freezes_idle(self, value: bool) -> None:
        self.call(lambda: setattr(self._lambda.pool, "is_frozen_when_idle", value))

    def _default_role(self) -> Identity:
        name = "function-role"
        return self._identities.by_name.get(name) or self.identity(name, ["*"], is_role=True)
