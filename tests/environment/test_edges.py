"""Corners in which modules, packages or what is said of them went astray."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import shutil
import sys
import threading
import zipfile
from pathlib import Path

import cloudpickle
import pytest

from lambdafutures import LambdaPoolExecutor
from lambdafutures._backends.bundle_store import put_bundle
from lambdafutures._environment import distributions, extensions, origins, requirements, runtimes
from lambdafutures._environment.origins import Origin
from lambdafutures._environment.requirements import Request
from lambdafutures._environment.target import Target
from lambdafutures._wire import bundle
from lambdafutures._worker.bundles import SPARE_BYTES, NoRoom, Shelf
from lambdafutures.deploy import layer
from lambdafutures.exceptions import PackageError
from tests.environment import project
from tests.environment.test_modules import X86, elf, environment, names_in
from tests.environment.test_packages import HERE, LAMBDA, TOOLS
from tests.environment.test_shelf import MB, Disk, Store, fetch
from tests.environment.wheels import make_wheel, unpack


@pytest.fixture(params=TOOLS)
def tool(request, monkeypatch):
    monkeypatch.setenv("LAMBDAFUTURES_INSTALLER", request.param)
    return request.param


@pytest.fixture
def twins(own):
    """Two modules of one's own with a class of the same name."""
    project.write(own, dict.fromkeys(("beta.py", "eta.py"), "class Ship:\n    pass\n"))
    yield own
    for name in ("beta", "eta"):
        sys.modules.pop(name, None)


# -------------------------------------------------------------------- what a pickle names


def test_what_stands_before_an_object_hides_nothing(twins):
    import beta

    arguments = [[n] for n in range(256)]  # 140 ends in the byte that a short string begins with
    arguments += [[n / 7] for n in range(256)]
    arguments += [["Œ" * 9], ["Ship"], ["beta"], ["Ship", "beta"], [b"\x8c\x93\x94" * 9]]
    for before in arguments:
        made = environment()
        made.dumps([(*before, beta.Ship())])
        assert names_in(made) == {"beta.py"}, before


def test_classes_of_one_name_in_several_modules(twins):
    import beta
    import eta

    made = environment()
    made.dumps([(beta.Ship, eta.Ship(), {"eta": 1})])
    assert names_in(made) == {"beta.py", "eta.py"}


def test_an_integer_before_an_object_reaches_a_worker(own):
    from fleet import Kind, Ship

    def masts(more, ship):
        return ship.rigged().masts + more

    with LambdaPoolExecutor(1, backend="local", requirements=[]) as ex:
        assert ex.submit(masts, 140, Ship("Amazon", Kind.BRIG)).result() == 142


def test_modules_that_cloudpickle_was_told_to_copy(own):
    project.write(own, {"harbour.py": "def f():\n    import pilot\n    return pilot.advice()\n"})
    import harbour

    cloudpickle.register_pickle_by_value(harbour)
    try:
        made = environment()
        made.dumps(harbour.f)
    finally:
        cloudpickle.unregister_pickle_by_value(harbour)
    assert names_in(made) == {"pilot.py"}


def test_names_given_to_import_module():
    import importlib

    def lazily():
        return importlib.import_module("pilot"), __import__("harbour"), len("fleet")

    from lambdafutures._environment.imports import imports_of_code

    assert imports_of_code(lazily.__code__, "") == {"pilot", "harbour"}


# -------------------------------------------------------------------- versions


CLASS = {"shape.py": "class Square:\n    def __init__(self, a):\n        self.a = a\n"}


@pytest.mark.parametrize("is_named", [False, True])
def test_data_of_another_version_is_refused_whatever_ran_before(site, index, is_named):
    unpack(make_wheel(index, "shape", "1.0", CLASS), site)
    make_wheel(index, "shape", "2.0", CLASS)
    import shape

    def imports():
        from shape import Square

        return Square(3).a

    def names():
        return shape.Square(3).a

    def area(square):
        return square.a**2

    with LambdaPoolExecutor(1, backend="local", requirements=["shape==2.0"]) as ex:
        assert ex.submit(names if is_named else imports).result() == 3
        assert isinstance(ex.submit(area, shape.Square(3)).exception(), PackageError)


def test_auto_takes_what_was_only_possible_before(site, index):
    unpack(make_wheel(index, "later", "0.3", {"later.py": "class Thing:\n    pass\n"}), site)

    def lazily(wanted):
        if wanted:
            import later  # noqa: F401
        return wanted

    def name(thing):
        return type(thing).__name__

    with LambdaPoolExecutor(1, backend="local", requirements="auto") as ex:
        assert ex.submit(lazily, 0).result() == 0
        import later

        assert ex.submit(name, later.Thing()).result() == "Thing"


def test_a_neighbour_in_a_namespace_may_differ(site, index):
    unpack(make_wheel(index, "one", "1.0", {"space/a.py": "class A:\n    pass\n"}), site)
    unpack(make_wheel(index, "two", "1.0", {"space/b.py": ""}), site)
    make_wheel(index, "two", "2.0", {"space/b.py": ""})
    import space.a

    def name(thing):
        return type(thing).__name__

    with LambdaPoolExecutor(1, backend="local", requirements=["one==1.0", "two==2.0"]) as ex:
        assert ex.submit(name, space.a.A()).result() == "A"


# -------------------------------------------------------------------- whose a module is


def test_a_wheel_that_lies_above_makes_nothing_installed(tmp_path, monkeypatch):
    (tmp_path / "x-1.dist-info").mkdir()
    folder = project.write(tmp_path / "a" / "b", {"mine.py": ""})
    unpack(make_wheel(tmp_path, "small", "1.0"), folder)  # as `pip install --target .` does
    monkeypatch.syspath_prepend(folder)
    assert origins.find("mine").origin is Origin.OWN
    assert origins.find("small").origin is Origin.INSTALLED


# -------------------------------------------------------------------- files


def test_secrets_by_any_name(own):
    names = ["prod.env", "SERVER.PEM", "a.p12", "a.pfx", "a.jks", "a.ppk", "id_rsa_work"]
    names += ["credentials", "credentials.json", "secrets.toml", "service-account-7.json"]
    project.write(own, {f"fleet/{name}": "s" for name in names})
    import fleet

    made = environment()
    with pytest.warns(UserWarning, match="it looks like a secret"):
        made.dumps(fleet.Ship)
    assert len(made.report().left_out) == len(names)
    assert not {f"fleet/{name}" for name in names} & names_in(made)


def test_a_folder_of_secrets_alone_is_told(tmp_path):
    project.write(tmp_path / "certs", {"a.pem": "s"})
    with pytest.warns(UserWarning, match=r"certs/a\.pem \(it looks like a secret\)"):
        made = environment(wanted=[tmp_path / "certs"])
    assert made.bundles == ()
    assert made.report().left_out == ("certs/a.pem (it looks like a secret)",)


def test_a_file_that_is_named_stays_in_its_package(own, recwarn):
    project.write(own, {"fleet/ca.pem": "a certificate"})
    import fleet

    made = environment(wanted=[own / "fleet" / "ca.pem"])
    made.dumps(fleet.Ship)
    assert {"ca.pem", "fleet/ca.pem"} <= names_in(made)
    assert made.report().left_out == ()
    assert list(recwarn) == []


def test_links_travel_under_their_own_names(own, tmp_path):
    (own / "fleet" / "latest").symlink_to(own / "fleet" / "data")
    (tmp_path / "real.csv").write_text("1")
    (tmp_path / "linked.csv").symlink_to(tmp_path / "real.csv")
    import fleet

    made = environment(wanted=[tmp_path / "linked.csv"])
    made.dumps(fleet.Ship)
    wanted = {"fleet/data/masts.json", "fleet/latest/masts.json", "linked.csv"}
    assert wanted <= names_in(made)


def test_a_single_module_can_be_excluded_by_its_file(own):
    import fleet

    made = environment(exclude=["harbour.py"])
    made.dumps(fleet.Ship)
    assert "harbour.py" not in names_in(made)


def test_a_folder_does_not_stand_for_the_module_of_its_name(own, tmp_path):
    folder = project.write(tmp_path / "assets" / "harbour", {"table.csv": "1"})
    from harbour import is_stormy

    made = environment(wanted=[folder])
    made.dumps(is_stormy)
    assert names_in(made) == {"harbour/table.csv", "harbour.py"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_no_zip_can_hold_is_left_out(own):
    (own / "fleet" / "日本.txt").write_text("kept")
    Path(os.fsdecode(os.fsencode(own / "fleet") + b"/\xff.txt")).write_text("x")
    import fleet

    made = environment()
    with pytest.warns(UserWarning, match="its name is no text"):
        made.dumps(fleet.Ship)
    assert "fleet/日本.txt" in names_in(made)


def test_a_namespace_cannot_be_named(own):
    with pytest.raises(ValueError, match="is a namespace.*name the packages inside it"):
        environment(wanted=["ocean"])


def test_builds_for_other_pythons_and_libraries(tmp_path):
    path = tmp_path / "m.so"
    path.write_bytes(elf(62, b"libc.musl-x86_64.so.1"))
    assert extensions.why_not(path, X86) == "it is built for musl"
    path = tmp_path / "m.cpython-311t-x86_64-linux-gnu.so"
    path.write_bytes(elf(62))
    assert extensions.why_not(path, X86) == "it is for a free-threaded Python 3.11"


# -------------------------------------------------------------------- requirements


def test_constraints_and_folders_of_wheels_in_a_file(tool, index, tmp_path):
    folder = tmp_path / "listed" / "wheels"
    folder.mkdir(parents=True)
    for version in ("1.0", "2.0", "3.0"):
        make_wheel(folder, "small", version)
    listed = folder.parent / "requirements.txt"
    limits = folder.parent / "limits.txt"
    # As an editor of Windows may write it.
    listed.write_text("\ufeff-c limits.txt\r\n--find-links wheels\r\nsmall\r\n", encoding="utf-8")
    for limit, version in (("<2", "1.0"), ("<3", "2.0")):
        limits.write_text(f"small{limit}\n")
        request = requirements.read(listed)
        assert runtimes.provide(request, HERE).packages == {"small": version}


def test_a_wheel_by_its_address_is_told_apart_by_what_is_in_it(index, tmp_path):
    wheel = make_wheel(tmp_path, "small", "1.0")
    request = Request((f"small @ {wheel.as_uri()}",))
    before = request.key(HERE)
    make_wheel(tmp_path, "small", "1.0", {"small.py": "changed"})
    assert request.key(HERE) != before


def test_files_that_include_themselves_or_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("-r b.txt\n")
    (tmp_path / "b.txt").write_text("-r a.txt\n")
    with pytest.raises(ValueError, match=r"a\.txt includes itself"):
        requirements.read(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("-r c.txt\n")
    with pytest.raises(ValueError, match=r"b\.txt: there is no .*c\.txt"):
        requirements.read(tmp_path / "a.txt")


def test_conditions_are_those_of_the_target(tool, index):
    make_wheel(index, "newer", "1.0")
    make_wheel(index, "armed", "1.0")
    conditions = ["newer; python_version >= '3.90'", "armed; platform_machine == 'aarch64'"]
    make_wheel(index, "small", "1.0", requires=conditions)
    for python, arch, more in (
        ("3.91", "x86_64", {"newer": "1.0"}),
        (HERE.python, "arm64", {"armed": "1.0"}),
        (HERE.python, "x86_64", {}),
    ):
        made = runtimes.provide(Request(("small",)), Target.of_lambda(python, arch))
        assert made.packages == {"small": "1.0"} | more


def test_an_installer_that_is_not_there(monkeypatch):
    monkeypatch.setenv("LAMBDAFUTURES_INSTALLER", "/nowhere/uv")
    with pytest.raises(PackageError, match="there is no /nowhere/uv.*LAMBDAFUTURES_INSTALLER"):
        runtimes.provide(Request(("small",)), HERE)


# -------------------------------------------------------------------- runtimes


@pytest.mark.parametrize(
    ("name", "value"), [("PYTHONOPTIMIZE", "1"), ("PYTHONPYCACHEPREFIX", "elsewhere")]
)
def test_byte_code_is_made_alike_in_any_environment(index, tmp_path, monkeypatch, name, value):
    make_wheel(index, "small", "1.0", {"small.py": "assert 1\n'text'\n"})

    def built():
        return runtimes.build(Request(("small",)), HERE, lambda what, share: None).bundle.name

    before = built()
    monkeypatch.setenv(name, str(tmp_path / value) if value == "elsewhere" else value)
    assert built() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda where: (where / "about").unlink(),
        lambda where: (where / "about").write_text('{"req'),
        lambda where: (where / "000").unlink(),
        lambda where: (where / "000").write_bytes(b"half"),
    ],
)
def test_a_damaged_runtime_is_built_again(index, damage):
    make_wheel(index, "small", "1.0")
    made = runtimes.provide(Request(("small",)), HERE)
    content = made.bundle.read(0)
    damage(Path(os.environ["LAMBDAFUTURES_HOME"], "runtimes", made.bundle.name))
    assert list(runtimes.kept()) == []
    again = runtimes.provide(Request(("small",)), HERE)
    assert again.bundle.name == made.bundle.name
    assert again.bundle.read(0) == content


def test_two_threads_may_ask_for_the_same(index, monkeypatch):
    make_wheel(index, "small", "1.0")
    both = threading.Barrier(2, timeout=20)
    build, replace = runtimes.build, Path.replace

    def slow_build(*arguments):
        made = build(*arguments)
        both.wait()
        return made

    def slow_replace(path, target):
        both.wait()
        return replace(path, target)

    monkeypatch.setattr(runtimes, "build", slow_build)
    monkeypatch.setattr(Path, "replace", slow_replace)
    names = []

    def run():
        names.append(runtimes.provide(Request(("small",)), HERE).bundle.name)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 2


def test_a_runtime_without_files_uploads_nothing(index):
    make_wheel(index, "cloudpickle", "9.0")
    made = runtimes.provide(Request(("cloudpickle",)), LAMBDA)
    assert asyncio.run(put_bundle(None, "p", made.bundle)) is False


def test_programs_stay_executable_in_a_layer(index):
    wheel = make_wheel(index, "tool", "1.0", {"tool/__init__.py": "", "tool/run": "#!/bin/sh\n"})
    with zipfile.ZipFile(wheel) as zipped:
        content = {entry.filename: zipped.read(entry) for entry in zipped.infolist()}
    with zipfile.ZipFile(wheel, "w") as zipped:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o100755 if name == "tool/run" else 0o100644) << 16
            zipped.writestr(entry, data)
    _, data = layer.build(Request(("tool",)), HERE)
    with zipfile.ZipFile(io.BytesIO(data)) as zipped:
        modes = {each.filename: each.external_attr >> 16 & 0o777 for each in zipped.infolist()}
    assert (modes["python/tool/run"], modes["python/tool/__init__.py"]) == (0o755, 0o644)


def test_what_is_no_package_of_the_environment(site, tmp_path, monkeypatch):
    (site / "left-1.0.dist-info").mkdir()
    (site / "left-1.0.dist-info" / "top_level.txt").write_text("left\n")
    info = {"mine.egg-info/PKG-INFO": "Metadata-Version: 2.1\nName: mine\nVersion: 0.1\n"}
    monkeypatch.syspath_prepend(project.write(tmp_path / "sources", info))
    assert distributions.owners("numpy") == ["numpy"]
    names = {line.partition("==")[0] for line in layer.of_environment().lines}
    assert not {"left", "mine"} & names
    assert "numpy" in names


# -------------------------------------------------------------------- the worker's disk


class Killed(BaseException):
    pass


def test_a_removal_that_was_cut_off_leaves_no_half(tmp_path, monkeypatch):
    store = Store()
    shelf = Shelf(str(tmp_path), Disk(tmp_path, SPARE_BYTES + 3 * MB).free_bytes)
    first, second = (store.put({"x": bytes([n]) * 2 * MB, "y": b"y"}) for n in range(2))
    fetch(shelf, [first], store)

    def cut_off(folder, **options):
        os.unlink(os.path.join(folder, "y"))
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", cut_off)
        with pytest.raises(Killed):
            fetch(shelf, [second], store, lambda: None)
    fetch(shelf, [first], store, lambda: None)
    assert sorted(os.listdir(first.folder)) == ["x", "y"]


def test_a_disk_that_is_full_nevertheless(tmp_path, monkeypatch):
    """Thousands of small files take more than their length."""
    store = Store()

    def full(part, folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle, "unpack", full)
    with pytest.raises(NoRoom, match="--disk MB"):
        fetch(Shelf(str(tmp_path)), [store.put({"x": b"x"})], store)
    assert os.listdir(tmp_path) == []
