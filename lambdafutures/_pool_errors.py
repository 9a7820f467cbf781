"""The exceptions that are a `BrokenProcessPool` too; reached as `lambdafutures.exceptions`."""

from concurrent.futures.process import BrokenProcessPool

from lambdafutures.exceptions import LambdaFuturesError


class BackendError(LambdaFuturesError, BrokenProcessPool):
    """Say that the backend cannot run calls: the executor is broken, all its calls get this."""


class WorkerDied(LambdaFuturesError, BrokenProcessPool):
    """Say that a call's worker ended while it ran, as often as the retry policy allows.

    Unlike the standard library's, the pool goes on: only this call has failed.
    """


class OutOfMemory(WorkerDied):
    """Say that a call used more memory than its limit; names the limit and the peak."""


class InitializerFailed(LambdaFuturesError, BrokenProcessPool):
    """Say that `initializer` raised in a worker: no call can run, the executor is broken."""


class NotLoadable(LambdaFuturesError, BrokenProcessPool):
    """Say that a function, an argument or a result could not be unpickled, and on which side."""
