"""What comes late for its session runs nothing and leaves nothing; what is prompt costs nothing."""

from __future__ import annotations

import asyncio

import pytest

from lambdafutures._backends import lambda_invoker, sign_of_life
from lambdafutures._backends.memory_store import MemoryStore
from lambdafutures._backends.sign_of_life import SignOfLife
from lambdafutures.exceptions import BackendError
from tests import calls
from tests.aws.conftest import Aws
from tests.conftest import wait_until


def prove(ex) -> None:
    """Have the first call made, which is answered: from now on there are Events."""
    assert ex.submit(calls.identity, 0).result() == 0


@pytest.fixture
def always_late(monkeypatch):
    monkeypatch.setattr(sign_of_life, "LATE_S", 0.0)


def test_a_duplicate_after_the_end_runs_nothing_and_leaves_nothing(aws: Aws, tmp_path):
    aws.fake.script.on("Invoke", invocation_type="Event", nth=1).duplicate_event(1.5)
    with aws.executor(2, "poll") as ex:
        prove(ex)
        assert ex.submit(calls.note_run, str(tmp_path), 1).result() == 1
    assert aws.keys() == []
    assert [event.runs for event in aws.fake.events] == [1, 0]
    aws.fake.wait_quiet()
    assert [event.runs for event in aws.fake.events] == [1, 1]
    assert calls.runs(tmp_path, 1) == 1
    assert aws.keys() == []


def test_a_duplicate_that_is_prompt_is_waited_for(aws: Aws, monkeypatch):
    monkeypatch.setattr(sign_of_life, "LATE_S", 1.0)
    aws.fake.script.on("Invoke", invocation_type="Event", nth=1).duplicate_event(0.4)
    with aws.executor(2, "poll") as ex:
        prove(ex)
        assert ex.submit(calls.identity, 1).result() == 1
    aws.fake.wait_quiet()
    assert aws.keys() == []


def test_what_ran_when_the_session_was_ended_takes_its_outcome_back(aws: Aws, tmp_path):
    go = tmp_path / "go"
    ex = aws.executor(2, "poll")
    prove(ex)
    future = ex.submit(calls.touch_and_wait, str(tmp_path / "begun"), str(go))
    wait_until((tmp_path / "begun").exists)
    ex.kill_workers()
    assert future.exception() is not None
    assert aws.keys() == []
    go.touch()
    aws.fake.wait_quiet()
    assert aws.keys() == []
    assert aws.fake.requests["DeleteObject"] == 1


def test_late_events_of_a_session_that_is_alive_run(aws: Aws, always_late):
    with aws.executor(2, "poll") as ex:
        assert list(ex.map(calls.identity, range(6))) == list(range(6))
        # Each asked before it ran and after; but the first call, which was no Event.
        aws.fake.wait_quiet()
        assert aws.fake.requests["HeadObject"] == 2 * 5
    assert aws.keys() == []


@pytest.mark.parametrize("fault", ["denied", "503"])
def test_where_nobody_can_say_calls_run(aws: Aws, always_late, fault):
    if fault == "denied":
        aws.role.deny("s3:GetObject *")
    else:
        aws.fake.script.on("HeadObject", nth=range(1, 4)).status(503)
    with aws.executor(2, "poll") as ex:
        assert list(ex.map(calls.identity, range(3))) == list(range(3))


def test_prompt_calls_ask_nothing(aws: Aws, monkeypatch):
    monkeypatch.setattr(sign_of_life, "LATE_S", 3600.0)
    with aws.executor(2, "poll") as ex:
        assert list(ex.map(calls.identity, range(6))) == list(range(6))
        assert aws.fake.requests["HeadObject"] == 0
        assert ex.statistics().requests["PutObject"] == 1  # the sign
        ex._pool.invoker._sign._prompt_until_s = 0.0  # else it would wait for an hour
    assert aws.keys() == []


def test_one_call_needs_no_sign(aws: Aws):
    with aws.executor(2, "poll") as ex:
        prove(ex)
        assert "PutObject" not in ex.statistics().requests


def test_a_client_that_may_not_put_is_told(aws: Aws):
    aws.client.deny("s3:PutObject *")
    with aws.executor(2, "poll") as ex:
        errors = [ex.submit(calls.spin, 0.2).exception(15) for _ in range(2)]
    assert isinstance(errors[-1], BackendError)
    assert "the credentials lack s3:PutObject" in str(errors[-1])


def test_long_responses_leave_nothing(aws: Aws, monkeypatch):
    monkeypatch.setattr(lambda_invoker, "STORE_AFTER_S", 0.1)
    with aws.executor(1) as ex:
        assert ex.submit(calls.spin, 0.2).result() == 0.2
        assert len(aws.keys()) == 1
    assert aws.keys() == []


# -------------------------------------------------------------------- the sign by itself


class Slow(MemoryStore):
    """A store that refuses a put or two, and notes the order of what is done."""

    def __init__(self, refusals: int = 0) -> None:
        super().__init__()
        self.refusals = refusals
        self.puts = 0

    async def put(self, key, body, *, only_if_absent=False):
        self.puts += 1
        await asyncio.sleep(0)
        if self.puts <= self.refusals:
            raise BackendError("not now")
        return await super().put(key, body, only_if_absent=only_if_absent)


def test_the_sign_is_stored_once_for_all_who_wait():
    async def test():
        store = Slow()
        sign = SignOfLife(store, "p", "s")
        await asyncio.gather(*(sign.show() for _ in range(5)))
        assert store.puts == 1
        assert await store.get("p/sessions/s/alive")
        await sign.hide()
        assert await store.head("p/sessions/s/alive") is None

    asyncio.run(test())


def test_a_sign_that_was_refused_is_tried_again():
    async def test():
        store = Slow(refusals=1)
        sign = SignOfLife(store, "p", "s")
        with pytest.raises(BackendError, match="not now"):
            await sign.show()
        await sign.show()
        assert store.puts == 2

    asyncio.run(test())


def test_hiding_waits_until_all_is_late(monkeypatch):
    monkeypatch.setattr(sign_of_life, "LATE_S", 0.2)

    async def test():
        loop = asyncio.get_running_loop()
        store = Slow()
        sign = SignOfLife(store, "p", "s")
        await sign.hide()  # nothing was shown: nothing to wait for
        sent_s = loop.time()
        await sign.show()
        await sign.hide()
        assert loop.time() - sent_s >= 0.2
        assert await store.head("p/sessions/s/alive") is None

    asyncio.run(test())
