"""Whether a function that was pickled by value is still what it was, without pickling it again.

Pickling a function of ``__main__`` by value takes about 50 us, several times the rest of a
`submit`. It is saved when all that the function refers to is known not to have changed: immutable
values, modules, what is imported by name, and functions of which the same holds. Where anything
else is captured (a list may have been appended to) there is no telling, and it is pickled anew.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, TypeAlias

from lambdafutures._wire import codec

Fingerprint: TypeAlias = list[object]

_ATOMS = (type(None), bool, int, float, complex)
# Stands for a name that the function's globals do not have: it may appear.
_ABSENT = object()
# Larger ones are not kept alive for the sake of comparing them.
MAX_TEXT_LENGTH = 1024
# Functions that refer to functions that refer to functions: deeper ones are pickled anew.
MAX_DEPTH = 4
CODES_KNOWN = 1024


def fingerprint(function: FunctionType) -> Fingerprint | None:
    """Return what a function's pickle depends on; None if that cannot be told.

    Annotations are left out: to read them may run code, and only who changes them would notice.

    Args:
        function: A function that is pickled by value.
    """
    if codec.has_by_value_modules():
        return None
    found: Fingerprint = [function]
    return found if _collect_function(function, found, MAX_DEPTH) else None


def is_same(one: Fingerprint | None, other: Fingerprint | None) -> bool:
    """Tell whether two fingerprints stand for the same pickle: the same objects, one by one.

    Args:
        one: A fingerprint.
        other: Another.
    """
    if one is None or other is None or len(one) != len(other):
        return False
    return all(a is b for a, b in zip(one, other, strict=True))


def _collect(value: Any, found: Fingerprint, depth: int) -> bool:
    known = any(value is other for other in found)
    found.append(value)
    kind = type(value)
    if (kind is FunctionType and known) or kind in _ATOMS or value is _ABSENT:
        return True  # (functions may call each other)
    if kind is ModuleType:
        # One that cloudpickle finds by its name; its submodules that are loaded travel along.
        return sys.modules.get(value.__name__) is value and not hasattr(value, "__path__")
    if kind is BuiltinFunctionType:
        return value.__self__ is None or isinstance(value.__self__, ModuleType)
    if kind is str or kind is bytes:
        return len(value) <= MAX_TEXT_LENGTH
    if kind is tuple:
        return all(_collect(item, found, depth) for item in value)
    if _is_imported(value):
        return True
    return kind is FunctionType and depth > 0 and _collect_function(value, found, depth - 1)


def _is_imported(value: Any) -> bool:
    """Tell whether a function or class is pickled by its name."""
    if not isinstance(value, FunctionType | type) or value.__module__ in (
        "__main__",
        "__mp_main__",
    ):
        return False
    home = sys.modules.get(value.__module__)
    return home is not None and getattr(home, value.__qualname__, None) is value


def _collect_function(function: FunctionType, found: Fingerprint, depth: int) -> bool:
    if function.__dict__ or function.__kwdefaults__:
        return False
    found.append(function.__code__)
    captured: list[Any] = [
        function.__name__,
        function.__qualname__,
        function.__module__,
        function.__doc__,
        function.__defaults__,
    ]
    for cell in function.__closure__ or ():
        try:
            captured.append(cell.cell_contents)
        except ValueError:  # filled later
            return False
    namespace = function.__globals__
    captured += [namespace.get(name, _ABSENT) for name in _names(function.__code__)]
    return all(_collect(value, found, depth) for value in captured)


@lru_cache(CODES_KNOWN)
def _names(code: CodeType) -> tuple[str, ...]:
    """Return all names that a code, and the codes inside it, may look up in their globals."""
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names.extend(_names(constant))
    return tuple(dict.fromkeys(names))
