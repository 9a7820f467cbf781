"""Checks of what users pass to an executor."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal

from lambdafutures._wire import codec
from lambdafutures.exceptions import MissingExtra

COMPLETIONS = ("auto", "response", "poll")
DURABLE_BACKENDS = ("local", "aws")


def check_executor(
    max_workers: int | None,
    initializer: Callable[..., object] | None,
    max_tasks_per_child: int | None,
    serializer: str,
) -> None:
    """Refuse what an executor cannot be made with, as the standard library words it.

    Args:
        max_workers: Calls that run at once, or None.
        initializer: Called in each worker, or None.
        max_tasks_per_child: Chunks per worker, or None.
        serializer: Name of the serializer.

    Raises:
        ValueError: If something is out of range.
        TypeError: If something is of the wrong type.
        MissingExtra: If the serializer is not installed.
    """
    if max_workers is not None and max_workers <= 0:
        raise ValueError("max_workers must be greater than 0")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    if max_tasks_per_child is not None:
        if not isinstance(max_tasks_per_child, int):
            raise TypeError("max_tasks_per_child must be an integer")
        if max_tasks_per_child <= 0:
            raise ValueError("max_tasks_per_child must be >= 1")
    check_serializer(serializer)


def check_serializer(serializer: str) -> None:
    """Refuse a serializer that there is not.

    Args:
        serializer: Its name.

    Raises:
        ValueError: If nothing is called that.
        MissingExtra: If it is not installed.
    """
    if serializer not in codec.SERIALIZERS:
        raise ValueError(f"serializer must be one of {codec.SERIALIZERS}, not {serializer!r}")
    if serializer == "dill":
        try:
            import dill  # noqa: F401
        except ImportError as error:
            raise MissingExtra(
                "serializer='dill' needs dill: run `pip install 'lambdafutures[dill]'`"
            ) from error


def warn_of_context(mp_context: object) -> None:
    """Warn whoever makes an executor with a context of multiprocessing.

    Args:
        mp_context: The context, or None.
    """
    if mp_context is not None:
        warnings.warn(
            "mp_context is ignored: workers are fresh interpreters or Lambda functions, "
            "not processes of multiprocessing",
            stacklevel=3,
        )


def check_completion(completion: str) -> None:
    """Refuse a way for outcomes to come home that there is not.

    Args:
        completion: Its name.

    Raises:
        ValueError: If nothing is called that.
    """
    if completion not in COMPLETIONS:
        raise ValueError(f"completion must be one of {COMPLETIONS}, not {completion!r}")


def check_durable(backend: str, completion: str, requirements: object = None) -> None:
    """Refuse what a durable executor cannot be made with.

    Args:
        backend: Name of the backend.
        completion: How outcomes come home.
        requirements: Packages that travel, or None.

    Raises:
        ValueError: If outcomes would not outlive the client.
    """
    if backend not in DURABLE_BACKENDS:
        raise ValueError(
            f"durable=True needs backend='local' or 'aws': what the {backend!r} backend runs, and "
            "its results, are in this process alone and end with it"
        )
    if backend == "local" and requirements is not None:
        raise ValueError(
            "durable=True with requirements needs backend='aws': here, what was unpacked for "
            "workers is gone with its client, and who attaches could not run calls again"
        )
    if completion == "response":
        raise ValueError(
            "durable=True needs completion='poll' (or 'auto', which is that here): an outcome that "
            "comes back in the response is lost with its client"
        )


def check_map(chunksize: int | Literal["auto"], buffersize: int | None) -> None:
    """Refuse what a map cannot be made with, as the standard library words it.

    Args:
        chunksize: Calls in a chunk, or ``"auto"``.
        buffersize: Chunks under way, or None.

    Raises:
        ValueError: If something is out of range.
        TypeError: If something is of the wrong type.
    """
    if chunksize != "auto" and chunksize < 1:
        raise ValueError("chunksize must be >= 1.")
    if buffersize is not None:
        if not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
