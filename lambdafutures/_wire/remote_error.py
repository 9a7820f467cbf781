"""Exceptions on their way home: packed where they were raised, rebuilt where they are awaited."""

from __future__ import annotations

from collections.abc import Sequence

from lambdafutures._wire import codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdafutures._wire.codec import Buffer

# More text than anybody reads, and small beside any payload limit.
TRACEBACK_CHARS = 64 * 1024
MESSAGE_CHARS = 4 * 1024


def describe(error: BaseException) -> dict[str, Any]:
    """Return what can be said of an exception in text.

    Args:
        error: The exception, with its traceback.
    """
    try:
        message = str(error)
    except BaseException as failure:  # noqa: BLE001 - a broken __str__ is the user's code
        message = f"<its __str__ raised {type(failure).__name__}>"
    return {
        "type": _qualified(type(error)),
        "mro": [_qualified(kind) for kind in type(error).__mro__[:-1]],
        "message": message[:MESSAGE_CHARS],
        "traceback": _format(error)[-TRACEBACK_CHARS:],
    }


def pack(error: BaseException, serializer: str) -> Sequence[Buffer]:
    """Pickle an exception so that it can be rebuilt; return no parts if that cannot be.

    An exception whose constructor wants other arguments than its `args` is pickled by its class
    and state instead, since what Python pickles by itself would fail on arrival.

    Args:
        error: The exception.
        serializer: Who pickles what plain pickle cannot.
    """
    for value in (error, (_revive, (type(error), error.args, _state(error)))):
        try:
            parts = codec.dumps(value, serializer).parts
            if isinstance(_build(codec.loads(parts)), type(error)):
                return parts
        except BaseException:  # noqa: BLE001, S112 - whatever it is, the next way may do
            continue
    return ()


def unpack(parts: Sequence[Buffer]) -> BaseException:
    """Rebuild an exception.

    Args:
        parts: What `pack` returned, not empty.

    Raises:
        Exception: Whatever unpickling raises; user code runs here.
    """
    error = _build(codec.loads(parts))
    if not isinstance(error, BaseException):
        raise TypeError(f"an exception was expected, not {type(error).__name__}")
    return error


def _build(value: Any) -> object:
    if isinstance(value, tuple):
        revive, arguments = value
        return revive(*arguments)
    return value


def _revive(kind: type[BaseException], args: tuple[Any, ...], state: Any) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    if state:
        error.__dict__.update(state)
    return error


def _state(error: BaseException) -> dict[str, Any] | None:
    return getattr(error, "__dict__", None) or None


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _format(error: BaseException) -> str:
    import traceback

    try:
        return "".join(traceback.format_exception(error))
    except BaseException as failure:  # noqa: BLE001 - a broken __str__ or __notes__ is the user's code
        return f"<the traceback could not be formatted: {type(failure).__name__}>\n"
