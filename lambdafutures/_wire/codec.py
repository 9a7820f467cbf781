"""Objects to bytes and back: pickle protocol 5 with large buffers out of band.

This is the one module that pickles and unpickles. Plain `pickle` goes first because it is several
times faster; cloudpickle (or dill) takes over for what plain pickle refuses, and for whatever is
defined in ``__main__``, which a worker cannot import and so must travel by value.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Buffer: TypeAlias = bytes | bytearray | memoryview

PROTOCOL = 5

# Below this a buffer is copied into the pickle: a part of its own costs more than the copy.
# Measured on a pipe: a copy of 16 KiB takes about 2 us, a part about as long on either side.
OUT_OF_BAND_BYTES = 16 * 1024

# Everything whose module is one of these must travel by value. (`__mp_main__` is what a process
# of multiprocessing calls its parent's script.)
_MAIN = b"__main__"
_MP_MAIN = b"__mp_main__"

SERIALIZERS = ("cloudpickle", "dill")


class Pickled:
    """Hold one pickled object.

    Args:
        data: The pickle stream.
        buffers: What the stream refers to out of band, in order.
    """

    __slots__ = ("buffers", "data")

    def __init__(self, data: Buffer, buffers: Sequence[Buffer] = ()) -> None:
        self.data = data
        self.buffers = buffers

    @property
    def parts(self) -> list[Buffer]:
        """The stream and its buffers, as they travel."""
        return [self.data, *self.buffers]

    @property
    def nbytes(self) -> int:
        """Length of all parts, in bytes."""
        return len(self.data) + sum(map(len, self.buffers))


def dumps(
    value: object,
    serializer: str = "cloudpickle",
    *,
    by_reference: bool = False,
    by_value: Callable[..., bytes] | None = None,
) -> Pickled:
    """Pickle an object.

    Args:
        value: Any object. Its large buffers (arrays, frames) are not copied: they are read when
            the call is sent, so they must not be changed before.
        serializer: ``"cloudpickle"`` or ``"dill"``: who pickles what plain pickle cannot.
        by_reference: Classes that came from the client are named, so that the client finds its own
            and does not have their attributes overwritten with a worker's.
        by_value: Called in the place of `cloudpickle.dumps`, with the same arguments.

    Raises:
        Exception: Whatever the serializer raises for an object that it cannot pickle.
    """
    buffers: list[Buffer] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if raw.nbytes < OUT_OF_BAND_BYTES:
            return True
        buffers.append(raw)
        return False

    if not has_by_value_modules():
        try:
            data = pickle.dumps(value, PROTOCOL, buffer_callback=keep_in_band)
        except Exception:  # noqa: BLE001 - the serializer's own error is the one to report
            data = _MAIN
        if _MAIN not in data and _MP_MAIN not in data:
            return Pickled(data, buffers)
        buffers.clear()
    if serializer == "dill":
        import dill

        return Pickled(dill.dumps(value, PROTOCOL, recurse=True))
    if by_reference:
        from lambdafutures._wire import class_reference

        return Pickled(class_reference.dumps(value, PROTOCOL, keep_in_band), buffers)
    if by_value is None:
        import cloudpickle

        by_value = cloudpickle.dumps
    return Pickled(by_value(value, PROTOCOL, buffer_callback=keep_in_band), buffers)


def loads(parts: Sequence[Buffer]) -> Any:
    """Unpickle an object.

    Args:
        parts: The stream and its buffers, as `Pickled.parts` gave them.

    Raises:
        Exception: Whatever unpickling raises; user code runs here.
    """
    return pickle.loads(parts[0], buffers=parts[1:])


def has_by_value_modules() -> bool:
    """Tell whether the user registered modules that cloudpickle must pickle by value."""
    cloudpickle = sys.modules.get("cloudpickle")
    return cloudpickle is not None and bool(cloudpickle.list_registry_pickle_by_value())
