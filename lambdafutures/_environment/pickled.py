"""Which modules a pickle refers to: those that its reader imports, and those that its code does."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from lambdafutures._environment.imports import imports_of_code

if TYPE_CHECKING:
    import pickle

    from lambdafutures._wire.codec import Buffer

# Opcodes of pickle protocol 4 and later, as `pickle` writes a global: its module and its name, each
# a short string that is memorised, then STACK_GLOBAL. A module's later globals refer to the first.
_STACK_GLOBAL = b"\x93"
_GLOBAL = re.compile(rb"\x8c(.)([^\x94]{1,255})\x94\x8c.[^\x94]{1,255}\x94\x93", re.DOTALL)
_STRING = re.compile(rb"\x8c(.)([^\x94]{1,255})\x94", re.DOTALL)

MAIN = frozenset({"__main__", "__mp_main__"})


class Notes:
    """Take note of what one object refers to, while it is pickled."""

    __slots__ = ("_codes", "_modules")

    def __init__(self) -> None:
        self._modules: set[str] = set()
        self._codes: list[tuple[CodeType, str]] = []

    def dumps(
        self, value: object, protocol: int, buffer_callback: Callable[[pickle.PickleBuffer], bool]
    ) -> bytes:
        """Pickle as `cloudpickle.dumps` does."""
        file = io.BytesIO()
        pickler = _watched()(file, protocol, buffer_callback=buffer_callback)
        pickler.notes = self
        pickler.dump(value)
        return file.getvalue()

    def note(self, obj: Any) -> None:
        """Take note of an object that is pickled.

        Args:
            obj: The object.
        """
        kind = type(obj)
        if kind is ModuleType:
            self._modules.add(obj.__name__)
        elif kind is FunctionType and _travels_by_value(obj):
            self._codes.append((obj.__code__, str(obj.__globals__.get("__package__") or "")))

    def needed(self, data: Buffer) -> frozenset[str]:
        """Return the modules that a worker imports to read the pickle.

        Args:
            data: The pickle.
        """
        return frozenset(self._modules | carried(data))

    @property
    def possible(self) -> frozenset[str]:
        """The modules that functions inside it import when they run."""
        return frozenset().union(*(imports_of_code(*code) for code in self._codes))


@cache
def _watched() -> Any:
    """Return cloudpickle's pickler, which is slow to import, with notes taken."""
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        notes: Notes

        def reducer_override(self, obj: Any) -> Any:
            self.notes.note(obj)
            return super().reducer_override(obj)

    return Pickler


def is_plain(data: Buffer) -> bool:
    """Tell whether a pickle surely refers to no module.

    Args:
        data: The pickle.
    """
    return _STACK_GLOBAL not in data


def carried(data: Buffer) -> set[str]:
    """Return the modules whose functions, classes or objects a pickle holds by their names.

    Args:
        data: The pickle.
    """
    return _checked(_GLOBAL, data)


def named(data: Buffer) -> set[str]:
    """Return all loaded modules that a pickle may mean: for a pickler that cannot be watched.

    Args:
        data: The pickle.
    """
    return {name for name in _checked(_STRING, data) if name in sys.modules}


def _checked(pattern: re.Pattern[bytes], data: Buffer) -> set[str]:
    found = pattern.findall(data)
    names = {name for length, name in found if length[0] == len(name)}
    return {name.decode("utf-8", "replace") for name in names} - MAIN


def _travels_by_value(function: FunctionType) -> bool:
    if function.__module__ in MAIN:
        return True
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is not function
