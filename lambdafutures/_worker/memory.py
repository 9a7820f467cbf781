"""Peak resident memory of this process."""

from __future__ import annotations

import os
import resource
import sys

_KIB = 1024


class PeakMemory:
    """Measure the peak, reading the kernel's account only when it may have changed."""

    def __init__(self) -> None:
        self._hint = -1
        self._peak_bytes = 0

    def read_bytes(self) -> int:
        """Return the peak so far, in bytes.

        `getrusage` is cheap but, on Linux, starts at the parent's peak (exec keeps it), so it only
        tells whether to read ``VmHWM``, which does not.
        """
        hint = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if hint != self._hint:
            self._hint = hint
            if sys.platform == "darwin":
                self._peak_bytes = hint  # bytes on macOS
            else:
                self._peak_bytes = _high_water_mark_bytes() or hint * _KIB
        return self._peak_bytes


def _high_water_mark_bytes() -> int:
    try:
        handle = os.open("/proc/self/status", os.O_RDONLY)
    except OSError:
        return 0
    try:
        text = os.read(handle, 4096)
    finally:
        os.close(handle)
    _, found, rest = text.partition(b"VmHWM:")
    return int(rest.split(None, 1)[0]) * _KIB if found else 0
