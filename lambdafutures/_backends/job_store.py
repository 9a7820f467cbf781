"""The store of a durable job, from the job's handle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from lambdafutures._backends.base import Store
from lambdafutures.jobs import JobHandle

T = TypeVar("T")

# Of local jobs; each has a folder of its own.
LOCAL_PREFIX = "lambdafutures"


def prefix_of(handle: JobHandle) -> str:
    """Return the prefix of all keys of a job's store.

    Args:
        handle: The job's handle.
    """
    return handle.deployment.prefix if handle.deployment is not None else LOCAL_PREFIX


def open_store(handle: JobHandle) -> Store:
    """Return a job's store.

    Args:
        handle: The job's handle.
    """
    if handle.deployment is None:
        from lambdafutures._backends.file_store import FileStore

        return FileStore(Path(handle.root))
    from lambdafutures._backends.s3_store import S3Store

    return S3Store(handle.deployment.bucket, handle.deployment.region)


def with_store(handle: JobHandle, use: Callable[[Store], Awaitable[T]]) -> T:
    """Return what comes of using a job's store, on an event loop of its own.

    That runs on another thread: the caller's may have a running loop.

    Args:
        handle: The job's handle.
        use: What to do with the store.

    Raises:
        Exception: What `use` raises.
    """

    async def run() -> T:
        store = open_store(handle)
        try:
            return await use(store)
        finally:
            await store.close()

    with ThreadPoolExecutor(1, "lambdafutures-job") as threads:
        return threads.submit(asyncio.run, run()).result()
