"""What an executor and those made from it by `with_options` share: a backend, and its session."""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from lambdafutures._backends.connect import Connection
from lambdafutures._endings import without_frames
from lambdafutures._engine import chunking, exit_drain
from lambdafutures._engine.chunk import CallOptions, Chunk, Function
from lambdafutures._engine.mapping import Course, MapOptions, MapResults
from lambdafutures._engine.packing import Packer
from lambdafutures._packed_future import ChunkFuture
from lambdafutures._wire import codec
from lambdafutures._wire.payload import SessionHead
from lambdafutures.events import Observer
from lambdafutures.futures import LambdaFuture

if TYPE_CHECKING:
    from lambdafutures._engine.durable.job import DurableJob
    from lambdafutures._engine.session import Session
    from lambdafutures._environment.environment import Environment
    from lambdafutures._wire.bundle import Bundle

# How deep executors may nest: Lambda stops a chain at about 16 invocations of one function.
MAX_DEPTH = 15
DEPTH_VARIABLE = "LAMBDAFUTURES_DEPTH"


class Pool:
    """Start a session when the first call comes, hand it chunks, and end it.

    Args:
        connection: The backend.
        serializer: Who pickles what plain pickle cannot.
        initializer: Called once in each worker, or None.
        initargs: Its arguments.
        observers: Who is told what happens.
        job: What makes it durable, or None.
        environment: What calls need besides their pickles; None where workers have what we have.
    """

    def __init__(
        self,
        connection: Connection,
        serializer: str,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        observers: Sequence[Observer],
        job: DurableJob | None = None,
        environment: Environment | None = None,
    ) -> None:
        self.name = os.urandom(6).hex() if job is None else job.handle.session
        self.job = job
        self.invoker = connection.invoker
        self.max_workers = connection.max_workers
        self.sizes_mb = connection.sizes_mb
        self.session: Session | None = None
        self.is_shut_down = False
        self._connection = connection
        self._serializer = serializer
        self._initializer = initializer
        self._initargs = initargs
        self._observers = observers
        self.environment = environment
        self._dumps = (
            environment.dumps if environment else partial(codec.dumps, serializer=serializer)
        )
        self._packer = Packer(self._dumps)
        self._numbers = itertools.count(job.next_chunk if job is not None else 0)
        self._depth = _next_depth()
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def open(self) -> Session:
        """Return the running session, started by the first call.

        Raises:
            RuntimeError: If the pool was shut down, or was made before a fork.
            BrokenProcessPool: If nothing can run any more.
        """
        self.check_process()
        with self._lock:
            self._check_open()
            if self.session is None:
                self.session = self._start_session()
                finish = weakref.finalize(self, self.session.finish)
                finish.atexit = False  # the drain at exit sees to that
            session = self.session
        if session.broken is not None:
            # A copy: the traceback of one that is raised again and again grows with each time.
            raise copy.copy(session.broken)
        return session

    def check_process(self) -> None:
        """Raise RuntimeError in a forked child: it has none of the pool's threads."""
        if self._pid != os.getpid():
            raise RuntimeError("this executor was made before a fork of its process: make one here")

    def submit(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: CallOptions,
    ) -> LambdaFuture[Any]:
        """Have one call made, and return its future.

        Args:
            fn: What to call.
            args: Positional arguments.
            kwargs: Keyword arguments.
            options: How the call is to be run.

        Raises:
            RuntimeError: If the pool was shut down.
            BrokenProcessPool: If nothing can run any more.
        """
        session = self.open()
        number = next(self._numbers)
        future: LambdaFuture[Any] = LambdaFuture(self.name, number)
        item: object = (args, kwargs) if kwargs else args
        try:
            function = self._packer.pack_function(fn)
            parts = self._packer.pack_call(item)
        except Exception as error:  # noqa: BLE001 - pickling is user code; it fails this call alone
            _fail(future, error)
            return future
        now_s = time.time()
        chunk = Chunk(
            number, 1, function, parts, bool(kwargs), future, now_s, options, self._bundles
        )
        self._hand_over(session, chunk)
        return future

    def map(
        self,
        fn: Callable[..., Any],
        items: Iterator[tuple[Any, ...]],
        length: int | None,
        how: MapOptions,
        options: CallOptions,
    ) -> MapResults[Any]:
        """Have many calls made, and return their results.

        Args:
            fn: What to call.
            items: The arguments of each call.
            length: How many items there are; None if nobody knows.
            how: What the user wishes of the map.
            options: How the calls are to be run.

        Raises:
            RuntimeError: If the pool was shut down.
            BrokenProcessPool: If nothing can run any more.
        """
        deadline_s = None if how.timeout is None else time.monotonic() + how.timeout
        session = self.open()
        pending: deque[ChunkFuture] = deque()
        try:
            function = self._packer.pack_function(fn)
        except Exception as error:  # noqa: BLE001 - pickling is user code
            future = ChunkFuture()
            _fail(future, error)
            pending.append(future)
            return MapResults.of(Course(pending, None, deadline_s))
        if how.chunksize == "auto" and how.buffersize is None:
            known = list(items)
            items, length = iter(known), len(known)
        chunks = chunking.split(items, how.chunksize, self.max_workers, length)
        for chunk in itertools.islice(chunks, how.buffersize):
            pending.extend(self._submit_items(session, function, chunk, options))
        more = None
        if how.buffersize is not None:
            pool = weakref.ref(self)
            more = partial(_submit_more, pool, session, function, chunks, options, pending)
        return MapResults.of(Course(pending, more, deadline_s, how.ordered, how.return_exceptions))

    def _submit_items(
        self, session: Session, function: Function, items: list[Any], options: CallOptions
    ) -> Iterator[ChunkFuture]:
        for packed in self._packer.pack_calls(items):
            future = ChunkFuture(packed.calls)
            if packed.error is not None:
                _fail(future, packed.error)
            else:
                number = next(self._numbers)
                now_s = time.time()
                calls, parts = packed.calls, packed.parts
                chunk = Chunk(
                    number, calls, function, parts, False, future, now_s, options, self._bundles
                )
                self._hand_over(session, chunk)
            yield future

    def _hand_over(self, session: Session, chunk: Chunk) -> None:
        if self.job is not None:
            self.job.prepare(chunk.options)
        chunk.future._belong_to(session, chunk)
        # Under the lock, so that no chunk reaches a session after it was told to finish.
        with self._lock:
            self._check_open()
            session.submit(chunk)

    def shut_down(self, wait: bool, *, cancel_futures: bool, kill: bool = False) -> None:
        """Take no more chunks, and end once the pending ones have ended.

        Args:
            wait: Return only when everything has ended.
            cancel_futures: Cancel the calls that have not been sent.
            kill: End the workers at once.
        """
        with self._lock:
            self.is_shut_down = True
            session = self.session
        if session is not None and self._pid == os.getpid():
            session.finish(cancel_waiting=cancel_futures, kill=kill)
            if wait:
                session.join()

    def _check_open(self) -> None:
        if self.is_shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if exit_drain.is_shutting_down():
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    @property
    def _bundles(self) -> Sequence[Bundle]:
        if self.environment is None:
            return ()
        if self.job is not None and self.job.head is not None:
            # What the job's first client asked for, its new calls have, too.
            return (*self.environment.bundles, *self.job.head.bundles)
        return self.environment.bundles

    def _start_session(self) -> Session:
        if self.environment is not None:
            self.environment.open()
        head = self._head()
        # The first worker boots while this process imports asyncio.
        self.invoker.prestart(head)
        try:
            if self.job is not None:
                return self.job.open(self.invoker, head, self._observers)
            from lambdafutures._engine.session import Session

            return Session(self.name, self.invoker, self._observers)
        except BaseException:
            self.invoker.discard()
            raise

    def _head(self) -> SessionHead:
        """Return what workers are told."""
        if self.job is not None and self.job.head is not None:
            return self.job.head
        environment = self.environment
        initializer = None
        if self._initializer is not None:
            initializer = self._dumps((self._initializer, self._initargs))
        # The paths mean nothing on another machine.
        sys_path = None
        if self._connection.is_here:
            sys_path = environment.path if environment else _sys_path()
        return SessionHead(
            self.name,
            f"{sys.version_info.major}.{sys.version_info.minor}",
            self._serializer,
            initializer,
            environment=self._connection.environment,
            sys_path=sys_path,
            log_level=logging.getLogger().level,
            depth=self._depth,
            bundles=self._bundles,
            is_bare=environment is not None,
        )


def _submit_more(
    pool: weakref.ref[Pool],
    session: Session,
    function: Function,
    chunks: Iterator[list[Any]],
    options: CallOptions,
    pending: deque[ChunkFuture],
) -> None:
    alive = pool()
    items = next(chunks, None)
    if alive is not None and items is not None:
        pending.extend(alive._submit_items(session, function, items, options))


def _fail(future: LambdaFuture[Any] | ChunkFuture, error: BaseException) -> None:
    future.set_running_or_notify_cancel()
    future.set_exception(without_frames(error))


def _sys_path() -> list[str]:
    """Return the import path for workers: the working directory by its name, strings only."""
    found = []
    for entry in sys.path:
        if isinstance(entry, str):  # the import system passes over anything else
            with contextlib.suppress(FileNotFoundError):  # a working directory that is gone
                found.append(entry or os.getcwd())
    return found


def _next_depth() -> int:
    depth = int(os.environ.get(DEPTH_VARIABLE, "0")) + 1
    if depth > MAX_DEPTH:
        raise RuntimeError(
            f"executors are nested {depth} deep, more than {MAX_DEPTH}: a call that opens an "
            "executor which runs the same call never ends"
        )
    return depth
