"""Functions and arguments to chunks, in the caller's thread, where user code may run and block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lambdafutures._engine.chunk import Function
from lambdafutures._wire import blob, codec

if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer

# Functions whose pickles were hashed already; when full, it starts anew. A pickle by reference is
# about 40 bytes, so this is small, and hashing again costs 2 us.
KNOWN_FUNCTIONS = 1024
# Pickles above this are closures with data: they are not kept for comparison.
KNOWN_FUNCTION_BYTES = 1024


class PackedCalls(NamedTuple):
    """Hold consecutive calls, pickled together, or why they cannot be.

    Args:
        calls: How many.
        parts: Parts of the pickled list of arguments.
        error: The exception that the pickling raised; then there is one call.
    """

    calls: int
    parts: Sequence[Buffer]
    error: BaseException | None = None


class Packer:
    """Pickle functions and arguments.

    Args:
        serializer: Who pickles what plain pickle cannot.
    """

    def __init__(self, serializer: str) -> None:
        self._serializer = serializer
        self._known: dict[Buffer, Function] = {}
        self._lock = threading.Lock()

    def pack_function(self, function: Callable[..., Any]) -> Function:
        """Pickle a function.

        It is pickled at every call, since a closure or a global that it uses may have changed.

        Args:
            function: The function.

        Raises:
            Exception: What the pickling raised, with a note that names the function.
        """
        try:
            packed = codec.dumps(function, self._serializer)
        except Exception as error:
            error.add_note(f"The function {function!r} cannot be pickled.")
            raise
        known = self._known.get(packed.data) if not packed.buffers else None
        if known is not None:
            return known
        made = Function(blob.digest(packed.parts), packed.parts)
        if packed.nbytes <= KNOWN_FUNCTION_BYTES:
            with self._lock:
                if len(self._known) >= KNOWN_FUNCTIONS:
                    self._known.clear()
                self._known[packed.data] = made
        return made

    def pack_calls(self, arguments: list[Any]) -> Iterator[PackedCalls]:
        """Pickle the arguments of consecutive calls: all together, or around what cannot be.

        Args:
            arguments: One item for each call.
        """
        try:
            yield PackedCalls(len(arguments), codec.dumps(arguments, self._serializer).parts)
        except Exception as error:  # noqa: BLE001 - user code; the culprit is found by halves
            if len(arguments) == 1:
                error.add_note("The arguments of this call cannot be pickled.")
                yield PackedCalls(1, (), error)
                return
            middle = len(arguments) // 2
            yield from self.pack_calls(arguments[:middle])
            yield from self.pack_calls(arguments[middle:])
