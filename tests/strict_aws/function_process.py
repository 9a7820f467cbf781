"""The process of one environment: its start, its output, its end."""

import asyncio
import os
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from .process_tree import (
    kill_children,
    kill_tree,
    memory_kb,
    oom_victim,
    process_tree,
    signal_group,
)

_READ_BYTES = 64 * 1024
_LOG_MAX_BYTES = 1024 * 1024
"""Output kept of one invocation; what a function writes beyond is dropped from the front."""
FILES_MAX = 1_024
"""File descriptors of a sandbox (Developer Guide, "Lambda quotas")."""
MEMORY_WATCH_S = 0.05
"""Between two looks at the memory of an environment that has a limit."""


class FunctionProcess:
    """A runtime process and its group.

    Attributes:
        is_alive: Whether it has not ended.
        was_out_of_memory: Whether its runtime was killed for its memory.
        peak_kb: The most memory seen.
    """

    def __init__(self, on_exit: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_exit = on_exit
        self._popen: subprocess.Popen[bytes] | None = None
        self._output = bytearray()
        self._read_fd = -1
        self._pid_fd = -1
        self._watch: asyncio.TimerHandle | None = None
        self._is_frozen = False
        self.was_out_of_memory = False
        self.peak_kb = 0

    @property
    def is_alive(self) -> bool:
        """Return whether the runtime runs."""
        return self._popen is not None and self._popen.returncode is None

    def start(self, command: list[str], environment: dict[str, str], cwd: Path) -> None:
        """Start the process.

        Args:
            command: Its command line.
            environment: All of its environment variables.
            cwd: Its working directory.
        """
        self._read_fd, write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        try:
            # A group of its own, so that it can be frozen and killed as a whole; but the same
            # session, so that the kernel ends a frozen one when the fake itself is killed.
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=write_fd,
                stderr=write_fd,
                cwd=cwd,
                env=environment,
                process_group=0,
            )
        finally:
            os.close(write_fd)
        pid = self._popen.pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))
        self._loop.add_reader(self._read_fd, self._read_output)
        self._pid_fd = os.pidfd_open(pid)
        self._loop.add_reader(self._pid_fd, self._exited)

    def take_output(self) -> bytes:
        """Return what the process has written since the last time."""
        self._read_output()
        output = bytes(self._output)
        self._output.clear()
        return output

    def exit_message(self) -> str:
        """Return how the process ended, in Lambda's words."""
        assert self._popen is not None
        code = self._popen.returncode
        if code == 0:
            return "Runtime exited without providing a reason"
        if code > 0:
            return f"Runtime exited with error: exit status {code}"
        name = (signal.strsignal(-code) or str(-code)).lower()
        return f"Runtime exited with error: signal: {name}"

    def freeze(self) -> None:
        """Stop the process group, as Lambda does between invocations."""
        if self.is_alive and not self._is_frozen:
            assert self._popen is not None
            self._is_frozen = True
            signal_group(self._popen.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the process group go on."""
        if self._is_frozen:
            assert self._popen is not None
            self._is_frozen = False
            signal_group(self._popen.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process and all that it started."""
        if self.is_alive:
            assert self._popen is not None
            kill_tree(self._popen.pid)

    def kill_children(self) -> None:
        """Kill what the runtime has started, but not the runtime."""
        if self.is_alive:
            assert self._popen is not None
            kill_children(self._popen.pid)

    def close(self) -> None:
        """Kill, reap and let go of the descriptors; nothing is called back any more."""
        if self._popen is not None:
            if self._popen.returncode is None:
                kill_tree(self._popen.pid)
            self._popen.wait()
        self._read_output()
        self._release()

    def watch_memory(self, limit_kb: int) -> None:
        """Kill as Lambda's kernel does what exceeds a limit, until the process ends.

        Args:
            limit_kb: The limit for the whole process tree.
        """
        if not self.is_alive:
            return
        assert self._popen is not None
        if not self._is_frozen:
            by_pid = {pid: memory_kb(pid) for pid in process_tree(self._popen.pid)}
            total_kb = sum(by_pid.values())
            self.peak_kb = max(self.peak_kb, min(total_kb, limit_kb))
            if total_kb > limit_kb:
                self._kill_for_memory(oom_victim(by_pid, limit_kb))
        self._watch = self._loop.call_later(MEMORY_WATCH_S, self.watch_memory, limit_kb)

    def measure_memory(self) -> int:
        """Return the most memory seen so far, in MB, looking once more."""
        if self.is_alive:
            assert self._popen is not None
            total_kb = sum(map(memory_kb, process_tree(self._popen.pid)))
            self.peak_kb = max(self.peak_kb, total_kb)
        return round(self.peak_kb / 1024)

    def _kill_for_memory(self, pid: int) -> None:
        assert self._popen is not None
        if pid == self._popen.pid:
            self.was_out_of_memory = True
            self.kill()
            return
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _read_output(self) -> None:
        if self._read_fd < 0:
            return
        try:
            while data := os.read(self._read_fd, _READ_BYTES):
                self._output += data
                if len(self._output) > _LOG_MAX_BYTES:
                    del self._output[: -_LOG_MAX_BYTES // 2]
        except BlockingIOError:
            return
        # All writers are gone.
        self._loop.remove_reader(self._read_fd)
        os.close(self._read_fd)
        self._read_fd = -1

    def _exited(self) -> None:
        assert self._popen is not None
        if self._popen.poll() is None:
            return
        self._read_output()
        # What the runtime started does not outlive the sandbox.
        signal_group(self._popen.pid, signal.SIGKILL)
        self._release()
        self._on_exit()

    def _release(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for descriptor in (self._read_fd, self._pid_fd):
            if descriptor >= 0:
                self._loop.remove_reader(descriptor)
                os.close(descriptor)
        self._read_fd = self._pid_fd = -1
