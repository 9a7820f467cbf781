"""`LambdaPoolExecutor`: `concurrent.futures.ProcessPoolExecutor`, with AWS Lambda for processes."""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
import os
import sys
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from lambdafutures._arguments import check_executor, check_map
from lambdafutures._backends.connect import OnAws, choose_backend, connect
from lambdafutures._engine import chunking, exit_drain, mapping
from lambdafutures._engine.chunk import Chunk, Function
from lambdafutures._engine.packing import Packer
from lambdafutures._packed_future import ChunkFuture
from lambdafutures._wire import codec
from lambdafutures._wire.payload import SessionHead
from lambdafutures.events import Observer
from lambdafutures.futures import LambdaFuture
from lambdafutures.observability.stats import Statistics
from lambdafutures.options import Limits, RetryPolicy

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from lambdafutures._engine.session import Session

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("lambdafutures")

# How deep executors may nest: Lambda stops a chain at about 16 invocations of one function.
MAX_DEPTH = 15
COMPLETIONS = ("auto", "response", "poll")
DEPTH_VARIABLE = "LAMBDAFUTURES_DEPTH"


class LambdaPoolExecutor(Executor):
    """Run calls on AWS Lambda, or on processes of this machine, as `ProcessPoolExecutor` does.

    The first five parameters are those of `concurrent.futures.ProcessPoolExecutor`.

    Args:
        max_workers: Calls that run at once; by default the number of processors (local) or the
            account's concurrency (AWS).
        mp_context: Accepted for compatibility, and warned about: no multiprocessing is used.
        initializer: Called once in each worker before its first call.
        initargs: Arguments for `initializer`.
        max_tasks_per_child: Submitted calls, or chunks of a map, after which a local worker is
            replaced by a fresh one.
        backend: ``"local"`` or ``"aws"``. By default what `$LAMBDAFUTURES_BACKEND` names, else AWS
            if a deployment is set up, else local.
        deployment: Name of the deployment on AWS; by default what `$LAMBDAFUTURES_DEPLOYMENT`
            names, else the one that is set up.
        completion: How outcomes come home from AWS: ``"response"`` holds a connection for each
            call that runs, ``"poll"`` looks for them in the store, ``"auto"`` does the former up
            to several hundred at once and the latter beyond.
        memory_mb: Which of the deployment's functions on AWS; by default its smallest.
        serializer: ``"cloudpickle"`` or ``"dill"``: who pickles what plain pickle cannot.
        retry: How often a call is tried.
        limits: What a call may use.
        observers: Told of everything that happens.
        progress: Show a progress bar; needs the ``progress`` extra.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If an argument has the wrong type, or is misspelt.
        DeploymentNotFound: If the backend is AWS and nothing is deployed.
        MissingExtra: If an optional package is needed and missing.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        backend: Literal["local", "aws"] | None = None,
        deployment: str | None = None,
        completion: Literal["auto", "response", "poll"] = "auto",
        memory_mb: int | None = None,
        serializer: Literal["cloudpickle", "dill"] = "cloudpickle",
        retry: RetryPolicy | None = None,
        limits: Limits | None = None,
        observers: Sequence[Observer] = (),
        progress: bool = False,
    ) -> None:
        check_executor(max_workers, initializer, max_tasks_per_child, serializer)
        if completion not in COMPLETIONS:
            raise ValueError(f"completion must be one of {COMPLETIONS}, not {completion!r}")
        if mp_context is not None:
            warnings.warn(
                "mp_context is ignored: workers are fresh interpreters or Lambda functions, "
                "not processes of multiprocessing",
                stacklevel=2,
            )
        self._choice = choose_backend(backend, deployment_name=deployment)
        self._limits = limits or Limits()
        self._retry = retry or RetryPolicy()
        self._connection = connect(
            self._choice,
            max_workers,
            self._limits,
            max_tasks_per_child,
            OnAws(deployment, completion, memory_mb),
        )
        self._invoker, self._max_workers = self._connection[:2]
        _log.info("lambdafutures: %s backend, because %s", self._choice.name, self._choice.reason)
        self._observers = [*observers, *_progress_observers(progress)]
        self._packer = Packer(serializer)
        self._serializer = serializer
        self._initializer = initializer
        self._initargs = initargs
        self._depth = _next_depth()
        self._id = os.urandom(6).hex()
        self._numbers = itertools.count()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._is_shut_down = False

    # ---------------------------------------------------------------- Executor

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> LambdaFuture[T]:
        """Have `fn(*args, **kwargs)` called by a worker, and return its future.

        Function and arguments are pickled before this returns, but large arrays are read only when
        the call is sent, and again should it have to be retried: do not change them before its
        future is done.

        Args:
            fn: What to call: any function, a lambda or a closure too.
            args: Positional arguments.
            kwargs: Keyword arguments.

        Raises:
            RuntimeError: If the executor was shut down.
            BrokenProcessPool: If the executor is broken.
        """
        session = self._open_session()
        number = next(self._numbers)
        future: LambdaFuture[T] = LambdaFuture(self._id, number)
        item: object = (args, kwargs) if kwargs else args
        try:
            function = self._packer.pack_function(fn)
            parts = self._packer.pack_call(item)
        except Exception as error:  # noqa: BLE001 - pickling is user code; it fails this call alone
            _fail(future, error)
            return future
        chunk = Chunk(number, 1, function, parts, bool(kwargs), future, time.time())
        future._belong_to(session, chunk)
        self._hand_over(session, chunk)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | Literal["auto"] = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Call `fn` on the items of `iterables` in workers, and return the results in order.

        Args:
            fn: What to call, with as many arguments as there are iterables.
            iterables: What to call it on; the shortest ends the map. They are read at once, unless
                `buffersize` is given.
            timeout: Seconds from now after which asking for a result raises `TimeoutError`.
            chunksize: Calls that travel and run together; ``"auto"`` chooses as it goes.
            buffersize: Chunks that may be submitted and not yet yielded: the iterables are then
                read as the results are, and may be endless.

        Raises:
            ValueError: If `chunksize` or `buffersize` is less than 1.
            TypeError: If `buffersize` is not a number.
            RuntimeError: If the executor was shut down.
        """
        check_map(chunksize, buffersize)
        deadline_s = None if timeout is None else time.monotonic() + timeout
        session = self._open_session()
        pending: deque[ChunkFuture] = deque()
        function: Function | None = None
        try:
            function = self._packer.pack_function(fn)
        except Exception as error:  # noqa: BLE001 - pickling is user code
            future = ChunkFuture()
            _fail(future, error)
            pending.append(future)
            return mapping.iterate(pending, None, deadline_s)
        items: Iterator[Any] = zip(*iterables, strict=False)
        length = None
        if chunksize == "auto" and buffersize is None:
            known = list(items)
            items, length = iter(known), len(known)
        elif chunksize == "auto":
            length = chunking.known_length(iterables)
        chunks = chunking.split(items, chunksize, self._max_workers, length)
        for chunk in itertools.islice(chunks, buffersize):
            pending.extend(self._submit_items(session, function, chunk))
        more = None
        if buffersize is not None:
            more = partial(_submit_more, weakref.ref(self), session, function, chunks, pending)
        return mapping.iterate(pending, more, deadline_s)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end once the pending ones have ended.

        Args:
            wait: Return only when all calls have ended and all workers are gone.
            cancel_futures: Cancel the calls that have not been sent to a worker.
        """
        self._shut_down(wait, cancel_futures=cancel_futures)

    def kill_workers(self) -> None:
        """End all workers at once; calls that have not ended fail with `WorkerDied`."""
        self._shut_down(wait=True, cancel_futures=True, kill=True)

    def terminate_workers(self) -> None:
        """End all workers at once, as `kill_workers` does."""
        self.kill_workers()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> Literal[False]:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.kill_workers()
        else:
            self.shutdown(wait=True)
        return False

    # ---------------------------------------------------------------- what there is to know

    def statistics(self) -> Statistics:
        """Return what has happened so far."""
        return Statistics.of(self._session, self._invoker.statistics)

    def __repr__(self) -> str:
        state = "shut down" if self._is_shut_down else "open"
        return (
            f"<LambdaPoolExecutor {self._id} {state} backend={self._choice.name} "
            f"({self._choice.reason}) max_workers={self._max_workers}>"
        )

    # ---------------------------------------------------------------- inside

    def _open_session(self) -> Session:
        """Return the running session, started by the first call."""
        if self._pid != os.getpid():
            raise RuntimeError(
                "this executor was made in another process, before a fork: make one here"
            )
        with self._lock:
            self._check_open()
            if self._session is None:
                self._session = self._start_session()
                finish = weakref.finalize(self, self._session.finish)
                finish.atexit = False  # the drain at exit sees to that
            session = self._session
        if session.broken is not None:
            # A copy: the traceback of one that is raised again and again grows with each time.
            raise copy.copy(session.broken)
        return session

    def _check_open(self) -> None:
        if self._is_shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if exit_drain.is_shutting_down():
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    def _start_session(self) -> Session:
        initializer = None
        if self._initializer is not None:
            initializer = codec.dumps((self._initializer, self._initargs), self._serializer)
        # The paths mean nothing on another machine.
        is_here = self._connection.is_here
        sys_path = _sys_path() if is_here else None
        # The first worker boots while this process imports asyncio.
        self._invoker.prestart(
            SessionHead(
                self._id,
                f"{sys.version_info.major}.{sys.version_info.minor}",
                self._serializer,
                initializer,
                environment=self._connection.environment,
                sys_path=sys_path,
                log_level=logging.getLogger().level,
                depth=self._depth,
            )
        )
        try:
            from lambdafutures._engine.session import Session

            return Session(self._id, self._invoker, self._retry, self._limits, self._observers)
        except BaseException:
            self._invoker.discard()
            raise

    def _hand_over(self, session: Session, chunk: Chunk) -> None:
        # Under the lock, so that no chunk reaches a session after it was told to finish.
        with self._lock:
            self._check_open()
            session.submit(chunk)

    def _submit_items(
        self, session: Session, function: Function, items: list[Any]
    ) -> Iterator[ChunkFuture]:
        for packed in self._packer.pack_calls(items):
            future = ChunkFuture()
            if packed.error is not None:
                _fail(future, packed.error)
            else:
                number = next(self._numbers)
                chunk = Chunk(
                    number, packed.calls, function, packed.parts, False, future, time.time()
                )
                future._belong_to(session, chunk)
                self._hand_over(session, chunk)
            yield future

    def _shut_down(self, wait: bool, *, cancel_futures: bool, kill: bool = False) -> None:
        with self._lock:
            self._is_shut_down = True
            session = self._session
        if session is not None and self._pid == os.getpid():
            session.finish(cancel_waiting=cancel_futures, kill=kill)
            if wait:
                session.join()


def _submit_more(
    executor: weakref.ref[LambdaPoolExecutor],
    session: Session,
    function: Function,
    chunks: Iterator[list[Any]],
    pending: deque[ChunkFuture],
) -> None:
    alive = executor()
    items = next(chunks, None)
    if alive is not None and items is not None:
        pending.extend(alive._submit_items(session, function, items))


def _fail(future: LambdaFuture[Any] | ChunkFuture, error: BaseException) -> None:
    future.set_running_or_notify_cancel()
    future.set_exception(error)


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


def _progress_observers(progress: bool) -> list[Observer]:
    if not progress:
        return []
    from lambdafutures.observability.progress import ProgressBar

    return [ProgressBar()]
