"""Functions and arguments to chunks, in the caller's thread, where user code may run and block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from lambdafutures._engine.chunk import Function
from lambdafutures._engine.fingerprint import Fingerprint, fingerprint, is_same
from lambdafutures._engine.importable import send_by_value_if_lost
from lambdafutures._wire import blob

if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer, Pickled

# Functions whose pickles were hashed already; when full, it starts anew. A pickle by reference is
# about 40 bytes, so this is small, and hashing again costs 2 us.
KNOWN_FUNCTIONS = 1024
# Functions pickled by value whose fingerprints are kept; when full, it starts anew.
RECENT_FUNCTIONS = 64
# A pickle by reference holds two names; it is made faster than a fingerprint.
BY_REFERENCE_BYTES = 200
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
        dumps: Pickle one object.
    """

    def __init__(self, dumps: Callable[[Any], Pickled]) -> None:
        self._dumps = dumps
        self._known: dict[Buffer, Function] = {}
        self._recent: dict[int, tuple[Fingerprint, Function]] = {}
        # Ids of functions that were last pickled by reference: of these, and of whatever gets such
        # an id after them, a fingerprint would only cost time.
        self._by_reference: set[int] = set()
        self._lock = threading.Lock()

    def pack_function(self, function: Callable[..., Any]) -> Function:
        """Pickle a function, unless it is known to be what it was the last time.

        Args:
            function: The function.

        Raises:
            Exception: What the pickling raised, with a note that names the function.
        """
        recent = self._recent.get(id(function))
        if recent is not None and is_same(recent[0], fingerprint(cast(FunctionType, function))):
            return recent[1]
        # Taken before the pickling: what changes while that runs is seen the next time.
        found = None
        if isinstance(function, FunctionType) and id(function) not in self._by_reference:
            found = fingerprint(function)
        made = self._pickled(function)
        with self._lock:
            if len(made.parts[0]) <= BY_REFERENCE_BYTES:
                self._note_by_reference(id(function))
            elif found is None:
                self._by_reference.discard(id(function))
            else:
                if len(self._recent) >= RECENT_FUNCTIONS:
                    self._recent.clear()
                # The fingerprint keeps the function alive, so its id stays its own.
                self._recent[id(function)] = found, made
        return made

    def _note_by_reference(self, name: int) -> None:
        if name not in self._by_reference:
            if len(self._by_reference) >= KNOWN_FUNCTIONS:
                self._by_reference.clear()
            self._by_reference.add(name)

    def _pickled(self, function: Callable[..., Any]) -> Function:
        send_by_value_if_lost(getattr(function, "__module__", None))
        try:
            packed = self._dumps(function)
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

    def pack_call(self, item: Any) -> Sequence[Buffer]:
        """Pickle the arguments of one call.

        Args:
            item: Its arguments.

        Raises:
            Exception: What the pickling raised, with a note.
        """
        try:
            return self._dumps([item]).parts
        except Exception as error:
            error.add_note("The arguments of this call cannot be pickled.")
            raise

    def pack_calls(self, items: list[Any]) -> Iterator[PackedCalls]:
        """Pickle the arguments of consecutive calls: all together, or around what cannot be.

        Args:
            items: The arguments of each call.
        """
        try:
            if len(items) == 1:
                yield PackedCalls(1, self.pack_call(items[0]))
            else:
                yield PackedCalls(len(items), self._dumps(items).parts)
        except Exception as error:  # noqa: BLE001 - user code; the culprit is found by halves
            if len(items) == 1:
                yield PackedCalls(1, (), error)
                return
            middle = len(items) // 2
            yield from self.pack_calls(items[:middle])
            yield from self.pack_calls(items[middle:])
