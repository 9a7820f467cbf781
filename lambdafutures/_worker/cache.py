"""Functions by the hash of their blob, kept while the worker is warm."""

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
        self._functions: OrderedDict[str, Callable[..., Any]] = OrderedDict()

    def load(self, sha256: str, parts: Sequence[Buffer]) -> Callable[..., Any]:
        """Return the function of that hash.

        Args:
            sha256: Hash of its blob.
            parts: The blob, for a function that is not cached; may be empty.

        Raises:
            BlobMissing: If it is neither cached nor given.
            Exception: Whatever unpickling raises; user code runs here.
        """
        function = self._functions.get(sha256)
        if function is not None:
            self._functions.move_to_end(sha256)
            return function
        if not parts:
            raise BlobMissing(f"function {sha256} is not cached in this worker")
        loaded: Callable[..., Any] = codec.loads(parts)
        self._functions[sha256] = loaded
        if len(self._functions) > FUNCTIONS:
            self._functions.popitem(last=False)
        return loaded
