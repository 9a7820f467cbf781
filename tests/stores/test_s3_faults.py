"""What store and worker's client do when S3 or the network fails: each fault is caused for real."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lambdafutures._wire import s3_limits
from lambdafutures._worker.s3_http import S3Failed
from lambdafutures.exceptions import BackendError, BlobMissing
from tests.aws_servers import AwsServer
from tests.stores.conftest import PART_BYTES, ROUTES, Run, WorkerObjects
from tests.stores.fault_proxy import (
    Answer,
    Close,
    Cut,
    ErrorIn200,
    Fault,
    FaultProxy,
    First,
    LostReply,
    Mute,
    Reset,
    slow_down,
)
from tests.stores.test_store_contract import listed, pattern

LARGE = pattern(2 * PART_BYTES + 99)
SERVER_ERROR = Answer(500, "InternalError")
CONFLICT = Answer(409, "ConditionalRequestConflict")


class ManualClock:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.waits_s: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, wait_s: float) -> None:
        self.waits_s.append(wait_s)
        self.now_s += wait_s

    async def sleep_async(self, wait_s: float) -> None:
        self.sleep(wait_s)


@pytest.fixture
def server(server_named: Callable[[str], AwsServer]) -> AwsServer:
    return server_named("strict")


@pytest.fixture
def proxy(server: AwsServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.endpoint_url) as running:
        yield running
        assert running.is_done(), "a fault of the script was not brought"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest) -> str:
    """Which of the client's two ways."""
    return request.param


@pytest.fixture
def store(route: str, make_store: Callable[..., Any], proxy: FaultProxy, clock: ManualClock) -> Any:
    return make_store(
        route,
        proxy.endpoint_url,
        clock=clock,
        sleep=clock.sleep_async,
        chance=lambda: 0.5,
    )


@pytest.fixture
def worker(make_store: Callable[..., Any], proxy: FaultProxy, clock: ManualClock) -> Any:
    return make_store(
        "worker-strict",
        proxy.endpoint_url,
        clock=clock,
        sleep=clock.sleep,
        chance=lambda: 0.5,
    )


@pytest.fixture(params=[*ROUTES, "worker-strict"])
def objects(
    request: pytest.FixtureRequest,
    make_store: Callable[..., Any],
    proxy: FaultProxy,
    clock: ManualClock,
) -> Any:
    return make_store(
        request.param,
        proxy.endpoint_url,
        clock=clock,
        sleep=clock.sleep if request.param.startswith("worker") else clock.sleep_async,
        chance=lambda: 0.5,
    )


@pytest.fixture
def unfinished(server: AwsServer, prefix: str) -> Callable[[], list[Any]]:
    """Return the multipart uploads under the test's prefix that were neither ended nor aborted."""

    def get() -> list[Any]:
        with server.client() as client:
            return client.list_multipart_uploads(Bucket=server.bucket, Prefix=prefix).get(
                "Uploads", []
            )

    return get


PASSING = [
    slow_down(),
    SERVER_ERROR,
    Answer(503, "ServiceUnavailable"),
    Answer(429, "TooManyRequests"),
    Answer(400, "RequestTimeout"),
    Reset(),
    LostReply(),
]


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_a_put_is_repeated_until_it_is_stored(
    objects: Any, run: Run[Any], prefix: str, proxy: FaultProxy, clock: ManualClock, fault: Fault
) -> None:
    proxy.script("PUT", fault, fault)
    assert run(objects.put(f"{prefix}key", b"body")) is True
    assert run(objects.get(f"{prefix}key")) == b"body"
    assert proxy.count("PUT") == 3
    assert all(0 < wait_s <= s3_limits.BACKOFF_CEILING_S for wait_s in clock.waits_s)


@pytest.mark.parametrize("fault", [*PASSING, Cut(0), Cut(3)], ids=str)
def test_a_get_is_repeated_until_it_is_whole(
    objects: Any, run: Run[Any], prefix: str, proxy: FaultProxy, fault: Fault
) -> None:
    run(objects.put(f"{prefix}key", b"0123456789"))
    proxy.script("GET", fault, fault)
    assert run(objects.get(f"{prefix}key")) == b"0123456789"
    assert proxy.count("GET") >= 3


def test_waits_grow_and_honour_retry_after(
    objects: Any, run: Run[Any], prefix: str, proxy: FaultProxy, clock: ManualClock
) -> None:
    proxy.script("PUT", slow_down(), slow_down(), slow_down("7"), slow_down("3600"))
    run(objects.put(f"{prefix}key", b"body"))
    first, second, asked, excessive = clock.waits_s
    assert (first, second) == (0.5 * 0.1, 0.5 * 0.2)
    assert asked == 7
    assert excessive == s3_limits.RETRY_AFTER_CEILING_S


def test_nothing_is_repeated_for_ever(
    objects: Any, run: Run[Any], prefix: str, proxy: FaultProxy, clock: ManualClock
) -> None:
    proxy.script("PUT", *[slow_down("20")] * 15)
    with pytest.raises((BackendError, S3Failed), match="SlowDown") as caught:
        run(objects.put(f"{prefix}key", b"body"))
    assert f"{prefix}key" in str(caught.value)
    assert sum(clock.waits_s) <= 300
    proxy.clear()


@pytest.mark.parametrize("is_warm", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize("fault", [LostReply(), Mute()], ids=str)
def test_a_conditional_put_recognises_its_own_object(
    route: str,
    make_store: Callable[..., Any],
    run: Run[Any],
    prefix: str,
    proxy: FaultProxy,
    clock: ManualClock,
    is_warm: bool,
    fault: Fault,
) -> None:
    impatient = make_store(route, proxy.endpoint_url, sleep=clock.sleep_async, try_timeout_s=0.3)
    if is_warm:
        run(impatient.put(f"{prefix}other", b""))
    before = proxy.count("PUT")
    proxy.script("PUT", fault)
    assert run(impatient.put(f"{prefix}key", b"mine", only_if_absent=True)) is True
    assert proxy.count("PUT") == before + 2
    assert run(impatient.get(f"{prefix}key")) == b"mine"


def test_a_conditional_put_does_not_take_anothers_object_for_its_own(
    store: Any, run: Run[Any], prefix: str, proxy: FaultProxy
) -> None:
    run(store.put(f"{prefix}key", b"body", only_if_absent=True))
    proxy.script("PUT", LostReply())
    # The same bytes, even: it is the write that is recognised, not what was written.
    assert run(store.put(f"{prefix}key", b"body", only_if_absent=True)) is False


def test_the_worker_takes_its_own_key_for_stored_after_a_lost_reply(
    worker: Any, run: Run[Any], prefix: str, proxy: FaultProxy
) -> None:
    proxy.script("PUT", LostReply())
    assert run(worker.put(f"{prefix}key", b"body", only_if_absent=True)) is True
    assert run(worker.put(f"{prefix}key", b"body", only_if_absent=True)) is False
    proxy.script("PUT", slow_down())  # refused before anything was done: no doubt about that one
    assert run(worker.put(f"{prefix}key", b"body", only_if_absent=True)) is False


def test_a_conflict_with_another_write_is_repeated(
    objects: Any, run: Run[Any], prefix: str, proxy: FaultProxy
) -> None:
    proxy.script("PUT", CONFLICT)
    assert run(objects.put(f"{prefix}key", b"body", only_if_absent=True)) is True


@pytest.mark.parametrize("objects", ["strict", "worker-strict"], indirect=True)
@pytest.mark.parametrize("fault", [slow_down(), Reset(), LostReply()], ids=str)
@pytest.mark.parametrize(
    ("method", "part"),
    [("POST", "uploads"), ("PUT", "partNumber=2"), ("PUT", "partNumber=3"), ("POST", "uploadId")],
)
def test_parts_are_repeated(
    objects: Any,
    run: Run[Any],
    prefix: str,
    proxy: FaultProxy,
    unfinished: Callable[[], list[Any]],
    method: str,
    part: str,
    fault: Fault,
) -> None:
    proxy.script(method, fault, part=part)
    assert run(objects.put(f"{prefix}key", LARGE, only_if_absent=True)) is True
    assert run(objects.get(f"{prefix}key")) == LARGE
    # An upload whose id was lost on the way cannot be aborted: the lifecycle rule takes it.
    assert len(unfinished()) == (part == "uploads" and fault == LostReply())


def test_an_error_in_a_200_is_an_error(
    objects: Any, run: Run[Any], prefix: str, proxy: FaultProxy
) -> None:
    proxy.script("POST", ErrorIn200(), part="uploadId")
    assert run(objects.put(f"{prefix}key", LARGE)) is True
    assert proxy.count("POST", "uploadId") == 2
    assert run(objects.get(f"{prefix}key")) == LARGE


def test_an_upload_that_met_a_conflict_begins_again(
    objects: Any,
    run: Run[Any],
    prefix: str,
    proxy: FaultProxy,
    unfinished: Callable[[], list[Any]],
) -> None:
    proxy.script("POST", CONFLICT, part="uploadId")
    assert run(objects.put(f"{prefix}key", LARGE, only_if_absent=True)) is True
    assert proxy.count("POST", "uploads") == 2
    assert run(objects.get(f"{prefix}key")) == LARGE
    assert unfinished() == []


def test_an_upload_that_lost_the_race_or_failed_is_aborted(
    objects: Any,
    run: Run[Any],
    prefix: str,
    proxy: FaultProxy,
    unfinished: Callable[[], list[Any]],
) -> None:
    run(objects.put(f"{prefix}key", b"first"))
    assert run(objects.put(f"{prefix}key", LARGE, only_if_absent=True)) is False
    assert unfinished() == []
    proxy.script("PUT", Answer(403, "AccessDenied"), part="partNumber=2")
    with pytest.raises((BackendError, S3Failed), match="AccessDenied"):
        run(objects.put(f"{prefix}key", LARGE))
    assert unfinished() == []
    assert run(objects.get(f"{prefix}key")) == b"first"


@pytest.mark.parametrize("fault", [slow_down(), Reset(), Cut(1000), LostReply()], ids=str)
def test_ranges_are_repeated(
    objects: Any, run: Run[Any], prefix: str, proxy: FaultProxy, fault: Fault
) -> None:
    run(objects.put(f"{prefix}key", LARGE))
    proxy.script("GET", None, fault, fault)
    assert run(objects.get(f"{prefix}key")) == LARGE


def test_an_object_overwritten_between_its_ranges_is_read_anew(
    objects: Any, run: Run[Any], prefix: str, proxy: FaultProxy, server: AwsServer
) -> None:
    other = LARGE[::-1]

    def overwrite() -> None:
        with server.client() as client:
            client.put_object(Bucket=server.bucket, Key=f"{prefix}key", Body=other)

    run(objects.put(f"{prefix}key", LARGE))
    proxy.script("GET", None, First(overwrite))
    assert run(objects.get(f"{prefix}key")) == other


@pytest.mark.parametrize("fault", [slow_down(), Cut(500), Cut(0), Reset(), Mute()], ids=str)
def test_a_listing_that_was_cut_is_repeated(
    make_store: Callable[..., Any],
    run: Run[Any],
    prefix: str,
    proxy: FaultProxy,
    clock: ManualClock,
    fault: Fault,
) -> None:
    store = make_store("strict", proxy.endpoint_url, sleep=clock.sleep_async, try_timeout_s=0.3)
    keys = [f"{prefix}{number}" for number in range(5)]
    for key in keys:
        run(store.put(key, b""))
    proxy.script("GET", fault)
    assert run(listed(store, prefix)) == keys


def test_keys_that_could_not_be_deleted_are_tried_again(
    store: Any, run: Run[Any], prefix: str, proxy: FaultProxy, clock: ManualClock
) -> None:
    keys = [f"{prefix}{number}" for number in range(3)]
    for key in keys:
        run(store.put(key, b""))
    content = (
        f"<DeleteResult><Error><Key>{keys[1]}</Key><Code>InternalError</Code>"
        "<Message>Again.</Message></Error></DeleteResult>"
    )
    proxy.script("POST", Answer(200, "", content=content))
    run(store.delete(keys))
    # The script's answer was no server's: of the three only the one that was refused is gone.
    assert run(listed(store, prefix)) == [keys[0], keys[2]]
    assert len(clock.waits_s) == 1
    denied = content.replace("InternalError", "AccessDenied")
    proxy.script("POST", Answer(200, "", content=denied))
    with pytest.raises(BackendError, match="s3:DeleteObject"):
        run(store.delete(keys))


def test_what_is_refused_is_not_repeated(
    objects: Any, run: Run[Any], prefix: str, proxy: FaultProxy, clock: ManualClock
) -> None:
    proxy.script("PUT", Answer(403, "AccessDenied"))
    with pytest.raises((BackendError, S3Failed), match="AccessDenied"):
        run(objects.put(f"{prefix}key", b""))
    with pytest.raises(BlobMissing):
        run(objects.get(f"{prefix}key"))
    assert (proxy.count("PUT"), proxy.count("GET"), clock.waits_s) == (1, 1, [])


def test_a_mute_server_is_left_at_the_deadline(
    make_store: Callable[..., Any], run: Run[Any], prefix: str, proxy: FaultProxy
) -> None:
    worker: WorkerObjects = make_store("worker-strict", proxy.endpoint_url)
    run(worker.put(f"{prefix}key", b"body"))
    clock = worker.client._http.clock
    proxy.script("GET", Mute())
    with pytest.raises(S3Failed, match=r"GetObject.*TimeoutError"):
        worker.client.get(f"{prefix}key", deadline_s=clock() + 0.3)


def test_requests_are_counted_as_they_are_sent(
    store: Any, run: Run[Any], prefix: str, proxy: FaultProxy
) -> None:
    proxy.script("PUT", slow_down())
    run(store.put(f"{prefix}key", b"body"))
    run(store.get(f"{prefix}key"))
    run(store.head(f"{prefix}key"))
    run(listed(store, prefix))
    run(store.delete([f"{prefix}key"]))
    assert dict(store.requests) == {
        "PutObject": 2,
        "GetObject": 1,
        "HeadObject": 1,
        "ListObjectsV2": 1,
        "DeleteObjects": 1,
    }
    assert len(proxy.seen) == store.requests.total()


def test_the_worker_counts_its_requests(
    worker: Any, run: Run[Any], prefix: str, proxy: FaultProxy
) -> None:
    proxy.script("GET", slow_down())
    run(worker.put(f"{prefix}key", b"body"))
    run(worker.get(f"{prefix}key"))
    assert dict(worker.client.requests) == {"PutObject": 1, "GetObject": 2}


def test_a_put_goes_out_at_once(
    objects: Any, run: Run[Any], prefix: str, proxy: FaultProxy
) -> None:
    """No `Expect: 100-continue`, which costs a round trip and hides the request from time-outs."""
    run(objects.put(f"{prefix}key", b"body"))
    assert ["expect" in each.headers for each in proxy.seen] == [False]


def test_connections_are_kept_and_used_again(
    objects: Any, run: Run[Any], prefix: str, proxy: FaultProxy
) -> None:
    for number in range(5):
        run(objects.put(f"{prefix}{number}", b"body"))
        run(objects.get(f"{prefix}{number}"))
    assert len({each.connection for each in proxy.seen}) == 1


def test_a_connection_that_s3_has_closed_costs_no_wait(
    objects: Any, run: Run[Any], prefix: str, proxy: FaultProxy, clock: ManualClock
) -> None:
    proxy.script("PUT", Close())
    run(objects.put(f"{prefix}key", b"body"))
    assert run(objects.get(f"{prefix}key")) == b"body"
    assert clock.waits_s == []


def test_the_end_of_a_connection_that_had_been_idle_costs_no_wait(
    objects: Any, run: Run[Any], prefix: str, proxy: FaultProxy, clock: ManualClock
) -> None:
    run(objects.put(f"{prefix}key", b"body"))
    proxy.script("GET", Reset())
    assert run(objects.get(f"{prefix}key")) == b"body"
    assert clock.waits_s == []


def test_the_workers_parts_share_the_connections_that_are_there(
    worker: Any, run: Run[Any], prefix: str, proxy: FaultProxy
) -> None:
    run(worker.put(f"{prefix}key", LARGE))
    run(worker.get(f"{prefix}key"))
    assert len({each.connection for each in proxy.seen}) <= 3


def test_many_requests_wait_for_connections_without_using_up_their_time(
    route: str, make_store: Callable[..., Any], run: Run[Any], prefix: str, proxy: FaultProxy
) -> None:
    store = make_store(route, proxy.endpoint_url, connections=2)

    async def put_many() -> None:
        await asyncio.gather(*(store.put(f"{prefix}{n}", b"") for n in range(20)))

    run(put_many())
    assert len({each.connection for each in proxy.seen}) == 2
