"""One attempt: unpickle, call, pickle; every way a call can end becomes an entry."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Sequence

from lambdafutures._wire import codec, outcome, remote_error
from lambdafutures._wire.outcome import Entry, Fault, Outcome
from lambdafutures._worker import advice, import_path
from lambdafutures._worker.cache import FunctionCache
from lambdafutures._worker.capture import Capture
from lambdafutures._worker.memory import PeakMemory
from lambdafutures.exceptions import BlobMissing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from lambdafutures._wire.payload import Payload

    class Notes(Protocol):
        """Where to note what runs: a `Journal`, or what has its face."""

        @property
        def marker(self) -> Callable[[int, float], object]: ...

        def begin(self, chunk: int, attempt: int) -> None: ...

        def append(self, outcome: Outcome, /) -> None: ...


# Calls that ended this long ago are safe in the journal, should the next one kill the runner.
# Keeping them costs about 20 us, so it takes 2 % of the time at the most.
KEEP_AFTER_S = 0.001


class Execution:
    """Run attempts, one after the other, in this process.

    Args:
        journal: Where to note what runs and to keep what has ended.
        capture: Where calls' output is kept, or None.
        serializer: Who pickles what plain pickle cannot.
        is_apart: This process cannot import all that the client can.
    """

    def __init__(
        self,
        journal: Notes,
        capture: Capture | None,
        serializer: str,
        is_apart: bool = False,
    ) -> None:
        self._is_apart = is_apart
        self._journal = journal
        self._capture = capture
        self._serializer = serializer
        self._functions = FunctionCache()
        self._peak = PeakMemory()
        self._is_first = True

    def run(self, payload: Payload) -> Outcome:
        """Run an attempt and return its outcome; no exception of the user's code escapes.

        Args:
            payload: What to run.
        """
        now_s = time.time()
        received_s = now_s if payload.received_s is None else payload.received_s
        # What its supervisor did for it (fetch its arguments, say) is set-up, too.
        begun = time.perf_counter() - max(0.0, now_s - received_s)
        self._journal.begin(payload.chunk, payload.attempt)
        answer = Outcome(
            payload.chunk, payload.attempt, received_s=received_s, is_first=self._is_first
        )
        self._is_first = False
        answer.fetched_bytes = payload.fetched_bytes
        if payload.folders:
            import_path.lead_with(payload.folders)
        try:
            function = self._functions.load(payload.function, payload.function_parts)
        except BlobMissing as missing:
            answer.fault = Fault(outcome.BLOB_MISSING, str(missing))
            return answer
        except BaseException as error:  # noqa: BLE001 - user code, SystemExit included
            return self._not_loaded(answer, payload, error, "function")
        try:
            arguments: list[Any] = codec.loads(payload.arguments)
        except BaseException as error:  # noqa: BLE001 - user code, SystemExit included
            return self._not_loaded(answer, payload, error, "arguments")
        payload.arguments = ()
        answer.setup_s = time.perf_counter() - begun
        chunk = _Chunk(self, answer, function, arguments, payload.has_kwargs)
        chunk.run(_indices(payload.calls, len(arguments)))
        answer.peak_memory_bytes = self._peak.read_bytes()
        return answer

    def _not_loaded(
        self, answer: Outcome, payload: Payload, error: BaseException, what: str
    ) -> Outcome:
        if self._is_apart:
            advice.advise(error)
        described = remote_error.describe(error) | {"what": what}
        parts = remote_error.pack(error, self._serializer)
        # The number of calls is in the arguments, which nobody could read: the client knows it.
        answer.entries = [Entry(0, 0, outcome.NOT_LOADED, parts, described)]
        return answer


def _indices(calls: Sequence[tuple[int, int]] | None, count: int) -> Iterable[int]:
    if calls is None:
        return range(count)
    return [index for first, size in calls for index in range(first, first + size)]


class _Chunk:
    """The calls of one attempt."""

    def __init__(
        self,
        execution: Execution,
        answer: Outcome,
        function: Callable[..., Any],
        arguments: list[Any],
        has_kwargs: bool,
    ) -> None:
        self._execution = execution
        self._answer = answer
        self._function = function
        self._arguments = arguments
        self._has_kwargs = has_kwargs
        self._entries: list[Entry] = []
        self._values: list[Any] = []
        self._first = 0
        self._kept_entries = 0
        self._kept_calls = 0
        self._fresh_output: dict[int, dict[str, Any]] = {}

    def run(self, indices: Iterable[int]) -> None:
        """Run the calls and fill in the answer."""
        mark = self._execution._journal.marker
        capture = self._execution._capture
        arguments = self._arguments
        function = self._function
        has_kwargs = self._has_kwargs
        values = self._values
        took = self._answer.run_s.append
        clock = time.monotonic
        now = kept_at = clock()
        expected = -1
        for index in indices:
            if index != expected:
                self._close_run(index)
            expected = index + 1
            if now - kept_at > KEEP_AFTER_S:
                self._keep()
                now = kept_at = clock()
            item = arguments[index]
            arguments[index] = None  # released as soon as the call has ended
            mark(index, now)
            began = now
            try:
                values.append(function(*item[0], **item[1]) if has_kwargs else function(*item))
                now = clock()
            except BaseException as error:  # noqa: BLE001 - the call's own, SystemExit included
                now = clock()
                self._raised(index, error)
            took(now - began)
            if capture is not None and capture.dirty:
                self._answer.output[index] = self._fresh_output[index] = capture.take()
        item = None
        self._close_run(expected)
        self._answer.entries = self._entries

    def _raised(self, index: int, error: BaseException) -> None:
        self._close_run(index + 1)
        # The frames of this module say nothing to the user.
        error.__traceback__ = _user_part(error)
        self._entries.append(self._error_entry(index, error))

    def _error_entry(self, index: int, error: BaseException) -> Entry:
        if self._execution._is_apart:
            advice.advise(error)
        described = remote_error.describe(error)
        parts = remote_error.pack(error, self._execution._serializer)
        return Entry(index, 1, outcome.RAISED, parts, described)

    def _close_run(self, next_first: int) -> None:
        """Pickle the values since the last entry; the next run begins at `next_first`."""
        if self._values:
            began = time.perf_counter()
            self._entries.extend(self._pickled(self._first, self._values))
            self._values.clear()
            self._answer.packing_s += time.perf_counter() - began
        self._first = next_first

    def _pickled(self, first: int, values: list[Any]) -> list[Entry]:
        try:
            parts = codec.dumps(values, self._execution._serializer, by_reference=True).parts
            return [Entry(first, len(values), outcome.OK, parts)]
        except BaseException as error:  # noqa: BLE001 - user code; the culprit is found by halves
            if len(values) > 1:
                middle = len(values) // 2
                return [
                    *self._pickled(first, values[:middle]),
                    *self._pickled(first + middle, values[middle:]),
                ]
            kind = type(values[0])
            error.add_note(
                f"The call ran, but its result, of type {kind.__module__}.{kind.__qualname__}, "
                "cannot be pickled: return something else, such as its data."
            )
            return [self._error_entry(first, error)]

    def _keep(self) -> None:
        """Put into the journal what has ended since the last time."""
        self._close_run(self._first + len(self._values))
        answer = self._answer
        fresh = Outcome(
            answer.chunk,
            answer.attempt,
            self._entries[self._kept_entries :],
            received_s=answer.received_s,
            setup_s=answer.setup_s,
            run_s=array("f", answer.run_s[self._kept_calls :]),
            output=self._fresh_output,
            is_first=answer.is_first,
        )
        self._fresh_output = {}
        self._kept_entries = len(self._entries)
        self._kept_calls = len(answer.run_s)
        self._execution._journal.append(fresh)


def _user_part(error: BaseException) -> Any:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace
