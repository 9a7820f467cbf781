"""From an attempt to the payload that a backend sends."""

from __future__ import annotations

from lambdafutures._backends.base import Invoker
from lambdafutures._engine.chunk import Attempt
from lambdafutures._wire.payload import Payload


class Dispatcher:
    """Make payloads and hand them to the invoker.

    Args:
        invoker: The backend's invoker.
    """

    def __init__(self, invoker: Invoker) -> None:
        self._invoker = invoker

    def dispatch(self, attempt: Attempt) -> None:
        """Send an attempt; its outcome goes to the invoker's sink.

        Args:
            attempt: What to send.
        """
        work = attempt.work
        chunk = work.chunk
        self._invoker.send(
            Payload(
                chunk.number,
                attempt.number,
                chunk.function.sha256,
                chunk.arguments,
                calls=work.calls,
                has_kwargs=chunk.has_kwargs,
                function_parts=chunk.function.parts,
                limit_s=chunk.options.time_s,
                memory_mb=work.memory_mb,
                place=chunk.place,
                bundles=chunk.bundles,
            )
        )
