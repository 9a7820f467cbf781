"""Which modules a pickle refers to: those that its reader imports, and those that its code does."""

from __future__ import annotations

import contextlib
import copyreg
import io
import itertools
import pickle
import re
import sys
from collections.abc import Callable
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from lambdafutures._environment.imports import imports_of_code

if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer

# Opcodes of pickle protocol 4 and later: a global is two strings, then STACK_GLOBAL; and a short
# string that is memorised. (The latter is looked for at every byte: what seems to begin one may be
# the end of a number.)
_STACK_GLOBAL = b"\x93"
_STRING = re.compile(rb"(?=\x8c(.)([^\x94]{1,255})\x94)", re.DOTALL)

MAIN = frozenset({"__main__", "__mp_main__"})


class Notes:
    """Take note of what one object refers to, while it is pickled."""

    __slots__ = ("_codes", "modules")

    def __init__(self) -> None:
        self.modules: set[str] = set()
        """The modules that it refers to as such."""
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
            self.modules.add(obj.__name__)
        elif kind is FunctionType and _travels_by_value(obj):
            self._codes.append((obj.__code__, str(obj.__globals__.get("__package__") or "")))

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
    reader = _Reader(io.BytesIO(data), buffers=itertools.repeat(b""))
    reader.modules = set()
    with contextlib.suppress(Exception):  # what cannot be read says so in the worker
        reader.load()
    copyreg.clear_extension_cache()  # it would keep what stands for the real thing
    return reader.modules - MAIN


class _Anything(type):
    """Be called, and be filled, as any class or function of a pickle is."""

    def __call__(cls, *_: object, **__: object) -> Any:
        return cls

    def __setitem__(cls, *_: object) -> None:
        pass


class _Thing(metaclass=_Anything):
    """Stand for all that a pickle names, and for what that makes."""

    __setstate__ = append = extend = add = id  # takes one argument, in C, and leaves it alone

    def __new__(cls, *_: object, **__: object) -> Any:
        return cls


class _Reader(pickle.Unpickler):
    """Read a pickle without importing or calling anything that it names."""

    modules: set[str]

    def find_class(self, module: str, name: str) -> Any:
        self.modules.add(module)
        return _Thing


def named(data: Buffer) -> set[str]:
    """Return all loaded modules that a pickle may mean: for a pickler that cannot be watched.

    Args:
        data: The pickle.
    """
    found = {name for length, name in _STRING.findall(data) if length[0] == len(name)}
    return {name for each in found if (name := each.decode("utf-8", "replace")) in sys.modules}


def _travels_by_value(function: FunctionType) -> bool:
    if function.__module__ in MAIN or _is_registered(function.__module__):
        return True
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is not function


def _is_registered(module: str | None) -> bool:
    """Tell whether the user had cloudpickle pickle a module, or its package, by value."""
    import cloudpickle

    registered = cloudpickle.list_registry_pickle_by_value()
    return any(f"{module}.".startswith(f"{name}.") for name in registered)
