"""`LambdaPoolExecutor`: `concurrent.futures.ProcessPoolExecutor`, with AWS Lambda for processes."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar

from lambdafutures._arguments import check_completion, check_executor, check_map, warn_of_context
from lambdafutures._backends.connect import OnAws, choose_backend, connect
from lambdafutures._durable_executor import DurableExecutor, new_job, new_key
from lambdafutures._engine import chunking
from lambdafutures._engine.chunk import CallOptions
from lambdafutures._engine.mapping import MapOptions, MapResults
from lambdafutures._environment.choose import choose as choose_environment
from lambdafutures._pool import Pool
from lambdafutures.events import Observer
from lambdafutures.futures import LambdaFuture
from lambdafutures.observability.progress import watching
from lambdafutures.observability.stats import Statistics
from lambdafutures.options import BackupPolicy, Limits, RetryPolicy

if TYPE_CHECKING:
    import os
    from multiprocessing.context import BaseContext
    from types import ModuleType

    from lambdafutures._environment.report import Report

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("lambdafutures")


class LambdaPoolExecutor(DurableExecutor):
    """Run calls on AWS Lambda, or on processes of this machine, as `ProcessPoolExecutor` does.

    The first five parameters are those of `concurrent.futures.ProcessPoolExecutor`.

    Args:
        max_workers: Calls that run at once; by default the number of processors (local) or the
            account's concurrency (AWS).
        mp_context: Accepted for compatibility, and warned about: no multiprocessing is used.
        initializer: Called once in each worker before its first call.
        initargs: Arguments for `initializer`.
        max_tasks_per_child: Submitted calls, or chunks of a map, after which a worker of this
            machine is replaced by a fresh one.
        backend: ``"local"``, ``"aws"``, or ``"memory"``: threads of this process, for tests,
            debuggers and coverage, which share its modules, have no memory limit, keep no output
            and cannot be killed. By default what `$LAMBDAFUTURES_BACKEND` names, else AWS if a
            deployment is set up, else local.
        deployment: Name of the deployment on AWS; by default what `$LAMBDAFUTURES_DEPLOYMENT`
            names, else the one that is set up.
        completion: How outcomes come home from AWS: ``"response"`` holds a connection for each
            call that runs, ``"poll"`` looks for them in the store, ``"auto"`` does the former up
            to several hundred at once and the latter beyond.
        memory_mb: Which of the deployment's functions on AWS; by default its smallest.
        durable: Store everything before it is sent, so that another process can go on with the job
            when this one has ended: see `handle`, `wait_durable` and `attach`.
        serializer: ``"cloudpickle"`` or ``"dill"``: who pickles what plain pickle cannot.
        retry: How often a call is tried.
        backup: When a slow attempt is given a second one beside it; by default never.
        limits: What a call may use.
        observers: Told of everything that happens.
        progress: Show a progress bar; needs the ``progress`` extra.
        modules: Modules, files and folders that travel to workers beside those of your own that
            calls are found to use: modules, names of modules, or paths.
        exclude: What of your own modules does not travel: names of modules, or patterns of files
            such as ``"mypackage/data/*.bin"``.
        requirements: Packages that travel to workers: requirements such as ``["numpy>=2"]``, the
            path of a ``requirements.txt`` or ``pyproject.toml``, or ``"auto"``: those that calls
            are found to import, in the versions installed here. Local workers then have these,
            modules of your own and the standard library, as on AWS, and nothing else. (On the
            memory backend, whose workers are threads, it has no effect.)

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
        backend: Literal["local", "aws", "memory"] | None = None,
        deployment: str | None = None,
        completion: Literal["auto", "response", "poll"] = "auto",
        memory_mb: int | None = None,
        durable: bool = False,
        serializer: Literal["cloudpickle", "dill"] = "cloudpickle",
        retry: RetryPolicy | None = None,
        backup: BackupPolicy | None = None,
        limits: Limits | None = None,
        observers: Sequence[Observer] = (),
        progress: bool = False,
        modules: Sequence[str | os.PathLike[str] | ModuleType] = (),
        exclude: Sequence[str] = (),
        requirements: str | os.PathLike[str] | Sequence[str] | None = None,
    ) -> None:
        check_executor(max_workers, initializer, max_tasks_per_child, serializer)
        check_completion(completion)
        warn_of_context(mp_context)
        choice = choose_backend(backend, deployment_name=deployment)
        limits = limits or Limits()
        key = new_key(choice.name, completion, requirements) if durable else None
        on_aws = OnAws(deployment, "poll" if durable else completion, memory_mb, key)
        connection = connect(choice, max_workers, limits, max_tasks_per_child, on_aws)
        job = new_job(choice, connection, key, memory_mb, limits.memory_mb) if key else None
        who = watching(observers, progress)
        environment = choose_environment(
            choice.name, connection.deployment, serializer, modules, exclude, requirements
        )
        pool = Pool(connection, serializer, initializer, initargs, who, job, environment)
        options = CallOptions(retry or RetryPolicy(), limits.time_s, backup=backup)
        self._set_up(choice, pool, options)
        _log.info("lambdafutures: %s backend, because %s", choice.name, choice.reason)

    # ---------------------------------------------------------------- calls

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
        return self._pool.submit(fn, args, kwargs, self._options)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | Literal["auto"] = 1,
        buffersize: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> MapResults[T]:
        """Call `fn` on the items of `iterables` in workers, and return the results in order.

        The results are an iterator, and an asynchronous one as well: ``async for`` does not hold up
        its event loop.

        Args:
            fn: What to call, with as many arguments as there are iterables.
            iterables: What to call it on; the shortest ends the map. They are read at once, unless
                `buffersize` is given.
            timeout: Seconds from now after which asking for a result raises `TimeoutError`.
            chunksize: Calls that travel and run together; ``"auto"`` chooses as it goes.
            buffersize: Chunks that may be submitted and not yet yielded: the iterables are then
                read as the results are, and may be endless.
            ordered: Yield results in the order of the arguments; if False, as chunks complete.
            return_exceptions: Yield the exceptions of calls in the place of their results, and go
                on, instead of raising the first.

        Raises:
            ValueError: If `chunksize` or `buffersize` is less than 1.
            TypeError: If `buffersize` is not a number.
            RuntimeError: If the executor was shut down.
        """
        check_map(chunksize, buffersize)
        items = zip(*iterables, strict=False)
        length = chunking.known_length(iterables) if chunksize == "auto" else None
        how = MapOptions(timeout, chunksize, buffersize, ordered, return_exceptions)
        return self._pool.map(fn, items, length, how, self._options)

    def starmap(
        self,
        fn: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        *,
        timeout: float | None = None,
        chunksize: int | Literal["auto"] = 1,
        buffersize: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> MapResults[T]:
        """Call `fn(*arguments)` for the arguments that `iterable` yields, as `map` does.

        Args:
            fn: What to call.
            iterable: The arguments of each call.
            timeout: As for `map`, and so are the others.
            chunksize: Calls that travel and run together.
            buffersize: Chunks that may be submitted and not yet yielded.
            ordered: Yield results in the order of the arguments.
            return_exceptions: Yield exceptions in the place of results.

        Raises:
            ValueError: If `chunksize` or `buffersize` is less than 1.
            TypeError: If `buffersize` is not a number.
            RuntimeError: If the executor was shut down.
        """
        check_map(chunksize, buffersize)
        length = chunking.known_length([iterable]) if chunksize == "auto" else None
        how = MapOptions(timeout, chunksize, buffersize, ordered, return_exceptions)
        return self._pool.map(fn, map(tuple, iterable), length, how, self._options)

    def with_options(
        self,
        *,
        time_s: float | None = None,
        memory_mb: int | None = None,
        retry: RetryPolicy | None = None,
        backup: BackupPolicy | None = None,
    ) -> LambdaPoolExecutor:
        """Return this executor with other options for the calls that are made through it.

        It is the same pool: it has the same workers, and shutting down either shuts down both.
        What is not given stays as it is::

            ex.with_options(time_s=60, retry=RetryPolicy(attempts=1)).submit(f, x)

        Args:
            time_s: Seconds that a call may run before it is ended with `CallTimeout`.
            memory_mb: Which of the deployment's functions runs it, by its memory in MiB; on this
                machine workers come in one size, and it is ignored.
            retry: How often a call is tried.
            backup: When a slow attempt is given a second one beside it.

        Raises:
            ValueError: If an option is out of range, or there is no function of that memory.
        """
        if memory_mb is not None and self._sizes_mb and memory_mb not in self._sizes_mb:
            known = ", ".join(map(str, self._sizes_mb))
            raise ValueError(
                f"there is no function of {memory_mb} MB, but of {known}: run `lambdafutures "
                f"deploy --memory {memory_mb}`"
            )
        had = self._options
        options = CallOptions(
            had.retry if retry is None else retry,
            had.time_s if time_s is None else Limits(time_s=time_s).time_s,
            had.memory_mb if memory_mb is None else Limits(memory_mb=memory_mb).memory_mb,
            had.backup if backup is None else backup,
        )
        other = copy.copy(self)
        other._options = options
        return other

    # ---------------------------------------------------------------- the end

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end once the pending ones have ended.

        Args:
            wait: Return only when all calls have ended and all workers are gone.
            cancel_futures: Cancel the calls that have not been sent to a worker.
        """
        self._pool.shut_down(wait, cancel_futures=cancel_futures)

    def kill_workers(self) -> None:
        """End all workers at once; calls that have not ended fail with `WorkerDied`."""
        self._pool.shut_down(wait=True, cancel_futures=True, kill=True)

    def terminate_workers(self) -> None:
        """End all workers at once, as `kill_workers` does."""
        self.kill_workers()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> Literal[False]:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.kill_workers()
        else:
            self.shutdown(wait=True)
        return False

    async def __aenter__(self) -> Self:
        import asyncio

        # Threads and the first worker are started on another thread than the event loop's.
        await asyncio.to_thread(self._pool.open)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> Literal[False]:
        import asyncio

        # A block that was cancelled, by a time-out for one, does not wait for what has not begun.
        is_cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        await asyncio.to_thread(self.shutdown, cancel_futures=is_cancelled)
        return False

    # ---------------------------------------------------------------- what there is to know

    def statistics(self) -> Statistics:
        """Return what has happened so far."""
        return Statistics.of(self._pool.session, self._pool.invoker.statistics)

    @property
    def _broken(self) -> BaseException | Literal[False]:
        """Why no call can run any more, or False; as `ProcessPoolExecutor` has it."""
        session = self._pool.session
        return (session and session.broken) or False

    @property
    def environment(self) -> Report:
        """What has travelled to workers so far besides the calls: modules, packages, and why."""
        from lambdafutures._environment.report import Report

        environment = self._pool.environment
        return environment.report() if environment else Report()

    def __repr__(self) -> str:
        state = "shut down" if self._pool.is_shut_down else "open"
        return (
            f"<LambdaPoolExecutor {self._pool.name} {state} backend={self._choice.name} "
            f"({self._choice.reason}) max_workers={self._max_workers}>"
        )
