"""The HTTP layer under the services."""

import gc
import http.client
import socket
from urllib.parse import urlsplit

import pytest

from tests.strict_aws import StrictAws
from tests.strict_aws_tests.wire import connect, send_signed, signed


def put_head(aws: StrictAws, body: bytes, extra: str) -> bytes:
    request = signed(aws, "PUT", "/jobs/k", body)
    host = aws.endpoint_url.removeprefix("http://")
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"PUT /jobs/k HTTP/1.1\r\nHost: {host}\r\n{lines}{extra}\r\n".encode()


def test_expect_100_continue_is_answered_before_the_body(aws: StrictAws) -> None:
    with connect(aws) as sock:
        sock.sendall(put_head(aws, b"hello", "Expect: 100-continue\r\nContent-Length: 5\r\n"))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hello")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    assert aws.objects("jobs") == {"k": b"hello"}


def test_chunked_bodies_in_any_split(aws: StrictAws) -> None:
    data = (
        put_head(aws, b"hello", "Transfer-Encoding: chunked\r\n") + b"2\r\nhe\r\n3;x=y\r\nllo\r\n"
    )
    with connect(aws) as sock:
        for byte in data + b"0\r\n\r\n":
            sock.sendall(bytes([byte]))
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    assert aws.objects("jobs") == {"k": b"hello"}


def test_pipelined_requests_are_answered_in_order(aws: StrictAws) -> None:
    one = put_head(aws, b"1", "Content-Length: 1\r\n") + b"1"
    aws.latency["PutObject"] = 0.01
    with connect(aws) as sock:
        sock.sendall(one * 3)
        with sock.makefile("rb") as stream:
            for _ in range(3):
                assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
                while stream.readline() != b"\r\n":
                    pass
    assert aws.requests["PutObject"] == 3


def test_a_connection_serves_many_requests_and_head_has_no_body(aws: StrictAws) -> None:
    aws.put_object("jobs", "k", b"hello")
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(aws.endpoint_url).port)
    for method, body in [("HEAD", b""), ("GET", b"hello")] * 3:
        request = signed(aws, method, "/jobs/k")
        connection.request(method, "/jobs/k", headers=dict(request.headers.items()))
        response = connection.getresponse()
        assert (response.status, response.getheader("Content-Length")) == (200, "5")
        assert response.read() == body
    connection.close()


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n",
                                  b"GET / HTTP/1.1\r\nno colon\r\n\r\n"])  # fmt: skip
def test_what_is_not_http_is_refused(aws: StrictAws, data: bytes) -> None:
    with connect(aws) as sock:
        sock.sendall(data)
        assert sock.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_large_body_both_ways(aws: StrictAws) -> None:
    body = bytes(range(256)) * 4 * 1024 * 20
    assert send_signed(aws, signed(aws, "PUT", "/jobs/k", body))[0] == 200
    assert send_signed(aws, signed(aws, "GET", "/jobs/k"))[2] == body


@pytest.mark.parametrize("turns", range(6))
def test_what_connects_at_the_end_leaves_no_socket_behind(turns: int) -> None:
    """The fake may be told to stop at any turn of its loop after it has accepted a connection."""
    clients = []
    with StrictAws() as aws:
        address = "127.0.0.1", urlsplit(aws.endpoint_url).port
        stop = aws._stop.set

        def connect_and_stop(left: int = turns) -> None:
            if left == turns:
                clients.extend(socket.create_connection(address) for _ in range(5))
            if left:
                aws._loop.call_soon(connect_and_stop, left - 1)
            else:
                stop()

        aws._stop.set = connect_and_stop
    for client in clients:
        client.close()
    gc.collect()  # what was left open would be complained of here
