"""Packages that travel: what is asked for, how it is built, and what is refused."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import io
import os
import tempfile
import zipfile

import pytest

from lambdafutures import LambdaPoolExecutor
from lambdafutures._environment import installer, requirements, runtimes, tree
from lambdafutures._environment.requirements import Request
from lambdafutures._environment.target import Target
from lambdafutures.exceptions import BackendError, NotLoadable, PackageError
from tests import calls
from tests.aws_cloud import MODES
from tests.environment.wheels import make_wheel, unpack

HERE = Target.here()
LAMBDA = Target.of_lambda(HERE.python, HERE.arch)
TOOLS = [
    pytest.param(
        "pip",
        marks=pytest.mark.skipif(not importlib.util.find_spec("pip"), reason="pip is missing"),
    ),
    pytest.param(
        "uv", marks=pytest.mark.skipif(installer.find_uv() is None, reason="uv is missing")
    ),
]


@pytest.fixture(params=TOOLS)
def tool(request, monkeypatch):
    monkeypatch.setenv(installer.INSTALLER_VARIABLE, request.param)
    return request.param


def names_in(runtime: runtimes.Runtime) -> set[str]:
    found = set()
    for number in range(len(runtime.bundle.parts)):
        with zipfile.ZipFile(io.BytesIO(runtime.bundle.read(number))) as part:
            found |= set(part.namelist())
    return found


# -------------------------------------------------------------------- requests


def test_what_can_be_asked_for(tmp_path):
    assert requirements.read(["b>=2", "a", "a", " "]).lines == ("a", "b>=2")
    wheel = make_wheel(tmp_path, "small", "1")
    (tmp_path / "more.txt").write_text("d\n")
    (tmp_path / "requirements.txt").write_text(
        "# a comment\nb ; python_version > '3' # why\n-r more.txt\n--no-index\n"
        f"c[extra] \\\n  >=2\n{wheel.name}\n"
    )
    assert requirements.read(tmp_path / "requirements.txt").lines == (
        "--no-index",
        str(wheel),
        "b ; python_version > '3'",
        "c[extra]    >=2",
        "d",
    )
    project = tmp_path / "pyproject.toml"
    project.write_text("[project]\nname = 'x'\ndependencies = ['numpy>=2', 'six']\n")
    assert requirements.read(str(project)).lines == ("numpy>=2", "six")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("numpy", r"is no file; for the package of that name give \['numpy'\]"),
        ([3], "must be strings"),
        (["=="], "is no requirement"),
    ],
)
def test_what_cannot_be_asked_for(wanted, message):
    with pytest.raises(ValueError, match=message):
        LambdaPoolExecutor(1, backend="local", requirements=wanted)


def test_files_that_name_nothing_are_refused(tmp_path):
    broken = tmp_path / "pyproject.toml"
    broken.write_text("[project]\nname = 'x'\n")
    with pytest.raises(ValueError, match="names no dependencies"):
        requirements.read(broken)
    broken.write_text("[project\n")
    with pytest.raises(ValueError, match="cannot be read"):
        requirements.read(broken)
    editable = tmp_path / "requirements.txt"
    editable.write_text("-e .\n")
    with pytest.raises(ValueError, match="editable: your own packages travel by themselves"):
        requirements.read(editable)


def test_requests_are_told_apart_by_all_that_counts(tmp_path):
    one = make_wheel(tmp_path, "small", "1")
    keys = {
        Request(("a",)).key(HERE),
        Request(("a", "b")).key(HERE),
        Request(("a",), ("b==1",)).key(HERE),
        Request(("a",), (), ("b",)).key(HERE),
        Request(("a",)).key(HERE._replace(arch="other")),
        Request((str(one),)).key(HERE),
    }
    make_wheel(tmp_path, "small", "1", {"small.py": "changed"})
    keys.add(Request((str(one),)).key(HERE))
    assert len(keys) == 7


def test_platforms_are_those_that_run_there():
    names = installer.platforms(Target.of_lambda("3.11", "x86_64"))
    assert names[0] == "manylinux_2_26_x86_64"
    assert {"manylinux2014_x86_64", "manylinux1_x86_64", "linux_x86_64"} <= set(names)
    assert "manylinux_2_28_x86_64" not in names
    arm = installer.platforms(Target.of_lambda("3.13", "arm64"))
    assert arm[0] == "manylinux_2_34_aarch64"
    assert arm[-2:] == ["manylinux2014_aarch64", "linux_aarch64"]


# -------------------------------------------------------------------- building


def test_the_same_request_gives_the_same_bytes(index, tmp_path, monkeypatch):
    """Whoever installs, whenever and wherever."""
    source = "import sys\nNAMES = {'b', 'a', 'c'}\ndef f(x):\n    return x in {'p', 'q', 'r'}\n"
    files = {f"pkg/m{number}.py": source for number in range(30)}
    make_wheel(index, "pkg", "1.0", {"pkg/__init__.py": "", "pkg/broken.py": "(", **files})
    make_wheel(index, "other", "2.0", requires=["pkg"])
    built = set()
    tools = ["pip", "uv"] if installer.find_uv() else ["pip", "pip"]
    for number, name in enumerate(tools):
        monkeypatch.setenv("LAMBDAFUTURES_HOME", str(tmp_path / f"home{number}"))
        monkeypatch.setenv(installer.INSTALLER_VARIABLE, name)
        monkeypatch.setattr(runtimes, "PART_FILES_BYTES", 4000)
        made = runtimes.provide(Request(("other",)), HERE)
        built.add((made.bundle.name, *made.bundle.parts))
        assert made.packages == {"other": "2.0", "pkg": "1.0"}
        assert len(made.bundle.parts) > 1
    assert len(built) == 1
    names = names_in(made)
    assert f"pkg/__pycache__/m1.cpython-{HERE.python.replace('.', '')}.pyc" in names
    assert not {name for name in names if "RECORD" in name or name.startswith("bin/")}


def test_what_was_built_is_not_built_again(index, monkeypatch):
    make_wheel(index, "small", "1.0")
    made = runtimes.provide(Request(("small",)), HERE)
    monkeypatch.setattr(installer, "install", None)
    again = runtimes.provide(Request(("small",)), HERE)
    assert (again.bundle.name, again.packages) == (made.bundle.name, made.packages)
    assert again.bundle.read(0) == made.bundle.read(0)
    assert [each.bundle.name for each in runtimes.kept()] == [made.bundle.name]
    runtimes.remove(made.bundle.name)
    assert list(runtimes.kept()) == []
    with pytest.raises(TypeError):
        runtimes.provide(Request(("small",)), HERE)


def test_a_build_tells_how_it_goes_on(index):
    make_wheel(index, "small", "1.0")
    told = []
    runtimes.provide(Request(("small",)), HERE, lambda what, share: told.append((what, share)))
    assert [what for what, _ in told] == ["installing", "compiling", "packing"]
    assert [share for _, share in told] == sorted(share for _, share in told)
    assert told[-1][1] == 1.0


def test_nothing_is_compiled_for_another_python(tool, index):
    make_wheel(index, "small", "1.0")
    other = "3.12" if HERE.python != "3.12" else "3.13"
    made = runtimes.provide(Request(("small",)), Target.of_lambda(other, "arm64"))
    assert not {name for name in names_in(made) if name.endswith(".pyc")}


def test_wheels_of_the_target_are_taken_whatever_this_machine_is(tool, index):
    for arch, glibc in (("x86_64", 17), ("aarch64", 17), ("x86_64", 28)):
        tag = f"cp312-cp312-manylinux_2_{glibc}_{arch}"
        make_wheel(index, "fast", f"1.{glibc}", {"fast.txt": tag}, tag=tag)
    for arch in ("x86_64", "arm64"):
        made = runtimes.provide(Request(("fast",)), Target.of_lambda("3.12", arch))
        assert made.packages == {"fast": "1.28" if arch == "x86_64" else "1.17"}
    old = Target("3.12", "x86_64", libc=(2, 26))
    assert runtimes.provide(Request(("fast",)), old).packages == {"fast": "1.17"}


def test_what_the_deployment_brings_stays_out(index):
    make_wheel(index, "cloudpickle", "0.1")
    make_wheel(index, "user", "1.0", requires=["cloudpickle"])
    made = runtimes.provide(Request(("user",)), HERE)
    assert made.packages == {"user": "1.0"}
    assert not {name for name in names_in(made) if "cloudpickle" in name}


def test_namespaces_stay_whole_when_a_package_is_taken_out(index, tmp_path):
    make_wheel(index, "one", "1", {"space/one.py": "", "space/deep/x.py": ""})
    make_wheel(index, "two", "1", {"space/two.py": ""}, requires=["one"])
    made = runtimes.provide(Request(("two",), (), ("one",)), HERE)
    assert {name for name in names_in(made) if name.endswith(".py")} == {"space/two.py"}
    assert tree.packages(tmp_path) == {}


# -------------------------------------------------------------------- refusals


REFUSALS = [
    # Nobody has such a package.
    ("nowhere", [], "nowhere"),
    # There is no such version of it.
    ("small==9", ["small-1-py3-none-any"], "small"),
    # There are wheels, and none for the target.
    ("small", ["small-1-cp311-cp311-win_amd64"], "small"),
    ("small", ["small-1-cp311-cp311-manylinux_2_39_x86_64"], "small"),
    ("small", ["small-1-cp39-cp39-manylinux2014_x86_64"], "small"),
    # What it requires has none.
    ("small", ["small-1-py3-none-any needs", "needs-1-cp311-cp311-macosx_11_0_arm64"], "needs"),
]


@pytest.mark.parametrize(("wanted", "there", "culprit"), REFUSALS)
def test_what_cannot_be_installed_is_said(tool, index, wanted, there, culprit):
    for described in there:
        wheel, *requires = described.split()
        name, version, tag = wheel.split("-", 2)
        make_wheel(index, name, version, requires=requires, tag=tag)
    target = Target.of_lambda("3.11", "x86_64")
    with pytest.raises(PackageError) as refused:
        runtimes.provide(Request((wanted,)), target)
    said = str(refused.value)
    assert said.startswith(culprit), said
    assert "as a wheel for Python 3.11 on linux x86_64, glibc 2.26, which the worker needs" in said
    assert "requirements=[...]" in said
    assert list(runtimes.kept()) == []


def test_a_python_without_installers_is_said(monkeypatch):
    monkeypatch.setattr(installer, "find_uv", lambda chosen="": None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PackageError, match="this Python has neither: run `python -m ensurepip`"):
        runtimes.provide(Request(("small",)), HERE)


# -------------------------------------------------------------------- here


def version_of(name):
    return importlib.import_module(name).VERSION


def test_two_versions_side_by_side_here(index):
    for version in ("1.0", "2.0"):
        make_wheel(index, "small", version)

    def version():
        import small

        return small.VERSION, small.__file__

    def local(wanted):
        return LambdaPoolExecutor(1, backend="local", requirements=wanted)

    with local(["small==1.0"]) as one, local(["small"]) as two:
        futures = [ex.submit(version) for ex in (one, two, one)]
        assert [future.result()[0] for future in futures] == ["1.0", "2.0", "1.0"]
        assert one.environment.packages == {"small": "1.0"}
        assert str(two.environment).startswith("packages: small 2.0\n")


def test_local_workers_have_what_was_asked_for_and_no_more(own):
    """What is missing on AWS is missing here; modules of one's own are not."""
    from fleet import Kind, Ship

    def load(name):
        return sorted(vars(__import__(name)))[:1]

    with LambdaPoolExecutor(1, backend="local", requirements=[]) as ex:
        for name in ("json", "sqlite3", "ctypes", "lambdafutures", "cloudpickle"):
            assert ex.submit(load, name).result()
        for name in ("numpy", "pytest", "pip", "boto3"):
            error = ex.submit(load, name).exception()
            assert isinstance(error, ModuleNotFoundError)
            (note,) = error.__notes__
            assert note.startswith(f"The worker has no module '{name}'.")
            assert "LambdaPoolExecutor(requirements=[...])" in note
        ship = ex.submit(Ship.rigged, Ship("Swallow", Kind.BRIG)).result()
        assert ship == Ship("Swallow", Kind.BRIG, 2)
        assert type(ship) is Ship
        assert {each.name for each in ex.environment.modules} == {"fleet", "harbour"}
    # As ever, without: the client's own path.
    with LambdaPoolExecutor(1, backend="local") as ex:
        assert ex.submit(load, "numpy").result()


def test_modules_unpacked_here_are_gone_with_their_executor(own, tmp_path, monkeypatch):
    from harbour import is_stormy

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(os.listdir(tmp_path))
    with LambdaPoolExecutor(1, backend="local", requirements=[]) as ex:
        assert ex.submit(is_stormy).result()
        (made,) = set(os.listdir(tmp_path)) - before
        assert len(os.listdir(tmp_path / made)) == 1
    del ex
    gc.collect()
    assert set(os.listdir(tmp_path)) == before


def test_threads_have_what_this_process_has():
    with LambdaPoolExecutor(1, backend="memory", requirements=["nowhere"]) as ex:
        assert ex.submit(calls.add, 1, 2).result() == 3
        assert str(ex.environment) == "nothing travels"


def test_an_initializer_needs_things_too(own, index):
    make_wheel(index, "small", "3.0")
    import harbour

    def initialize():
        import small

        harbour.seen = small.VERSION

    def seen():
        return harbour.seen

    options = {"requirements": ["small"], "initializer": initialize}
    with LambdaPoolExecutor(1, backend="local", **options) as ex:
        assert ex.submit(seen).result() == "3.0"


def test_what_calls_need_and_the_worker_lacks_is_refused_before_they_run(site, index, tmp_path):
    unpack(make_wheel(index, "small", "1.5"), site)
    unpack(make_wheel(index, "other", "1.0"), site)
    import small

    counted = tmp_path / "ran"

    def use(x):
        counted.touch()
        return x, small.VERSION

    with LambdaPoolExecutor(1, backend="local", requirements=["other"]) as ex:
        error = ex.submit(use, 1).exception()
        assert isinstance(error, PackageError)
        assert "the worker lacks the package small, which the client has as 1.5" in str(error)
        assert "requirements=['small==1.5']" in str(error)
        assert "lambdafutures deploy --requirements FILE" in str(error)
        with pytest.raises(PackageError):
            list(ex.map(use, [1, 2]))
        assert not counted.exists()
        assert ex.submit(calls.add, 1, 2).result() == 3, "the others go on"


def test_data_of_another_version_is_refused_before_it_is_misread(site, index):
    content = {"shape.py": "class Square:\n    def __init__(self, a):\n        self.a = a\n"}
    unpack(make_wheel(index, "shape", "1.0", content), site)
    make_wheel(index, "shape", "2.0", content)
    import shape

    def area(square):
        return square.a**2

    def make():
        import shape

        return shape.Square(3).a

    with LambdaPoolExecutor(1, backend="local", requirements=["shape==2.0"]) as ex:
        error = ex.submit(area, shape.Square(3)).exception()
        assert isinstance(error, PackageError)
        for text in ("shape 1.0 in the client", "the worker has shape 2.0", "pip install shape=="):
            assert text in str(error)
        # What only uses it there may.
        assert ex.submit(make).result() == 3
    with LambdaPoolExecutor(1, backend="local", requirements=["shape==1.0"]) as ex:
        assert ex.submit(area, shape.Square(3)).result() == 9


def test_a_result_that_the_client_cannot_load_is_said(index):
    make_wheel(index, "theirs", "1.0", {"theirs.py": "class Thing:\n    pass\n"})

    def make():
        import theirs

        return theirs.Thing()

    with LambdaPoolExecutor(1, backend="local", requirements=["theirs"]) as ex:
        error = ex.submit(make).exception()
    assert isinstance(error, NotLoadable)
    assert "the worker's 'theirs' is missing here: install" in str(error)


def test_auto_takes_what_calls_import_in_the_versions_of_here(site, index):
    for name, version in (("low", "1.0"), ("small", "1.5"), ("later", "0.3"), ("idle", "1")):
        requires = ["low"] if name in ("small", "later") else []
        unpack(make_wheel(index, name, version, requires=requires), site)
        make_wheel(index, name, "9.0", requires=requires)  # newer, and not what is here
    import small

    def first():
        import sys

        return small.VERSION, __import__("low").VERSION, "later" in sys.modules

    def second():
        import later

        return later.VERSION, small.VERSION, __import__("low").VERSION

    with LambdaPoolExecutor(1, backend="local", requirements="auto") as ex:
        assert ex.submit(calls.add, 1, 2).result() == 3
        assert ex.environment.packages == {}
        assert ex.submit(first).result() == ("1.5", "1.0", False)
        assert ex.environment.packages == {"low": "1.0", "small": "1.5"}
        import later  # noqa: F401

        assert ex.submit(second).result() == ("0.3", "1.5", "1.0")
        assert ex.environment.packages == {"low": "1.0", "small": "1.5", "later": "0.3"}


# -------------------------------------------------------------------- on AWS


@pytest.mark.parametrize("mode", MODES)
def test_two_versions_side_by_side_on_aws(plain, index, mode):
    for version in ("1.0", "2.0"):
        make_wheel(index, "small", version)

    def version():
        import small

        return small.VERSION

    def run():
        with (
            plain.executor(1, mode, requirements=["small==1.0"]) as one,
            plain.executor(1, mode, requirements=["small"]) as two,
        ):
            futures = [ex.submit(version) for ex in (one, two, one, two)]
            assert [future.result() for future in futures] == ["1.0", "2.0", "1.0", "2.0"]

    def uploads():
        return [r.key for r in plain.fake.log if r.operation == "PutObject" and "bundles" in r.key]

    run()
    before = uploads()
    assert len(before) == len(set(before)) == 4  # each with what is said of it
    run()
    assert uploads() == before, "other executors upload nothing"


def test_on_aws_what_is_known_to_be_missing_is_refused(plain, site, index):
    unpack(make_wheel(index, "small", "1.5"), site)
    import small

    def use():
        return small.VERSION

    plain.remember(packages={})
    with plain.executor(1) as ex:
        error = ex.submit(use).exception()
        assert isinstance(error, PackageError)
        assert "the worker lacks the package small" in str(error)
    plain.remember(packages={"small": "1.4"})
    with plain.executor(1) as ex:
        assert isinstance(ex.submit(use).exception(), NotLoadable)
    # Of a deployment that somebody has added layers to, it is not known, but said by the worker.
    plain.remember()
    with plain.executor(1) as ex:
        error = ex.submit(use).exception()
        assert isinstance(error, NotLoadable)
        assert "The worker has no module 'small'." in str(error)
        assert "lambdafutures deploy --requirements FILE" in str(error)
    with plain.executor(1, requirements="auto") as ex:
        assert ex.submit(use).result() == "1.5"


def test_packages_that_do_not_fit_the_workers_disk_are_refused(plain, index, monkeypatch):
    make_wheel(index, "small", "1.0")
    made = runtimes.provide(Request(("small",)), LAMBDA)
    about = os.path.join(os.environ["LAMBDAFUTURES_HOME"], "runtimes", made.bundle.name, "about")
    with open(about) as file:
        text = file.read()
    with open(about, "w") as file:
        file.write(
            text.replace(
                f'"unpacked_bytes": {made.bundle.unpacked_bytes}', '"unpacked_bytes": 1' + 15 * "0"
            )
        )
    plain.remember(python=HERE.python)
    with plain.executor(1, requirements=["small"]) as ex:
        error = ex.submit(calls.add, 1, 2).exception()
    assert isinstance(error, BackendError)
    assert "MiB free: run `lambdafutures deploy --disk MB`" in str(error)
