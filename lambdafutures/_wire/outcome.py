"""What a worker answers: one outcome per attempt.

Layout of the head (little-endian)::

    chunk u32 | attempt u16 | version u16 | entries u32 | first of its runner u8
    received f64 | set-up f64 | packing f64 | peak memory u64
    per entry: first call u32 | calls u32 | status u32 | number of parts u32
    per call: run time f32
    details: JSON (errors, captured output, the fault, bytes fetched), absent when there is
        nothing to tell

Entries are runs of consecutive calls with one status. A run of values is pickled as one list, which
is several times faster than one by one and keeps what they share shared.
"""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Sequence

from lambdafutures.exceptions import WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdafutures._wire.codec import Buffer

OUTCOME_VERSION = 2

# Status of an entry.
OK = 0  # parts: the pickled list of values
RAISED = 1  # the call's own exception; parts: the exception pickled, or none if it cannot be
NOT_LOADED = 2  # the function or the arguments could not be unpickled; parts as for RAISED

# Kinds of fault: what ended an attempt before all its calls had ended.
DIED = "died"
MEMORY = "memory"
TIME = "time"
LOST = "lost"
BLOB_MISSING = "blob-missing"
WORKER_ENDED = "worker-ended"  # ended in good order before it took the attempt
CUT = "cut"  # the worker's own time was up; the call that ran had not had a whole worker's time
REFUSED = "refused"  # a blob was not what its reference names; nothing was unpickled
INITIALIZER = "initializer"  # the initializer raised: no call can run
THROTTLED = "throttled"  # the backend had no room; nothing ran
NOT_RUN = "not-run"  # the backend was not reached, or had an error of its own; nothing ran

_HEAD = struct.Struct("<IHHI?dddQ")
_ENTRY = struct.Struct("<IIII")


class Entry:
    """Tell how consecutive calls of a chunk ended.

    Args:
        first: Index of the first call in its chunk.
        count: Number of calls; 1 if the status is RAISED.
        status: `OK`, `RAISED` or `NOT_LOADED`.
        parts: See the statuses.
        error: For the others than OK: `type`, `mro`, `message` and `traceback`, as text.
    """

    __slots__ = ("count", "error", "first", "parts", "status")

    def __init__(
        self,
        first: int,
        count: int,
        status: int,
        parts: Sequence[Buffer],
        error: dict[str, Any] | None = None,
    ) -> None:
        self.first = first
        self.count = count
        self.status = status
        self.parts = parts
        self.error = error


class Fault:
    """Tell what ended an attempt early.

    Args:
        kind: One of this module's kinds of fault.
        message: What happened, as a sentence.
        call: Index in the chunk of the call that ran; -1 during set-up; None if unknown.
        wait_s: How long to wait before the next try, as the backend asks for it, in seconds.
    """

    __slots__ = ("call", "kind", "message", "wait_s")

    def __init__(
        self, kind: str, message: str, call: int | None = None, wait_s: float = 0.0
    ) -> None:
        self.kind = kind
        self.message = message
        self.call = call
        self.wait_s = wait_s

    def __repr__(self) -> str:
        return f"Fault({self.kind!r}, {self.message!r}, call={self.call!r})"


class Outcome:
    """Tell what became of an attempt.

    Args:
        chunk: Number of the chunk.
        attempt: Number of the attempt.
        entries: How calls ended, those that did.
        received_s: When the worker received it, in seconds since the epoch.
        setup_s: From then to the first call: unpickling, imports.
        packing_s: Pickling of the results.
        run_s: Run time of each call in `entries`, in order, in seconds.
        peak_memory_bytes: The worker's peak resident memory so far.
        output: Captured output by call index: `stdout`, `stderr` and `logs`.
        fault: What ended the attempt early, or None.
        is_first: No other attempt was served before by the runner, whose start it may have had to
            wait for, and whose memory it had to itself.
        fetched_bytes: Length of the bundles that the worker fetched for it.

    Attributes:
        waited_s: How long it waited for a worker at least, in seconds; None if nobody knows. Not
            sent: the client finds it out.
    """

    __slots__ = (
        "_ran_s",
        "attempt",
        "chunk",
        "entries",
        "fault",
        "fetched_bytes",
        "is_first",
        "output",
        "packing_s",
        "peak_memory_bytes",
        "received_s",
        "run_s",
        "setup_s",
        "waited_s",
    )

    def __init__(
        self,
        chunk: int,
        attempt: int,
        entries: Sequence[Entry] = (),
        *,
        received_s: float = 0.0,
        setup_s: float = 0.0,
        packing_s: float = 0.0,
        run_s: array[float] | None = None,
        peak_memory_bytes: int = 0,
        output: dict[int, dict[str, Any]] | None = None,
        fault: Fault | None = None,
        is_first: bool = False,
        fetched_bytes: int = 0,
    ) -> None:
        self.chunk = chunk
        self.attempt = attempt
        self.entries = entries
        self.received_s = received_s
        self.setup_s = setup_s
        self.packing_s = packing_s
        self.run_s = array("f") if run_s is None else run_s
        self.peak_memory_bytes = peak_memory_bytes
        self.output = output or {}
        self.fault = fault
        self.is_first = is_first
        self.waited_s: float | None = None
        self.fetched_bytes = fetched_bytes
        self._ran_s: float | None = None

    @property
    def ran_s(self) -> float:
        """Seconds that the calls ran, added up."""
        if self._ran_s is None:
            self._ran_s = sum(self.run_s)
        return self._ran_s

    def encode(self) -> tuple[bytes, list[Buffer]]:
        """Return the head and the parts of all entries."""
        pieces = [
            _HEAD.pack(
                self.chunk,
                self.attempt,
                OUTCOME_VERSION,
                len(self.entries),
                self.is_first,
                self.received_s,
                self.setup_s,
                self.packing_s,
                self.peak_memory_bytes,
            )
        ]
        parts: list[Buffer] = []
        errors: dict[int, dict[str, Any]] = {}
        for entry in self.entries:
            pieces.append(_ENTRY.pack(entry.first, entry.count, entry.status, len(entry.parts)))
            parts.extend(entry.parts)
            if entry.error is not None:
                errors[entry.first] = entry.error
        pieces.append(self.run_s.tobytes())
        if errors or self.output or self.fault or self.fetched_bytes:
            pieces.append(self._details(errors))
        return b"".join(pieces), parts

    def _details(self, errors: dict[int, dict[str, Any]]) -> bytes:
        details: dict[str, Any] = {}
        if errors:
            details["errors"] = errors
        if self.output:
            details["output"] = self.output
        if self.fault:
            details["fault"] = [self.fault.kind, self.fault.message, self.fault.call]
        if self.fetched_bytes:
            details["fetched_bytes"] = self.fetched_bytes
        return json.dumps(details).encode()

    @classmethod
    def decode(cls, head: bytes, parts: Sequence[Buffer]) -> Outcome:
        """Read a head and its parts; unpickles nothing.

        Args:
            head: What `encode` wrote.
            parts: The parts of all entries.

        Raises:
            WireError: If it is damaged or of another version.
        """
        try:
            return cls._decode(head, parts)
        except (struct.error, ValueError, KeyError, TypeError, IndexError) as error:
            raise WireError(f"a damaged outcome of {len(head)} bytes: {error}") from error

    @classmethod
    def _decode(cls, head: bytes, parts: Sequence[Buffer]) -> Outcome:
        (chunk, attempt, version, count, is_first, received_s, setup_s, packing_s, peak) = (
            _HEAD.unpack_from(head)
        )
        if version != OUTCOME_VERSION:
            raise WireError(
                f"an outcome of format {version} where this side reads "
                f"{OUTCOME_VERSION}: client and worker run different versions of lambdafutures"
            )
        offset = _HEAD.size
        entries = []
        calls = 0
        used = 0
        for _ in range(count):
            first, size, status, n_parts = _ENTRY.unpack_from(head, offset)
            offset += _ENTRY.size
            if used + n_parts > len(parts):
                raise WireError("an outcome lacks parts")
            entries.append(Entry(first, size, status, parts[used : used + n_parts]))
            used += n_parts
            calls += size
        run_s = array("f")
        run_s.frombytes(head[offset : offset + calls * run_s.itemsize])
        if len(run_s) != calls:
            raise WireError("an outcome lacks run times")
        offset += calls * run_s.itemsize
        outcome = cls(
            chunk,
            attempt,
            entries,
            received_s=received_s,
            setup_s=setup_s,
            packing_s=packing_s,
            run_s=run_s,
            peak_memory_bytes=peak,
            is_first=is_first,
        )
        if offset < len(head):
            outcome._read_details(json.loads(head[offset:]))
        return outcome

    def _read_details(self, details: dict[str, Any]) -> None:
        errors = details.get("errors", {})
        for entry in self.entries:
            entry.error = errors.get(str(entry.first))
        self.output = {int(call): said for call, said in details.get("output", {}).items()}
        self.fetched_bytes = details.get("fetched_bytes", 0)
        if "fault" in details:
            self.fault = Fault(*details["fault"])
