"""Functions by the hash of their blob, kept while the worker is warm.

Functions and classes are kept unpickled. Any other callable may have a state (a bound method has
its object, a `partial` its arguments) that a call changes and the next must not see: of those the
blob is kept, and unpickled for each attempt.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from lambdafutures._wire import codec
from lambdafutures.exceptions import BlobMissing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdafutures._wire.codec import Buffer

# Least recently used functions beyond this many are dropped: a client that submits ever new
# closures must not fill its workers' memory. The client remembers fewer than this per worker.
FUNCTIONS = 512


class FunctionCache:
    """Keep functions that were unpickled."""

    def __init__(self) -> None:
        self._functions: OrderedDict[str, Callable[..., Any] | Sequence[Buffer]] = OrderedDict()

    def load(self, sha256: str, parts: Sequence[Buffer]) -> Callable[..., Any]:
        """Return the function of that hash.

        Args:
            sha256: Hash of its blob.
            parts: The blob, for a function that is not cached; may be empty.

        Raises:
            BlobMissing: If it is neither cached nor given.
            Exception: Whatever unpickling raises; user code runs here.
        """
        known = self._functions.get(sha256)
        if known is not None:
            self._functions.move_to_end(sha256)
            return known if callable(known) else _loaded(known)
        if not parts:
            raise BlobMissing(f"function {sha256} is not cached in this worker")
        loaded = _loaded(parts)
        self._functions[sha256] = loaded if _is_stateless(loaded) else parts
        if len(self._functions) > FUNCTIONS:
            self._functions.popitem(last=False)
        return loaded


def _loaded(parts: Sequence[Buffer]) -> Callable[..., Any]:
    function: Callable[..., Any] = codec.loads(parts)
    return function


def _is_stateless(function: Callable[..., Any]) -> bool:
    if isinstance(function, type | _FunctionType):
        return True
    owner = getattr(function, "__self__", None)
    return isinstance(function, _BuiltinType) and (owner is None or isinstance(owner, _ModuleType))


# `types` would bring these, and costs the worker's start a millisecond.
_FunctionType = type(_is_stateless)
_BuiltinType = type(len)
_ModuleType = type(codec)
