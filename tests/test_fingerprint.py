"""A function is sent as it is now: whatever changes its pickle changes its fingerprint."""

from __future__ import annotations

import sys
import types

import pytest

from lambdafutures._engine import packing
from lambdafutures._engine.fingerprint import fingerprint, is_same
from lambdafutures._engine.packing import Packer
from lambdafutures._wire import codec


def make(source: str, **namespace):
    """Return `f` of a source as a script would define it, and its globals."""
    namespace["__name__"] = "__main__"
    exec(source, namespace)
    return namespace["f"], namespace


def is_unchanged(function, change):
    before = fingerprint(function)
    change()
    return is_same(before, fingerprint(function))


def nothing():
    pass


@pytest.mark.parametrize(
    "source",
    [
        "def f(x): return x",
        "k = 3\ndef f(x): return x + k",
        "def g(x): return x\ndef f(x): return g(x)",
        "def f(x): return f(x - 1) if x else 0",
        "import json\nfrom math import sin\ndef f(x): return sin(x)",
        "def make(n):\n    def f(x): return x + n\n    return f\nf = make(3)",
        "def f(x: int, y: str = 'a') -> int: return x",
    ],
)
def test_what_refers_to_immutable_things_is_known_to_be_unchanged(source):
    function, _ = make(source)
    assert is_unchanged(function, nothing)
    packer = Packer(codec.dumps)
    assert packer.pack_function(function) is packer.pack_function(function)


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("k = 3\ndef f(x): return x + k", "k = 4"),
        ("def f(x): return helper(x)", "def helper(x): return x"),
        ("def f(x): return helper(x)", "helper = f"),
        ("def g(x): return 1\ndef h(x): return 2\ns1 = g; s2 = h; s3 = g\n"
         "def f(x): return s1(x) + s2(x) + s3(x)", "s1 = h"),
        ("o = None\na = o\ndef f(x): return a, b", "del a; b = o"),
        ("def f(x): 'one'", "f.__doc__ = 'two'"),
        ("def f(x, y=1): return y", "f.__defaults__ = (2,)"),
        ("def f(x): return x", "f.note = 1"),
        ("def f(x): return x", "f.__code__ = (lambda x: x + 1).__code__"),
    ],
)  # fmt: skip
def test_changes_are_seen(source, change):
    function, namespace = make(source)
    assert not is_unchanged(function, lambda: exec(change, namespace))


@pytest.mark.parametrize(
    "source",
    [
        "box = [1]\ndef f(x): return box",
        "table = {}\nget = table.get\ndef f(x): return get(x)",
        "class C: pass\ndef f(x): return C",
        "import xml\ndef f(x): return xml.dom",
        "big = 'x' * 5000\ndef f(x): return big",
        "def f(x, *, y=[]): return y",
    ],
)
def test_of_what_may_change_inside_there_is_no_telling(source):
    function, _ = make(source)
    assert fingerprint(function) is None


def test_a_module_made_in_memory_may_change():
    module = types.ModuleType("made")
    function, _ = make("def f(x): return made.x", made=module)
    assert fingerprint(function) is None


def test_modules_that_travel_by_value_may_change():
    import cloudpickle

    function, _ = make("def f(x): return x")
    module = types.ModuleType("made_by_value")
    sys.modules["made_by_value"] = module
    cloudpickle.register_pickle_by_value(module)
    try:
        assert fingerprint(function) is None
    finally:
        cloudpickle.unregister_pickle_by_value(module)
        del sys.modules["made_by_value"]


def test_what_travels_by_reference_needs_no_fingerprint(monkeypatch):
    taken = []
    monkeypatch.setattr(packing, "fingerprint", lambda f: taken.append(f) or fingerprint(f))
    packer = Packer(codec.dumps)
    for _ in range(3):
        assert len(packer.pack_function(nothing).parts[0]) < packing.BY_REFERENCE_BYTES
    assert taken == [nothing]


def test_a_function_that_went_by_reference_is_watched_once_it_goes_by_value(monkeypatch):
    packer = Packer(codec.dumps)
    packer.pack_function(nothing)
    monkeypatch.setattr(nothing, "__module__", "__main__")
    packer.pack_function(nothing)
    by_value = packer.pack_function(nothing)
    assert len(by_value.parts[0]) > packing.BY_REFERENCE_BYTES
    assert packer.pack_function(nothing) is by_value
    monkeypatch.setattr(nothing, "__defaults__", (1,))
    assert packer.pack_function(nothing) is not by_value
