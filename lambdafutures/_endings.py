"""How calls ended, still packed: values or an exception, and the facts of the attempt."""

from __future__ import annotations

from array import array
from typing import Any

from lambdafutures._wire import codec, outcome, remote_error
from lambdafutures._wire.outcome import Entry, Outcome
from lambdafutures.exceptions import NotLoadable, RemoteError

# What unpickling may raise: it is user code, and its SystemExit must not end the client. Ctrl-C is
# the client's own.
_USER_ERRORS = (Exception, SystemExit)


class AttemptFacts:
    """Hold what is known of the attempt that ended some calls; shared by them."""

    __slots__ = (
        "attempts",
        "done_s",
        "fetched_bytes",
        "output",
        "packing_s",
        "peak_memory_bytes",
        "received_s",
        "sent_s",
        "setup_s",
        "submitted_s",
    )

    def __init__(self, attempts: int, submitted_s: float, sent_s: float, done_s: float) -> None:
        self.attempts = attempts
        self.submitted_s = submitted_s
        self.sent_s = sent_s
        self.done_s = done_s
        self.received_s = 0.0
        self.setup_s = 0.0
        self.packing_s = 0.0
        self.peak_memory_bytes = 0
        self.fetched_bytes = 0
        self.output: dict[int, dict[str, Any]] | None = None

    def add(self, answer: Outcome) -> None:
        """Add what the attempt's outcome tells.

        Args:
            answer: The outcome.
        """
        self.received_s = answer.received_s
        self.setup_s = answer.setup_s
        self.packing_s = answer.packing_s
        self.peak_memory_bytes = answer.peak_memory_bytes
        self.output = answer.output or None
        self.fetched_bytes = answer.fetched_bytes


class Ending:
    """Tell how consecutive calls of a chunk ended: packed values, or one exception.

    Args:
        entry: What the worker answered; of status OK unless the calls failed.
        facts: What is known of the attempt.
        run_s: Run time of each call, in seconds.
        error: The exception, where it was made by the client.
    """

    __slots__ = ("_error", "_unpacked", "count", "entry", "facts", "first", "run_s")

    def __init__(
        self,
        entry: Entry,
        facts: AttemptFacts,
        run_s: array[float] | None = None,
        error: BaseException | None = None,
    ) -> None:
        self.entry = entry
        self.first = entry.first
        self.count = entry.count
        self.facts = facts
        self.run_s = run_s
        self._error = error
        self._unpacked: tuple[list[Any], BaseException | None] | None = None

    def part(self, first: int, count: int) -> Ending:
        """Return the ending of some of the calls.

        Args:
            first: Index of the first of them in the chunk.
            count: How many.
        """
        skipped = first - self.first
        run_s = None if self.run_s is None else self.run_s[skipped : skipped + count]
        part = Ending(self.entry, self.facts, run_s, self._error)
        part.first, part.count = first, count
        return part

    @property
    def nbytes(self) -> int:
        """Length of what there is to unpack, in bytes."""
        return sum(map(len, self.entry.parts))

    @property
    def failed(self) -> bool:
        """Whether the calls ended in an exception."""
        return self.entry.status != outcome.OK

    def unpack_ahead(self) -> None:
        """Unpack for the next `unpack`, which may be on a thread that must not be held up."""
        self._unpacked = self.unpack()

    def unpack_once(self) -> tuple[list[Any], BaseException | None]:
        """Return the values, or the exception, the same to all who ask."""
        # (Others may be doing the same: what the field holds is read once.)
        unpacked = self._unpacked
        if unpacked is None:
            unpacked = self._unpacked = self._fresh()
        return unpacked

    def unpack(self) -> tuple[list[Any], BaseException | None]:
        """Return the values, or the exception; user code may run here."""
        if self._unpacked is not None:
            unpacked, self._unpacked = self._unpacked, None
            return unpacked
        return self._fresh()

    def _fresh(self) -> tuple[list[Any], BaseException | None]:
        if self._error is not None:
            return [], self._error
        entry = self.entry
        if entry.status == outcome.OK:
            try:
                values: list[Any] = codec.loads(entry.parts)
                if self.count < entry.count:
                    skipped = self.first - entry.first
                    values = values[skipped : skipped + self.count]
                return values, None
            except _USER_ERRORS as error:
                return [], _caused_by(
                    NotLoadable(
                        "a result could not be unpickled in the client: "
                        f"{type(error).__name__}: {error}{_remedy(error)}"
                    ),
                    without_frames(error),
                )
        original = _rebuilt(entry)
        if entry.status == outcome.RAISED:
            return [], original
        described = entry.error or {}
        return [], _caused_by(
            NotLoadable(
                f"the call's {described.get('what', 'payload')} could not be unpickled in the "
                f"worker: {described.get('type')}: {described.get('message')}{_notes(original)}"
            ),
            original,
        )


def without_frames(error: BaseException) -> BaseException:
    """Have an exception that is to be kept tell its traceback as text, and return it.

    The frames of its traceback would keep the variables of all callers alive, the future among
    them, until the garbage collector finds the circle.

    Args:
        error: The exception, with its traceback.
    """
    text = remote_error.describe(error)["traceback"]
    error.__context__ = None
    return _caused_by(error.with_traceback(None), _traceback_of(text))


def _remedy(error: BaseException) -> str:
    if not isinstance(error, ModuleNotFoundError):
        return ""
    return (
        f"; the worker's {error.name!r} is missing here: install what brings it in this Python, or "
        "have the call return plain data"
    )


def _notes(error: BaseException) -> str:
    return "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))


def _caused_by(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def _rebuilt(entry: Entry) -> BaseException:
    """Return the exception that a worker raised, with its remote traceback as cause."""
    described = entry.error or {}
    error: BaseException | None = None
    if entry.parts:
        try:
            error = remote_error.unpack(entry.parts)
        except _USER_ERRORS:  # the description is good enough
            error = None
    if error is None:
        error = RemoteError(str(described.get("type")), str(described.get("message")))
    return _caused_by(error, _traceback_of(described.get("traceback", "")))


def _traceback_of(text: str) -> BaseException:
    """Return a traceback's text as the cause that the standard library gives an exception."""
    from concurrent.futures import process

    # Private, but what `ProcessPoolExecutor` sets and other code looks for.
    remote_traceback: Any = process._RemoteTraceback
    made: BaseException = remote_traceback(f'\n"""\n{text}"""')
    return made
