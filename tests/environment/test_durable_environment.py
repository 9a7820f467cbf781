"""A durable job keeps what its calls need: who attaches to it has neither modules nor packages."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from lambdafutures import LambdaPoolExecutor
from lambdafutures._backends.job_store import prefix_of, with_store
from lambdafutures._engine.durable.place import JobPlace
from lambdafutures._engine.durable.reader import JobReader
from lambdafutures.exceptions import LambdaFuturesError
from lambdafutures.jobs import JobHandle, known_files
from tests.aws_cloud import BUCKET
from tests.environment import project
from tests.environment.wheels import make_wheel

SUBMIT = """
    import os
    import sys

    sys.path.append(sys.argv[1])

    from fleet import Kind, Ship
    from lambdafutures import LambdaPoolExecutor


    def sail(ship):
        import small

        return small.VERSION, ship.rigged().masts


    ex = LambdaPoolExecutor(
        1, backend="aws", durable=True, requirements=["small"]
    )
    # One at a time: what comes after the first is never sent by this client.
    futures = [ex.submit(sail, Ship("Swallow", kind)) for kind in (Kind.SLOOP, *Kind)]
    ex.wait_durable(30)
    print(ex.handle.session, flush=True)
    os._exit(0)
"""


def test_calls_of_a_dead_client_still_have_what_they_need(plain, index, tmp_path):
    make_wheel(index, "small", "4.0")
    folder = project.write(tmp_path / "project")
    handle = left_by_a_client(SUBMIT, plain, folder, tmp_path)
    with LambdaPoolExecutor.attach(handle, 3) as ex:
        assert [future.result(30) for future in ex.futures[1:]] == [("4.0", 1), ("4.0", 2)]
        ex.kill_workers()  # the first may run until its deadline, as far as anybody knows


def test_here_durable_jobs_have_the_clients_own_environment():
    with pytest.raises(ValueError, match="durable=True with requirements needs backend='aws'"):
        LambdaPoolExecutor(1, backend="local", durable=True, requirements=["small"])


APART = """
    import os
    import sys

    sys.path.append(sys.argv[1])

    from fleet import Kind, Ship
    from fleet.ships import sail
    from lambdafutures import LambdaPoolExecutor

    ex = LambdaPoolExecutor(1, backend="aws", durable=True)
    for kind in (Kind.SLOOP, Kind.SLOOP, Kind.SLOOP):
        ex.submit(sail, Ship("Swallow", kind))
        ex.wait_durable(30)  # its arguments have an object of their own
    os._exit(0)
"""


def test_calls_that_are_whole_do_not_suffer_for_one_that_is_not(plain, own, tmp_path):
    handle = left_by_a_client(APART, plain, own, tmp_path)
    place, record = read(handle)
    second = next(row for row, _ in record.chunks if row.number == 1)
    plain.fake.delete_object(BUCKET, place.arguments(second.arguments).key)
    with LambdaPoolExecutor.attach(handle, 3) as ex:
        error = ex.futures[1].exception(30)
        assert isinstance(error, LambdaFuturesError)
        assert "/arguments/" in str(error)
        assert ex.futures[2].result(30).masts == 1
        ex.kill_workers()  # the first may run until its deadline, as far as anybody knows


def left_by_a_client(source, aws, folder, tmp_path):
    """Return the handle's file of a client that ended before anything of its job ran."""
    script = tmp_path / "submit.py"
    script.write_text(textwrap.dedent(source))
    # Nothing runs while the client lives: whoever attaches has to send it.
    aws.fake.script.on("Invoke").throttle(retry_after=1)
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    aws.fake.script.clear()
    (handle,) = known_files()
    return handle


def read(path):
    """Return where a job's objects are, and what its log tells."""
    handle = JobHandle.load(path)
    place = JobPlace(prefix_of(handle), handle.session, handle.key)
    record = with_store(handle, lambda store: JobReader(store, place).record())
    return place, record
