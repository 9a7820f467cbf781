"""Which of the user's own modules travel, what is left out, and what is refused."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import sys
import warnings
import zipfile
from pathlib import Path

import numpy
import pytest

from lambdafutures._environment import archive, extensions, files, modules, origins, reach
from lambdafutures._environment.environment import Environment
from lambdafutures._environment.imports import imports_of_code, imports_of_source
from lambdafutures._environment.origins import Origin
from lambdafutures._environment.packages import Packages
from lambdafutures._environment.pickled import Notes, carried
from lambdafutures._environment.reach import Need, Root
from lambdafutures._environment.target import Target
from lambdafutures._wire import codec
from lambdafutures.exceptions import PackageError
from tests import calls
from tests.environment import project

HERE = Target.here()


def names_in(environment: Environment) -> set[str]:
    found = set()
    for bundle in environment.bundles:
        with zipfile.ZipFile(io.BytesIO(bundle.read(0))) as zipped:
            found |= set(zipped.namelist())
    return found


def environment(wanted=(), **options) -> Environment:
    packages = Packages(HERE, None, None, is_here=False)
    named = [modules.named_by_user(each) for each in wanted]
    made = Environment("cloudpickle", HERE, packages, is_here=False, wanted=named, **options)
    made.open()
    return made


# -------------------------------------------------------------------- finding


def test_what_a_source_imports():
    source = b"""
import os, a.b
from . import sibling
from .near import name
from ..far import *
if TYPE_CHECKING:
    import for_checkers
else:
    import otherwise
try:
    import optional
except ImportError:
    import instead
class C:
    import inner
    def method(self):
        import lazy
        importlib.import_module("dynamic.module")
        __import__("plain")
        importlib.import_module(".relative")
        importlib.import_module(".beside", __package__)
        importlib.import_module("..above", package="other.pack.age")
match x:
    case 1:
        import matched
"""
    found = imports_of_source(source, "p.q.m", False)
    assert found.certain == {"os", "a.b", "p.q", "p.q.near", "p.far", "inner"}
    assert found.possible == {
        "p.q.sibling",
        "p.q.near.name",
        "otherwise",
        "optional",
        "instead",
        "lazy",
        "dynamic.module",
        "p.q.beside",
        "other.pack.above",
        "plain",
        "matched",
    }
    assert imports_of_source(b"from . import x", "p.q", True).certain == {"p.q"}
    assert imports_of_source(b"from .. import x", "top", False).all == set()
    assert imports_of_source(b"print 'old'", "m", False).all == set()


def test_what_a_function_that_travels_imports():
    def outer():
        import one.two
        from three import four

        def inner():
            from .five import six

            return six

        return one, four, inner

    found = imports_of_code(outer.__code__, "pack.age")
    assert found == {"one.two", "three", "three.four", "pack.age.five", "pack.age.five.six"}


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("json", Origin.STANDARD),
        ("email.mime.text", Origin.STANDARD),
        ("sys", Origin.STANDARD),
        ("numpy", Origin.INSTALLED),
        ("numpy.linalg", Origin.INSTALLED),
        ("lambdafutures._wire", Origin.PROVIDED),
        ("cloudpickle", Origin.PROVIDED),
        ("fleet.ships", Origin.OWN),
        ("ocean", Origin.OWN),
        ("ocean.north.currents", Origin.OWN),
        ("tests.calls", Origin.OWN),
    ],
)
def test_where_modules_come_from(own, name, origin):
    assert origins.find(name).origin is origin
    assert not name.startswith(("fleet", "ocean")) or name not in sys.modules, "nothing is imported"


@pytest.mark.parametrize("name", ["nowhere", "fleet.nowhere", "harbour.nowhere", "json.nowhere"])
def test_what_does_not_exist_is_not_found(own, name):
    assert origins.find(name) is None


def test_a_module_of_ones_own_may_have_a_name_of_the_standard_library(tmp_path, monkeypatch):
    (tmp_path / "wave.py").write_text("mine = True")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    origins.is_standard.cache_clear()
    found = reach.follow([Root("wave", True, "")])
    assert list(found.units) == ["wave"]
    monkeypatch.undo()
    origins.is_standard.cache_clear()


def test_packages_travel_whole_and_neighbours_alone(own):
    found = reach.follow([Root("fleet.ships", True, "the call")])
    assert set(found.units) == {"fleet", "harbour"}
    assert found.units["harbour"].reason == "fleet.ships imports it"
    assert set(reach.follow([Root("ocean.north.currents", True, "")]).units) == {"ocean.north"}
    assert reach.follow([Root("fleet.ships", True, "")], ["fleet"]).units == {}
    assert set(reach.follow([Root("fleet", True, "")], ["harbour"]).units) == {"fleet"}


def test_installed_packages_are_told_by_how_sure_it_is(own):
    (own / "needy.py").write_text(
        "import numpy\ntry:\n    import pytest\nexcept ImportError: ...\n"
    )
    found = reach.follow([Root("needy", True, "the call")])
    assert found.needs == {
        "numpy": Need("numpy", True, "needy imports it"),
        "pytest": Need("pytest", False, "needy imports it"),
    }
    assert not any(
        need.is_certain for need in reach.follow([Root("needy", False, "")]).needs.values()
    )


def test_editable_installs_are_ones_own(own, tmp_path, monkeypatch):
    """setuptools puts a finder on the meta path that maps a package to its sources."""
    home = project.write(tmp_path / "src", {"editable/__init__.py": "x = 1", "editable/y.py": ""})

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name != "editable":
                return None
            init = str(home / "editable" / "__init__.py")
            return importlib.util.spec_from_file_location(name, init)

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert origins.find("editable.y").origin is Origin.OWN
    assert set(reach.follow([Root("editable.y", True, "")]).units) == {"editable"}


def test_a_namespace_may_be_installed_in_part(own, tmp_path, monkeypatch):
    site = project.write(tmp_path / "site-packages", {"ocean/south/__init__.py": ""})
    monkeypatch.syspath_prepend(site)
    found = reach.follow([Root("ocean.north", True, ""), Root("ocean.south", True, "")])
    assert (set(found.units), set(found.needs)) == ({"ocean.north"}, {"ocean"})


def test_packages_that_travelled_are_packages_there_too(tmp_path, monkeypatch):
    """A call that opens an executor finds them where its worker has them."""
    files = {"carrier/deep/x.py": "", "carrier/__init__.py": "", "carrier-1.dist-info/METADATA": ""}
    monkeypatch.syspath_prepend(project.write(tmp_path / "bundles" / "name", files))
    assert origins.find("carrier").origin is Origin.INSTALLED
    assert origins.find("carrier.deep.x").origin is Origin.INSTALLED


def test_what_a_pickle_names(own):
    import fleet
    import harbour
    from fleet import Kind, Ship

    def here():
        import pilot

        return harbour, pilot

    notes = Notes()
    data = codec.dumps([1, "fleet", b"\x93"], by_value=notes.dumps).data
    assert notes.modules | carried(data) == set()
    data = codec.dumps([Ship("a", Kind.BRIG), calls.add], by_value=notes.dumps).data
    assert carried(data) == {"fleet.ships", "tests.calls"}
    data = codec.dumps((here, fleet), by_value=notes.dumps).data
    assert {"fleet", "harbour"} <= notes.modules | carried(data)
    assert "tests.environment.test_modules" not in notes.modules | carried(data), (
        "it travels by value"
    )
    assert notes.possible == {"pilot"}


# -------------------------------------------------------------------- what travels


def test_bundles_grow_with_what_calls_need(own):
    made = environment()
    assert made.bundles == ()
    from harbour import is_stormy

    made.dumps(is_stormy)
    assert names_in(made) == {"harbour.py"}
    from fleet import Ship

    made.dumps([Ship("a", None)])
    assert len(made.bundles) == 2
    assert names_in(made) == {
        "harbour.py",
        "fleet/__init__.py",
        "fleet/ships.py",
        "fleet/rigging.py",
        "fleet/data/masts.json",
    }
    before = made.bundles
    made.dumps(Ship)
    made.dumps([3, "text", {"a": 1.5}])
    assert made.bundles is before


def test_the_same_files_make_the_same_bundle(own, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(own, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1e9, 1e9))
    wanted = ["fleet", "harbour.py"]
    one = modules.pack([own / name for name in wanted], [], HERE)
    other = modules.pack([copy / name for name in reversed(wanted)], [], HERE)
    assert one.bundle.name == other.bundle.name
    assert one.bundle.read(0) == other.bundle.read(0)
    (copy / "fleet" / "data" / "masts.json").write_text("{}")
    assert modules.pack([copy / name for name in wanted], [], HERE).bundle.name != one.bundle.name


def test_executable_files_stay_so(tmp_path):
    script = tmp_path / "run"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    plain = tmp_path / "plain"
    plain.write_text("")
    with zipfile.ZipFile(io.BytesIO(archive.pack([("run", script), ("plain", plain)]))) as zipped:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in zipped.infolist()}
    assert modes == {"run": 0o755, "plain": 0o644}


def test_secrets_repositories_environments_and_large_files_are_left_out(own, monkeypatch):
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 1000)
    project.write(
        own,
        {
            "fleet/.env": "KEY=1",
            "fleet/.env.local": "KEY=1",
            "fleet/deploy.key": "secret",
            "fleet/id_rsa": "secret",
            "fleet/.git/config": "",
            "fleet/.venv/pyvenv.cfg": "",
            "fleet/env/pyvenv.cfg": "",
            "fleet/env/lib/x.py": "",
            "fleet/big.bin": "x" * 2000,
            "fleet/.editorconfig": "",
            "fleet/__pycache__/ships.cpython-311.pyc": "",
            "fleet/data/more/deep.txt": "kept",
        },
    )
    (own / "fleet" / "loop").symlink_to(own / "fleet")
    (own / "fleet" / "linked.txt").symlink_to(own / "pilot.py")
    made = environment()
    import fleet

    with pytest.warns(UserWarning, match="left out of what travels") as warned:
        made.dumps(fleet.Ship)
    (said,) = (str(each.message) for each in warned)
    for name, reason in {
        "fleet/.env": "it looks like a secret",
        "fleet/.env.local": "it looks like a secret",
        "fleet/deploy.key": "it looks like a secret",
        "fleet/id_rsa": "it looks like a secret",
        "fleet/.git": "it is a repository",
        "fleet/.venv": "it is a virtual environment",
        "fleet/env": "it is a virtual environment",
        "fleet/big.bin": "0 MB are more than 0 MB",
    }.items():
        assert f"{name} ({reason})" in said
    assert said.count("(") == 8
    assert names_in(made) == {
        "harbour.py",
        "fleet/__init__.py",
        "fleet/ships.py",
        "fleet/rigging.py",
        "fleet/data/masts.json",
        "fleet/data/more/deep.txt",
        "fleet/linked.txt",
    }
    report = made.report()
    assert len(report.left_out) == 8
    assert "left out: fleet/.env (it looks like a secret)" in str(report)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet = environment(exclude=["fleet/.*", "fleet/env", "*.key", "*/id_rsa", "fleet/big.*"])
        quiet.dumps(fleet.Ship)
    assert names_in(quiet) == names_in(made)


def test_modules_adds_and_exclude_leaves_out(own, tmp_path):
    (own / "table.csv").write_text("1,2")
    (own / "secret.pem").write_text("named, so it is meant")
    made = environment(
        wanted=["pilot", own / "table.csv", str(own / "secret.pem"), own / "ocean"],
        exclude=["ocean.north.currents"],
    )
    assert names_in(made) == {"pilot.py", "table.csv", "secret.pem", "ocean/north/__init__.py"}
    reasons = {each.name: each.reason for each in made.report().modules}
    assert set(reasons) == {"pilot", "table.csv", "secret.pem", "ocean"}
    assert set(reasons.values()) == {"modules= names it"}
    import fleet

    named = environment(wanted=[fleet], exclude=["fleet/data"])
    assert "fleet/ships.py" in names_in(named)
    assert "harbour.py" in names_in(named), "what a named module imports comes along"
    assert "fleet/data/masts.json" not in names_in(named)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("no_such_module", "is neither a module nor a file or folder"),
        ("json", "is the standard library, which does not travel"),
        ("numpy", r"is an installed package.*requirements=\[...\]"),
    ],
)
def test_what_modules_cannot_name(wanted, message):
    with pytest.raises(ValueError, match=message):
        environment(wanted=[wanted])


def test_too_much_is_refused_with_the_largest(own, monkeypatch):
    monkeypatch.setattr(modules, "MAX_BUNDLE_BYTES", 500)
    with pytest.raises(PackageError, match=r"largest are .*ships.py.*exclude=\[...\]"):
        modules.pack([own / "fleet"], [], HERE)


# -------------------------------------------------------------------- extension modules


def elf(machine: int, glibc: bytes = b"GLIBC_2.5") -> bytes:
    return b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little") + bytes(20) + glibc + b"\0"


X86 = Target("3.11", "x86_64", "linux", (2, 26))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("m.cpython-311-x86_64-linux-gnu.so", elf(62), None),
        ("m.abi3.so", elf(62), None),
        ("m.so", elf(62), None),
        ("m.cpython-312-x86_64-linux-gnu.so", elf(62), "it is for Python 3.12"),
        ("m.cp313-win_amd64.pyd", b"MZ", "it is for Python 3.13"),
        ("m.pyd", b"MZ", "it is no library of a known system"),
        ("m.abi3.so", elf(183), "it is built for arm64"),
        ("m.so", elf(243), "it is built for machine 243"),
        ("m.cpython-311-darwin.so", b"\xcf\xfa\xed\xfe" + bytes(40), "it is built for macOS"),
        ("m.so", elf(62, b"GLIBC_2.34"), "it needs glibc 2.34"),
    ],
)
def test_extension_modules_must_be_for_the_worker(tmp_path, name, content, reason):
    path = tmp_path / "own" / name
    path.parent.mkdir()
    path.write_bytes(content)
    assert extensions.why_not(path, X86) == reason
    if reason is None:
        assert modules.pack([path.parent], [], X86) is not None
        return
    with pytest.raises(PackageError, match=reason) as refused:
        modules.pack([path.parent], [], X86)
    assert str(path) in str(refused.value)
    assert "Python 3.11 on linux x86_64, glibc 2.26" in str(refused.value)
    assert f"exclude=['own/{name}']" in str(refused.value)
    assert modules.pack([path.parent], [f"own/{name}"], X86) is None
    # Where another build of it fits, this one is of no interest.
    (path.parent / "m.cpython-311-x86_64-linux-gnu.so").write_bytes(elf(62))
    packed = modules.pack([path.parent], [], X86)
    with zipfile.ZipFile(io.BytesIO(packed.bundle.read(0))) as zipped:
        assert zipped.namelist() == ["own/m.cpython-311-x86_64-linux-gnu.so"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files")
def test_a_real_extension_module_is_judged_by_what_it_is():
    built = Path(numpy.linalg._umath_linalg.__file__)
    assert extensions.why_not(built, HERE) is None
    assert "it is built for" in extensions.why_not(built, HERE._replace(arch="riscv64"))
    assert extensions.why_not(built, HERE._replace(system="darwin")) == "it is built for Linux"
    assert "it needs glibc" in extensions.why_not(built, HERE._replace(libc=(2, 0)))


def test_the_target_of_lambda_is_older_than_this_machine():
    assert str(Target.of_lambda("3.11", "arm64")) == "Python 3.11 on linux arm64, glibc 2.26"
    assert Target.of_lambda("3.14", "x86_64").libc == (2, 34)
    assert HERE.python == f"{sys.version_info.major}.{sys.version_info.minor}"
