"""The worker's zip: the same wherever it is made, and complete."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys
import zipfile

from hypothesis import given
from hypothesis import strategies as st

from lambdafutures.deploy import bundle

names = st.from_regex(r"[a-z_]{1,8}(/[a-z_]{1,8}){0,3}\.py", fullmatch=True)


@given(st.dictionaries(names, st.binary(max_size=200), max_size=8), st.randoms())
def test_the_same_files_give_the_same_bytes(files, random):
    """Whatever the order in which the files were found."""
    shuffled = list(files.items())
    random.shuffle(shuffled)
    data = bundle.pack(files)
    assert bundle.pack(dict(shuffled)) == data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == sorted(files)
        assert {name: archive.read(name) for name in files} == files


def test_entries_carry_nothing_of_this_machine():
    """No time, no owner, no system: a fixed date, readable by everybody."""
    with zipfile.ZipFile(io.BytesIO(bundle.pack({"b.py": b"2", "a.py": b"1"}))) as archive:
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.external_attr >> 16 == 0o100644
            assert entry.create_system == 3
            assert entry.compress_type == zipfile.ZIP_STORED
            assert entry.extra == b""


def test_a_known_zip_keeps_its_hash():
    """Another hash here means that every deployment is told to update."""
    data = bundle.pack({"a.py": b"pass\n", "p/b.py": b"x = 1\n"})
    assert hashlib.sha256(data).hexdigest() == (
        "63f82dbbca980b24d71898a8dd360957941262e67223769fa6ab5837d1dfed26"
    )


def test_the_bundle_holds_sources_only():
    built = bundle.build()
    assert "lambdafutures/__init__.py" in built.names
    assert "lambdafutures/_wire/payload.py" in built.names
    assert "cloudpickle/__init__.py" in built.names
    assert all(name.endswith(".py") for name in built.names)
    assert not any("__pycache__" in name for name in built.names)
    assert list(built.names) == sorted(built.names)


def test_the_two_spellings_of_the_hash_agree():
    built = bundle.Bundle(b"data", ())
    assert base64.b64decode(built.code_sha256).hex() == built.sha256


def test_the_zip_alone_can_be_imported(tmp_path):
    """A bare interpreter with nothing but the zip finds the wire and cloudpickle."""
    path = tmp_path / "worker.zip"
    path.write_bytes(bundle.build().data)
    program = (
        f"import sys; sys.path[:] = [{str(path)!r}, *(p for p in sys.path if 'site' not in p)]\n"
        "import lambdafutures._wire.payload as payload, cloudpickle\n"
        "print(payload.__file__, cloudpickle.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        f"{path}/lambdafutures/_wire/payload.py",
        f"{path}/cloudpickle/__init__.py",
    ]


def test_the_handler_is_where_lambda_looks():
    module, _, name = bundle.HANDLER.rpartition(".")
    assert (module, name) == ("lambdafutures._worker.supervisor", "handler")
