"""HTTP over bare asyncio: any way an answer arrives, and any way it does not."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl

import botocore.exceptions as boto
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdafutures._backends import http_connections
from lambdafutures._backends.http_connections import (
    HttpAnswer,
    HttpConnections,
    NotConnected,
    _HalfAnswer,
)
from tests.aws_servers import free_ports
from tests.stores.scripted_server import (
    CLOSE,
    MUTE,
    Held,
    ScriptedServer,
    ThenClose,
    answer,
)

GET = b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
OK = answer(body=b"body")


def connections(server: ScriptedServer, **changes: object) -> HttpConnections:
    arguments = {
        "url": server.url,
        "host": "127.0.0.1",
        "port": server.port,
        "tls": None,
        "connect_timeout_s": 5.0,
    }
    return HttpConnections(**(arguments | changes))  # type: ignore[arg-type]


async def ask(http: HttpConnections, *, is_repeatable: bool = True) -> HttpAnswer:
    return await http.send(GET, is_repeatable=is_repeatable)


async def idle_ended(http: HttpConnections) -> None:
    """Return once the client has noticed that its idle connection is of no use."""
    async with asyncio.timeout(10):
        while http._idle[-1].is_reusable:
            await asyncio.sleep(0)


# -------------------------------------------------------------------- what an answer is

WHOLE = [
    (OK, 200, b"body"),
    (answer(404, b"<Error/>"), 404, b"<Error/>"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    (b"HTTP/1.1 202 Accepted\r\ncontent-length:0\r\n\r\n", 202, b""),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"body"),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 P\r\nA: b\r\n\r\n" + OK, 200, b"body"),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"4\r\nbody\r\nA;name=value\r\n0123456789\r\n0\r\n\r\n",
        200,
        b"body0123456789",
    ),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\nA: b\r\nC: d\r\n\r\n",
        200,
        b"",
    ),
    (b"HTTP/1.1 503 \r\nContent-Length: 1\r\n\r\nx", 503, b"x"),
]


@settings(max_examples=200, deadline=None)
@given(case=st.sampled_from(WHOLE), cuts=st.lists(st.integers(0, 200), max_size=6))
def test_an_answer_is_the_same_however_it_is_cut(
    case: tuple[bytes, int, bytes], cuts: list[int]
) -> None:
    raw, status, body = case
    bounds = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    half, data = _HalfAnswer(), bytearray()
    found = None
    for start, end in itertools.pairwise(bounds):
        assert found is None or start == end == len(raw)
        data += raw[start:end]
        found = half.read(data, is_end=False) if found is None else found
    assert found is not None
    assert (found.status, found.body, bytes(data)) == (status, body, b"")


@pytest.mark.parametrize(("raw", "status", "body"), WHOLE)
def test_no_part_of_an_answer_is_taken_for_all_of_it(raw: bytes, status: int, body: bytes) -> None:
    for end in range(len(raw)):
        half, data = _HalfAnswer(), bytearray(raw[:end])
        assert half.read(data, is_end=False) is None
        assert half.read(data, is_end=True) is None


def test_headers_are_found_by_small_letters() -> None:
    half = _HalfAnswer()
    found = half.read(
        bytearray(answer(headers='ETag: "x"\r\nX-Amz-A:  b c \r\nEmpty:\r\n')), is_end=False
    )
    assert found is not None
    assert found.headers == {"etag": '"x"', "x-amz-a": "b c", "empty": "", "content-length": "0"}


def test_without_a_length_the_end_of_the_connection_is_the_bodys() -> None:
    async def main() -> None:
        raw = b"HTTP/1.1 200 OK\r\n\r\nall of it"
        async with ScriptedServer([ThenClose(raw)]) as server:
            http = connections(server)
            assert (await ask(http)).body == b"all of it"
            assert (await ask(http)).body == b"all of it"
            assert server.connections == 2
            http.close()

    asyncio.run(main())


DAMAGED = [
    b"SSH-2.0-OpenSSH\r\n\r\n",
    b"HTTP/1.1 abc\r\n\r\n",
    b"HTTP/2 200\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n0123456789",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-4\r\nbody\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nbody\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbody\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("raw", DAMAGED)
def test_what_is_not_http_is_an_error_and_ends_the_connection(raw: bytes) -> None:
    async def main() -> None:
        async with ScriptedServer([raw, OK]) as server:
            http = connections(server)
            with pytest.raises(boto.ConnectionClosedError):
                await ask(http)
            assert (await ask(http)).body == b"body"
            assert server.connections == 2
            http.close()

    asyncio.run(main())


@pytest.mark.parametrize("cut", [OK[:10], OK[:-1], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: "])
def test_an_answer_that_was_cut_is_an_error(cut: bytes) -> None:
    async def main() -> None:
        async with ScriptedServer([OK, ThenClose(cut), OK]) as server:
            http = connections(server)
            await ask(http)
            with pytest.raises(boto.ConnectionClosedError):  # and is not asked for again
                await ask(http)
            assert len(server.seen) == 2
            http.close()

    asyncio.run(main())


# -------------------------------------------------------------------- connections


def test_connections_are_used_again_and_hold_one_request_each() -> None:
    async def main() -> None:
        gate = asyncio.Event()
        script = [OK, OK, Held(answer(body=b"1"), gate), Held(answer(body=b"2"), gate), OK]
        async with ScriptedServer(script) as server:
            http = connections(server)
            await ask(http)
            await ask(http)
            assert server.connections == 1
            both = asyncio.gather(ask(http), ask(http))
            while len(server.seen) < 4:
                await asyncio.sleep(0)
            gate.set()
            assert sorted(each.body for each in await both) == [b"1", b"2"]
            assert server.connections == 2
            await ask(http)
            assert server.connections == 2
            http.close()

    asyncio.run(main())


def test_an_idle_connection_that_ends_is_replaced_without_an_error() -> None:
    async def main() -> None:
        async with ScriptedServer([OK]) as server:
            http = connections(server)
            await ask(http)
            server.drop()
            for is_repeatable in (True, False):
                # Its end has been noticed: even what may not be sent twice goes out, once.
                await idle_ended(http)
                assert (await ask(http, is_repeatable=is_repeatable)).body == b"body"
                server.drop()
            assert len(server.seen) == 3
            http.close()

    asyncio.run(main())


@pytest.mark.parametrize("is_repeatable", [True, False])
def test_a_request_that_met_the_end_of_its_connection(is_repeatable: bool) -> None:
    async def main() -> None:
        async with ScriptedServer([OK, CLOSE, OK]) as server:
            http = connections(server)
            await ask(http)
            if is_repeatable:
                assert (await ask(http, is_repeatable=True)).body == b"body"
                assert len(server.seen) == 3
            else:
                with pytest.raises(boto.ConnectionClosedError):
                    await ask(http, is_repeatable=False)
                assert len(server.seen) == 2
            http.close()

    asyncio.run(main())


def test_a_fresh_connection_that_ends_is_an_error_at_once() -> None:
    async def main() -> None:
        async with ScriptedServer([CLOSE]) as server:
            http = connections(server)
            with pytest.raises(boto.ConnectionClosedError):
                await ask(http)
            assert len(server.seen) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    "first",
    [
        answer(headers="Connection: close\r\n"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        answer() + b"more than was asked for",
    ],
)
def test_a_connection_that_is_done_with_is_not_used_again(first: bytes) -> None:
    async def main() -> None:
        async with ScriptedServer([first, OK]) as server:
            http = connections(server)
            await ask(http)
            assert (await ask(http)).body == b"body"
            assert server.connections == 2
            http.close()

    asyncio.run(main())


def test_a_connection_that_says_what_nobody_asked_is_not_used_again() -> None:
    async def main() -> None:
        async with ScriptedServer([OK]) as server:
            http = connections(server)
            await ask(http)
            server.say(answer(408, b"too late"))
            await idle_ended(http)
            assert (await ask(http)).status == 200
            assert server.connections == 2
            http.close()

    asyncio.run(main())


def test_the_answer_to_a_request_that_was_given_up_goes_to_nobody_else() -> None:
    async def main() -> None:
        gate = asyncio.Event()
        async with ScriptedServer([OK, Held(answer(body=b"late"), gate), OK]) as server:
            http = connections(server)
            await ask(http)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await ask(http)
            gate.set()
            assert (await ask(http)).body == b"body"
            assert server.connections == 2
            http.close()

    asyncio.run(main())


def test_an_old_idle_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with ScriptedServer([OK]) as server:
            http = connections(server)
            await ask(http)
            now_s = http._clock()
            http._clock = lambda: now_s + http_connections.IDLE_MAX_S - 1
            await ask(http)
            assert server.connections == 1
            http._clock = lambda: now_s + 3 * http_connections.IDLE_MAX_S
            await ask(http)
            assert server.connections == 2
            http.close()

    asyncio.run(main())


def test_a_silent_connection_is_probed_by_the_system() -> None:
    async def main() -> None:
        async with ScriptedServer([OK]) as server:
            http = connections(server)
            await ask(http)
            transport = http._idle[0]._transport
            assert transport is not None
            sock = transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if hasattr(socket, "TCP_KEEPIDLE"):
                idle_s = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                assert idle_s == http_connections.KEEPALIVE_S
            http.close()

    asyncio.run(main())


def test_closing_closes_what_is_idle() -> None:
    async def main() -> None:
        async with ScriptedServer([OK]) as server:
            http = connections(server)
            await asyncio.gather(*(ask(http) for _ in range(5)))
            http.close()
            async with asyncio.timeout(5):
                await asyncio.gather(*server._tasks)

    asyncio.run(main())


# -------------------------------------------------------------------- servers that are not there


def test_a_server_that_is_not_there() -> None:
    async def main() -> None:
        (port,) = free_ports(1)
        http = HttpConnections(f"http://127.0.0.1:{port}", "127.0.0.1", port, None, 5.0)
        with pytest.raises(NotConnected, match=str(port)):
            await ask(http)

    asyncio.run(main())


def test_a_name_that_does_not_exist() -> None:
    async def main() -> None:
        http = HttpConnections("http://nowhere.invalid", "nowhere.invalid", 80, None, 5.0)
        with pytest.raises(NotConnected, match=r"nowhere\.invalid"):
            await ask(http)

    asyncio.run(main())


def test_another_address_is_tried_and_the_name_is_not_looked_up_each_time() -> None:
    async def main() -> None:
        async with ScriptedServer([OK]) as server:
            http = connections(server, host="several.example")
            asked = []

            async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
                asked.append(host)
                # Nobody listens there: the server is bound to one address.
                return [(0, 0, 0, "", (address, port)) for address in ("127.0.0.9", "127.0.0.1")]

            loop = asyncio.get_running_loop()
            original = loop.getaddrinfo

            async def resolve(host: str, port: int, **options: object) -> list[object]:
                looks_up = getaddrinfo if host == "several.example" else original
                return await looks_up(host, port, **options)  # type: ignore[operator,no-any-return]

            loop.getaddrinfo = resolve  # type: ignore[method-assign,assignment]
            answers = await asyncio.gather(*(ask(http) for _ in range(4)))
            assert [each.body for each in answers] == [b"body"] * 4
            assert asked == ["several.example"]
            http.close()

    asyncio.run(main())


def test_a_server_that_does_not_shake_hands() -> None:
    async def main() -> None:
        async with ScriptedServer([MUTE]) as server:
            http = connections(server, tls=ssl.create_default_context(), connect_timeout_s=0.05)
            with pytest.raises(boto.ConnectTimeoutError):
                await ask(http)

    asyncio.run(main())
