"""What an executor offers whose job outlives its client."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Self

from lambdafutures._arguments import check_durable, check_serializer
from lambdafutures._backends.connect import Choice, Connection, OnAws, connect
from lambdafutures._engine.chunk import CallOptions
from lambdafutures._environment.choose import choose as choose_environment
from lambdafutures._pool import Pool
from lambdafutures._wire import invocation, seal
from lambdafutures._wire.payload import SessionHead
from lambdafutures.events import Observer
from lambdafutures.exceptions import WireError
from lambdafutures.jobs import JobHandle, root_of
from lambdafutures.observability.progress import watching
from lambdafutures.options import Limits, RetryPolicy

if TYPE_CHECKING:
    from lambdafutures._engine.durable.job import DurableJob
    from lambdafutures.futures import LambdaFuture

NOT_DURABLE = "this executor is not durable: make it with LambdaPoolExecutor(durable=True)"


class DurableExecutor(Executor):
    """Attach to jobs, and say what there is to know of one's own."""

    _pool: Pool
    _choice: Choice
    _options: CallOptions

    @classmethod
    def attach(
        cls,
        handle: JobHandle | str | os.PathLike[str],
        max_workers: int | None = None,
        *,
        retry: RetryPolicy | None = None,
        limits: Limits | None = None,
        observers: Sequence[Observer] = (),
        progress: bool = False,
    ) -> Self:
        """Return an executor that goes on with a durable job.

        Its `futures` are those of all calls of the job, done or not. It collects what is there,
        waits for what may still run, and runs what is lost or was never sent. It takes more calls,
        too. A process that was attached until now ends with an error. Reading the job takes some
        requests; in an event loop, use ``await asyncio.to_thread(LambdaPoolExecutor.attach, ...)``.

        Args:
            handle: The job's handle, or its file, or the job's id where its file is known.
            max_workers: Calls that run at once; as for a new executor.
            retry: How often calls that are submitted from now on are tried.
            limits: What they may use; of memory, by default what was said when the job was made.
            observers: Told of everything that happens.
            progress: Show a progress bar; needs the ``progress`` extra.

        Raises:
            JobNotFound: If there is no such job, or not all of it any more.
            WireError: If an object of the job was written by somebody else, or the job was made
                with another version of Python or of lambdafutures.
            BackendError: If the job's store cannot be reached.
            ValueError: If an argument is out of range, or a file is no handle.
        """
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if not isinstance(handle, JobHandle):
            handle = JobHandle.load(handle)
        from lambdafutures._backends.job_store import open_store, prefix_of, with_store
        from lambdafutures._engine.durable.job import DurableJob, take_over
        from lambdafutures._engine.durable.place import JobPlace

        place = JobPlace(prefix_of(handle), handle.session, handle.key)
        found = with_store(handle, lambda store: take_over(store, place, _check))
        limits = limits or Limits()
        limit_mb = limits.memory_mb or found.head.limit_mb
        on_aws = OnAws(
            completion=invocation.POLL,
            memory_mb=found.head.memory_mb,
            key=handle.key,
            known=handle.deployment,
        )
        choice = Choice(handle.backend, f"job {handle.session} runs there")
        connection = connect(choice, max_workers, Limits(memory_mb=limit_mb), None, on_aws)
        store = connection.store or open_store(handle)
        job = DurableJob(handle, prefix_of(handle), store, found=found)
        made = cls.__new__(cls)
        serializer = found.head.session.serializer
        pool = Pool(
            connection,
            serializer,
            None,
            (),
            watching(observers, progress),
            job,
            choose_environment(choice.name, connection.deployment, serializer),
        )
        made._set_up(choice, pool, CallOptions(retry or RetryPolicy(), limits.time_s))
        pool.open()
        return made

    def _set_up(self, choice: Choice, pool: Pool, options: CallOptions) -> None:
        self._choice = choice
        self._pool = pool
        self._options = options
        self._max_workers = pool.max_workers
        self._sizes_mb = pool.sizes_mb

    @property
    def handle(self) -> JobHandle:
        """What another process needs to attach to this executor's job; it contains a secret.

        Raises:
            RuntimeError: If the executor is not durable.
        """
        return self._job.handle

    @property
    def futures(self) -> tuple[LambdaFuture[Any], ...]:
        """Futures of the calls that earlier clients of the job have submitted, in order."""
        return self._pool.job.futures if self._pool.job is not None else ()

    def wait_durable(self, timeout: float | None = None) -> None:
        """Wait until functions and arguments of all calls submitted so far are stored.

        From then on this process may end in any way: nothing that was submitted is lost.

        Args:
            timeout: Seconds to wait at the most; None for as long as it takes.

        Raises:
            TimeoutError: If they are not by then.
            BackendError: If they cannot be stored.
            RuntimeError: If the executor is not durable.
        """
        self._pool.check_process()
        self._job.wait_stored(timeout)

    @property
    def _job(self) -> DurableJob:
        if self._pool.job is None:
            raise RuntimeError(NOT_DURABLE)
        return self._pool.job


def new_key(backend: str, completion: str, requirements: object = None) -> bytes:
    """Return a signing key for a new job.

    Args:
        backend: Name of the backend.
        completion: How outcomes come home, as the user wishes it.
        requirements: Packages that travel, or None.

    Raises:
        ValueError: If outcomes, or what calls need, would not outlive the client.
    """
    check_durable(backend, completion, requirements)
    return os.urandom(seal.KEY_BYTES)


def new_job(
    choice: Choice,
    connection: Connection,
    key: bytes,
    memory_mb: int | None,
    limit_mb: int | None,
) -> DurableJob:
    """Return a new job.

    Args:
        choice: The backend.
        connection: The same.
        key: The job's signing key.
        memory_mb: Which of the deployment's functions runs its calls, by its memory in MiB.
        limit_mb: Memory that a call may use, in MiB.
    """
    from lambdafutures._backends.job_store import open_store, prefix_of
    from lambdafutures._engine.durable.job import DurableJob

    session = os.urandom(6).hex()
    root = "" if connection.deployment is not None else str(root_of(session).absolute())
    handle = JobHandle(session, choice.name, key, time.time(), root, connection.deployment)
    store = connection.store or open_store(handle)
    return DurableJob(handle, prefix_of(handle), store, memory_mb, limit_mb)


def _check(head: SessionHead) -> None:
    """Refuse a job that this Python cannot go on with."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if head.python != here:
        raise WireError(
            f"job {head.session} was made with Python {head.python}, and its pickles are not for "
            f"Python {here}: attach with Python {head.python}"
        )
    check_serializer(head.serializer)
