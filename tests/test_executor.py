"""What an executor is made with, and what it says of itself; the suite is in `tests/executor`."""

from __future__ import annotations

import logging

import pytest

from lambdafutures import LambdaPoolExecutor, Limits, RetryPolicy
from lambdafutures.exceptions import DeploymentNotFound

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_dill_can_be_chosen():
    with LambdaPoolExecutor(1, backend="local", serializer="dill") as ex:
        assert ex.submit(lambda x: (lambda y: x + y)(2), 1).result() == 3


def test_repr_and_log_say_which_backend_and_why(caplog):
    with caplog.at_level(logging.INFO, "lambdafutures"):
        ex = LambdaPoolExecutor(3, backend="local")
    assert "local backend, because backend='local' was given" in caplog.text
    assert repr(ex).endswith("open backend=local (backend='local' was given) max_workers=3>")
    assert ex._max_workers == 3
    ex.shutdown()
    assert " shut down " in repr(ex)


def test_the_backend_is_the_argument_then_the_environment_then_local(monkeypatch):
    assert "nothing is deployed" in repr(LambdaPoolExecutor(1))
    monkeypatch.setenv("LAMBDAFUTURES_BACKEND", "local")
    assert "LAMBDAFUTURES_BACKEND=local" in repr(LambdaPoolExecutor(1))
    monkeypatch.setenv("LAMBDAFUTURES_BACKEND", "cloud")
    with pytest.raises(ValueError, match="LAMBDAFUTURES_BACKEND=cloud.*'local', 'memory', 'aws'"):
        LambdaPoolExecutor(1)
    assert "was given" in repr(LambdaPoolExecutor(1, backend="local"))


def test_aws_with_nothing_deployed_names_the_command_that_deploys():
    with pytest.raises(DeploymentNotFound, match="run `lambdafutures deploy` first"):
        LambdaPoolExecutor(backend="aws")


def test_mp_context_is_warned_about_and_options_are_checked():
    import multiprocessing

    with pytest.warns(UserWarning, match="mp_context is ignored"):
        LambdaPoolExecutor(1, multiprocessing.get_context("spawn"), backend="local")
    with pytest.raises(TypeError, match="worker_count"):
        LambdaPoolExecutor(worker_count=3)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            LambdaPoolExecutor(wrong)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        LambdaPoolExecutor(1, initializer=5)
    with pytest.raises(TypeError, match="max_tasks_per_child must be an integer"):
        LambdaPoolExecutor(1, max_tasks_per_child=1.5)
    with pytest.raises(ValueError, match="max_tasks_per_child must be >= 1"):
        LambdaPoolExecutor(1, max_tasks_per_child=0)
    with pytest.raises(ValueError, match="serializer must be one of"):
        LambdaPoolExecutor(1, serializer="json")
    with pytest.raises(ValueError, match="time_s must be greater than 0"):
        Limits(time_s=0)


def test_default_max_workers_is_the_processors_number():
    import os

    ex = LambdaPoolExecutor(backend="local")
    assert ex._max_workers == len(os.sched_getaffinity(0))


def test_options_of_calls_add_up_and_are_checked():
    ex = LambdaPoolExecutor(1, backend="memory")
    one = ex.with_options(time_s=5)
    two = one.with_options(retry=RetryPolicy(attempts=1), memory_mb=4096)
    assert two._options == (RetryPolicy(attempts=1), 5, 4096, None)
    assert one._options == (RetryPolicy(), 5, None, None)
    with pytest.raises(ValueError, match="time_s must be greater than 0"):
        ex.with_options(time_s=0)
    with pytest.raises(ValueError, match="memory_mb must be greater than 0"):
        ex.with_options(memory_mb=-1)
