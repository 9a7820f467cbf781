"""The environments of all functions: reuse of warm ones, start of new ones, their end."""

import asyncio
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .environment import Environment, Launch, ProcessEnvironment
from .identities import Identities
from .inline_environment import InlineEnvironment
from .invocation import Invocation, Outcome
from .lambda_model import Function
from .limits import INIT_MAX_S
from .runtime_dir import find_interpreter, make_runtime_dir
from .scaling import Scaling

_LOG_MAX_BYTES = 16 * 1024 * 1024
"""Log kept per function, for tests that look for secrets in it."""


class Pool:
    """Runs invocations in environments.

    Attributes:
        scaling: The limits.
        work_dir: Holds the functions' code, the runtimes and the environments' `/tmp`.
        logs: What each function wrote, by name.
        cold_starts: Environments started for an invocation, by function name.
        is_frozen_when_idle: Whether processes are stopped between invocations, as in Lambda.
        init_max_s: How long an INIT phase may take, in real time.
    """

    def __init__(
        self, scaling: Scaling, identities: Identities, time_scale: Callable[[], float]
    ) -> None:
        self.scaling = scaling
        self.work_dir = Path(tempfile.mkdtemp(prefix="strict-aws-"))
        self.endpoint_url = ""
        self.logs: dict[str, bytearray] = defaultdict(bytearray)
        self.cold_starts: dict[str, int] = defaultdict(int)
        self.is_frozen_when_idle = True
        self.init_max_s = INIT_MAX_S
        self._identities = identities
        self._time_scale = time_scale
        self._idle: dict[str, list[Environment]] = defaultdict(list)
        self._all: set[Environment] = set()
        self._tmp_count = 0

    async def run(self, invocation: Invocation, wants_memory: bool) -> Outcome:
        """Run an invocation for which concurrency was acquired.

        Args:
            invocation: The invocation.
            wants_memory: Whether the REPORT line needs the memory.

        Raises:
            AwsError: The function may not start another environment yet.
        """
        function = invocation.function
        environment = self._warm(function)
        if environment is None:
            self.scaling.take_environment(function)
            environment = self._make(function)
            self.cold_starts[function.name] += 1
            cold_start_s = self.scaling.settings.cold_start_s * self._time_scale()
            if cold_start_s:
                await asyncio.sleep(cold_start_s)
        try:
            outcome = await environment.run(invocation, wants_memory)
        except BaseException:
            self._discard(environment)
            raise
        if environment.is_alive and environment.revision == function.revision:
            self._idle[function.arn].append(environment)
        else:
            self._discard(environment)
        self._keep_log(invocation, outcome)
        return outcome

    async def warm_up(self, function: Function, count: int) -> None:
        """Start environments ahead of any invocation, outside of the ramp.

        Args:
            function: The function.
            count: How many.
        """
        made = [self._make(function) for _ in range(count)]
        await asyncio.gather(*[environment.prepare() for environment in made])
        for environment in made:
            if environment.is_alive:
                self._idle[function.arn].append(environment)
            else:
                self._discard(environment)

    def recycle(self, function: Function) -> None:
        """End the idle environments of a function, as Lambda does when it likes.

        Args:
            function: The function.
        """
        for environment in self._idle.pop(function.arn, []):
            self._discard(environment)

    def close(self) -> None:
        """End every environment and remove all files."""
        for environment in list(self._all):
            self._discard(environment)
        self._idle.clear()
        shutil.rmtree(self.work_dir, ignore_errors=True)

    def _warm(self, function: Function) -> Environment | None:
        idle = self._idle[function.arn]
        while idle:
            environment = idle.pop()
            if environment.is_alive and environment.revision == function.revision:
                return environment
            self._discard(environment)
        return None

    def _make(self, function: Function) -> Environment:
        environment: Environment
        if function.responder is not None:
            environment = InlineEnvironment(function)
        else:
            environment = ProcessEnvironment(function, partial(self._launch, function))
        self._all.add(environment)
        return environment

    def _discard(self, environment: Environment) -> None:
        environment.close()
        self._all.discard(environment)

    def _launch(self, function: Function) -> Launch:
        interpreter = find_interpreter(function.python)
        runtime_dir = make_runtime_dir(self.work_dir, interpreter.version)
        self._tmp_count += 1
        tmp_dir = self.work_dir / "tmp" / str(self._tmp_count)
        tmp_dir.mkdir(parents=True)
        log_stream = f"2026/01/01/[$LATEST]{self._tmp_count:032x}"
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TZ": ":UTC",
            # In a sandbox `/tmp` belongs to one environment alone.
            "TMPDIR": str(tmp_dir),
            "PYTHONPATH": str(runtime_dir),
            "PYTHONNOUSERSITE": "1",
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_ENDPOINT_URL_LAMBDA": self.endpoint_url,
            "AWS_ENDPOINT_URL_STS": self.endpoint_url,
            **function.environment,
            **self._identities.issue(function.role).environ(),
            "_HANDLER": function.handler,
            "AWS_REGION": function.region,
            "AWS_DEFAULT_REGION": function.region,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{interpreter.version}",
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
            "LAMBDA_RUNTIME_DIR": str(runtime_dir),
            "LAMBDA_TASK_ROOT": str(function.code_dir),
            "STRICT_AWS_LAYERS": os.pathsep.join(function.layers),
        }
        command = [interpreter.executable, "-S", "-P", str(runtime_dir / "lambda_bootstrap.py")]
        return Launch(
            command, environment, function.code_dir, self.is_frozen_when_idle, self.init_max_s
        )

    def _keep_log(self, invocation: Invocation, outcome: Outcome) -> None:
        if outcome.log:
            log = self.logs[invocation.function.name]
            log += outcome.log
            if len(log) > _LOG_MAX_BYTES:
                del log[: -_LOG_MAX_BYTES // 2]
