"""What a call prints and logs, kept per call and shown where the worker's output goes as well."""

from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

# The newest output of a call that is kept: enough to see what went wrong, small beside any payload
# limit.
OUTPUT_BYTES = 64 * 1024
LOG_RECORDS = 1000


class Capture:
    """Keep the output of the running call."""

    def __init__(self) -> None:
        self.dirty = False
        self._said: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._logs: list[dict[str, Any]] = []
        self._log_level: int | None = None

    def install(self, log_level: int | None = None) -> None:
        """Put itself into `sys.stdout`, `sys.stderr` and, once it is imported, `logging`.

        Args:
            log_level: Level to give to the root logger, or None to leave it.
        """
        self._log_level = log_level
        for name, handle in (("stdout", 1), ("stderr", 2)):
            raw = _Tee(handle, self, self._said[name])
            stream = io.TextIOWrapper(
                raw,  # type: ignore[type-var]
                encoding="utf-8",
                errors="backslashreplace",
                write_through=True,
            )
            setattr(sys, name, stream)
        if "logging" in sys.modules:
            self.watch_logging(sys.modules["logging"])
        else:
            sys.meta_path.insert(0, _LoggingFinder(self))

    def watch_logging(self, module: ModuleType) -> None:
        """Keep every record that is made from now on.

        A record factory sees them all and, unlike a handler, changes nothing of what the user's
        own configuration does with them.

        Args:
            module: The `logging` module.
        """
        if self._log_level is not None:
            module.getLogger().setLevel(self._log_level)
        make = module.getLogRecordFactory()

        def make_and_keep(*args: Any, **kwargs: Any) -> logging.LogRecord:
            record: logging.LogRecord = make(*args, **kwargs)
            self._keep(record)
            return record

        module.setLogRecordFactory(make_and_keep)

    def _keep(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a wrong format is logging's own to report
            message = f"<{type(record.msg).__name__} that cannot be formatted>"
        self.dirty = True
        self._logs.append(
            {
                "time_s": record.created,
                "level": record.levelname,
                "logger": record.name,
                "message": message,
            }
        )
        del self._logs[:-LOG_RECORDS]

    def take(self) -> dict[str, Any]:
        """Return what was said since the last time, and forget it."""
        said: dict[str, Any] = {}
        for name, text in self._said.items():
            if text:
                said[name] = text[-OUTPUT_BYTES:].decode("utf-8", "replace")
                text.clear()
        if self._logs:
            said["logs"], self._logs = self._logs, []
        self.dirty = False
        return said


class _Tee(io.RawIOBase):
    """Write to a descriptor and keep a copy."""

    def __init__(self, handle: int, capture: Capture, kept: bytearray) -> None:
        self._handle = handle
        self._capture = capture
        self._kept = kept

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._handle

    def isatty(self) -> bool:
        return os.isatty(self._handle)

    def write(self, data: Any, /) -> int:
        view = bytes(data)
        self._capture.dirty = True
        self._kept += view
        # Cut now and then, not at each line: a chatty call costs no more than twice its bytes.
        if len(self._kept) > 2 * OUTPUT_BYTES:
            del self._kept[:-OUTPUT_BYTES]
        rest = view
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError:
            pass  # nobody reads the client's terminal any more; the copy is kept
        return len(view)


class _LoggingFinder:
    """Notice that `logging` is imported: importing it ourselves costs every worker 10 ms."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_watch(module: ModuleType) -> None:
            run(module)
            self._capture.watch_logging(module)

        spec.loader.exec_module = run_and_watch  # type: ignore[method-assign, unused-ignore]
        return spec
