"""Classes of the client on their way back: named, not copied.

cloudpickle sends a class of ``__main__`` by value and gives it an id, by which the client
recognises it when it returns; but it then also sets the class's attributes to those of the copy.
Here a returning class is its id, with the copy beside it for a client that does not know the class
(one that attached to another's job).
"""

from __future__ import annotations

import io
import pickle

import cloudpickle
from cloudpickle import cloudpickle as internals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Private, and looked up with care: without them classes return by value, as cloudpickle has it.
_id_of_class: Any = getattr(internals, "_DYNAMIC_CLASS_TRACKER_BY_CLASS", {})
_class_of_id: Any = getattr(internals, "_DYNAMIC_CLASS_TRACKER_BY_ID", {})

# Ids that this process gave, to classes that its own code made: the client does not know them.
_made_here: set[str] = set()


def dumps(
    value: object, protocol: int, buffer_callback: Callable[[pickle.PickleBuffer], bool]
) -> bytes:
    """Pickle a result.

    Args:
        value: The result.
        protocol: Pickle protocol.
        buffer_callback: As `pickle.dumps` has it.

    Raises:
        Exception: Whatever cloudpickle raises for an object that it cannot pickle.
    """
    known = set(_id_of_class.values())
    file = io.BytesIO()
    try:
        _Pickler(file, protocol, buffer_callback=buffer_callback).dump(value)
    finally:
        _made_here.update(set(_id_of_class.values()) - known)
    return file.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type):
            known_as = _id_of_class.get(obj)
            if known_as is not None and known_as not in _made_here:
                return find_class, (known_as, cloudpickle.dumps(obj, pickle.HIGHEST_PROTOCOL))
        return super().reducer_override(obj)


def find_class(known_as: str, copy: bytes) -> type:
    """Return the class of an id; of a class that this process does not know, the copy.

    Args:
        known_as: The id that cloudpickle gave the class.
        copy: The class, pickled by value.
    """
    known = _class_of_id.get(known_as)
    found: type = pickle.loads(copy) if known is None else known
    return found
