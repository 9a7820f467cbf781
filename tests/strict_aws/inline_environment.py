"""An environment without a process, for tests of thousands of calls at once.

It keeps Lambda's front: limits, throttles, time-outs, error bodies. The answer comes from a Python
callable inside the fake, which shows nothing of what a real worker would do.
"""

import asyncio
import inspect
import json
import traceback

from .invocation import UNHANDLED, Invocation, Outcome, platform_error
from .lambda_model import Function
from .limits import SYNC_RESPONSE_MAX_BYTES


class InlineEnvironment:
    """An environment that answers by a callable.

    Attributes:
        revision: The function's revision it was made for.
        is_alive: Whether it was not closed.
    """

    def __init__(self, function: Function) -> None:
        self.revision = function.revision
        self.is_alive = True

    async def prepare(self) -> None:
        """Do nothing: there is nothing to start."""

    async def run(self, invocation: Invocation, wants_memory: bool) -> Outcome:
        """Answer one call.

        Args:
            invocation: The call.
            wants_memory: Unused: no process, no memory.
        """
        started = asyncio.get_running_loop().time()
        outcome = await self._answer(invocation)
        outcome.duration_s = asyncio.get_running_loop().time() - started
        return outcome

    def close(self) -> None:
        """Serve no more calls."""
        self.is_alive = False

    async def _answer(self, invocation: Invocation) -> Outcome:
        function = invocation.function
        assert function.responder is not None
        prefix = f"RequestId: {invocation.request_id} Error: "
        try:
            async with asyncio.timeout(function.timeout_s):
                if invocation.kill_after_s is not None:
                    await asyncio.sleep(invocation.kill_after_s)
                    self.close()
                    return platform_error(
                        "Runtime.ExitError",
                        f"{prefix}Runtime exited with error: signal: killed",
                        "Status: error\tError Type: Runtime.ExitError",
                    )
                body = function.responder(invocation.payload)
                if inspect.isawaitable(body):
                    body = await body
        except TimeoutError:
            self.close()
            message = f"{prefix}Task timed out after {function.timeout_s:.2f} seconds"
            return platform_error("Sandbox.Timedout", message, "Status: timeout")
        except Exception as exc:  # whatever the handler raises is its error
            error = {
                "errorMessage": str(exc),
                "errorType": type(exc).__name__,
                "requestId": invocation.request_id,
                "stackTrace": traceback.format_tb(exc.__traceback__),
            }
            return Outcome(json.dumps(error).encode(), UNHANDLED)
        if len(body) > SYNC_RESPONSE_MAX_BYTES:
            kind = "Function.ResponseSizeTooLarge"
            message = (
                "Response payload size exceeded maximum allowed payload size "
                f"({SYNC_RESPONSE_MAX_BYTES} bytes)."
            )
            return platform_error(kind, message, f"Status: error\tError Type: {kind}")
        return Outcome(bytes(body))
