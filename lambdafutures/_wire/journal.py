"""A memory file that outlives its runner: what ran, since when, and what had already ended.

The runner writes, at the cost of no system call per call; the supervisor reads when it must judge a
time limit or when the runner has died, so finished calls keep their results and the call that
killed the runner is known. Layout::

    running call i64 | started f64 (monotonic clock, common to all processes) | length u64
    chunk u64 | attempt u64
    outcomes, as frames, `length` bytes of them, from byte 64
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Iterable
from functools import partial

from lambdafutures._wire import frames, memory_file
from lambdafutures._wire.outcome import Entry, Fault, Outcome

BOOTING = -3
IDLE = -2
SETUP = -1

_START = 64
_MARK = struct.Struct("<qd")
_LENGTH = struct.Struct("<Q")
_NAME = struct.Struct("<QQ")
_NAME_START = _MARK.size + _LENGTH.size
# A file that has grown beyond this is cut back after the chunk.
_KEEP_BYTES = 1024 * 1024


class Journal:
    """Read and write one runner's journal.

    Args:
        handle: Descriptor of the memory file; a new one if None. The journal owns it.
    """

    def __init__(self, handle: int | None = None) -> None:
        is_new = handle is None
        if handle is None:
            handle = memory_file.create()
            os.ftruncate(handle, _START)
        self.handle = handle
        self._page = mmap.mmap(handle, _START)
        self._length = 0
        self.marker = partial(_MARK.pack_into, self._page, 0)
        """`mark`, without the cost of a method: it is called before each call."""
        if is_new:
            self.mark(BOOTING, time.monotonic())

    def begin(self, chunk: int, attempt: int) -> None:
        """Forget the attempt before; set-up of the next begins.

        Args:
            chunk: Number of its chunk.
            attempt: Its number.
        """
        _NAME.pack_into(self._page, _NAME_START, chunk, attempt)
        self._set_length(0)
        self.mark(SETUP, time.monotonic())

    def end(self) -> None:
        """Note that the attempt has ended and is answered; what was kept is of no use any more."""
        self.mark(IDLE, time.monotonic())
        if self._length > _KEEP_BYTES:
            self._set_length(0)
            os.ftruncate(self.handle, _START)

    def mark(self, call: int, now_s: float) -> None:
        """Note that a call begins (`SETUP`, `IDLE`: what is not a call).

        Args:
            call: Index of the call in its chunk.
            now_s: The time, by the monotonic clock.
        """
        self.marker(call, now_s)

    def append(self, outcome: Outcome) -> None:
        """Keep calls that ended.

        Args:
            outcome: Their entries.
        """
        head, parts = outcome.encode()
        offset = _START + self._length
        for piece in frames.encode_inline(frames.OUTCOME, head, parts):
            view = memoryview(piece).cast("B")
            while view:
                written = os.pwrite(self.handle, view, offset)
                view = view[written:]
                offset += written
        # The length comes last: a runner that dies in the middle leaves whole outcomes only.
        self._set_length(offset - _START)

    def _set_length(self, length: int) -> None:
        self._length = length
        _LENGTH.pack_into(self._page, _MARK.size, length)

    @property
    def is_booting(self) -> bool:
        """Whether the runner has not got so far as to take attempts."""
        call, _ = _MARK.unpack_from(self._page)
        return bool(call == BOOTING)

    def running(self, chunk: int, attempt: int) -> tuple[int, float]:
        """Return which call of an attempt runs, and since when by the monotonic clock.

        Args:
            chunk: Number of its chunk.
            attempt: Its number.

        Returns:
            The call's index in the chunk, or `SETUP`, or `IDLE` if the attempt is not running.
        """
        call, started_s = _MARK.unpack_from(self._page)
        if _NAME.unpack_from(self._page, _NAME_START) != (chunk, attempt):
            return IDLE, started_s
        return call, started_s

    def outcomes(self) -> list[Outcome]:
        """Return what was kept of the running chunk."""
        (length,) = _LENGTH.unpack_from(self._page, _MARK.size)
        reader = frames.FrameReader()
        offset = _START
        while length and (piece := os.pread(self.handle, length, offset)):
            reader.feed(piece)
            offset += len(piece)
            length -= len(piece)
        return [Outcome.decode(frame.head, frame.parts) for frame in reader.frames()]

    def salvage(self, chunk: int, attempt: int, fault: Fault) -> Outcome:
        """Return what had ended before the runner did, and why it did, as one outcome.

        Args:
            chunk: Number of the attempt's chunk.
            attempt: Its number.
            fault: What ended it.
        """
        return salvage(self.outcomes(), chunk, attempt, fault)

    def close(self) -> None:
        """Release the file."""
        self._page.close()
        os.close(self.handle)


def salvage(kept: Iterable[Outcome], chunk: int, attempt: int, fault: Fault) -> Outcome:
    """Return what is kept of an attempt, and what ended it, as one outcome.

    Args:
        kept: What its runner kept, in order.
        chunk: Number of the attempt's chunk.
        attempt: Its number.
        fault: What ended it.
    """
    salvaged = Outcome(chunk, attempt, fault=fault)
    entries: list[Entry] = []
    for piece in kept:
        if (piece.chunk, piece.attempt) == (chunk, attempt):
            entries.extend(piece.entries)
            salvaged.run_s.extend(piece.run_s)
            salvaged.output.update(piece.output)
            salvaged.received_s = piece.received_s
            salvaged.setup_s = piece.setup_s
            salvaged.is_first = piece.is_first
    salvaged.entries = entries
    return salvaged
