"""`LambdaFuture` by itself, apart from any executor."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

from lambdafutures import LambdaFuture


def test_a_future_of_no_executor_is_a_plain_future():
    future: LambdaFuture[int] = LambdaFuture()
    assert "pending" in repr(future)
    future.set_running_or_notify_cancel()
    future.set_result(3)
    assert (future.result(), future.exception(), future.attempts) == (3, None, 0)
    assert asyncio.run(future.coroutine()) == 3


def test_our_futures_have_the_fields_of_the_standard_librarys():
    assert vars(Future()).keys() <= vars(LambdaFuture()).keys()
