"""What an Invoke that failed means."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from botocore.exceptions import ConnectionClosedError, ConnectTimeoutError, EndpointConnectionError

from lambdafutures._backends.lambda_errors import fault_or_break
from lambdafutures._wire import outcome
from lambdafutures._wire.outcome import Fault

URL = "http://127.0.0.1:1"
KEY = ConnectionKey("127.0.0.1", 1, False, False, None, None, None)
REFUSED = aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(111, "Connection refused"))
RESET = aiohttp.ClientOSError(104, "Connection reset by peer")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EndpointConnectionError(endpoint_url=URL, error=REFUSED), outcome.NOT_RUN),
        (ConnectTimeoutError(endpoint_url=URL), outcome.NOT_RUN),
        # The function may have run: the connection broke after the request had gone.
        (EndpointConnectionError(endpoint_url=URL, error=RESET), outcome.LOST),
        (ConnectionClosedError(endpoint_url=URL), outcome.LOST),
        (ValueError("who knows"), outcome.LOST),
    ],
)
def test_only_what_was_never_sent_has_surely_not_run(error, kind):
    fault = fault_or_break(error, "f", "us-east-1")
    assert isinstance(fault, Fault)
    assert fault.kind == kind
