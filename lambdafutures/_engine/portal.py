"""The thread with the event loop, and the way in from other threads."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any


class Portal:
    """Run one event loop on a thread of its own.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        # A daemon, because the drain at interpreter exit joins it; were that to fail, the
        # interpreter must still end.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._ended = threading.Event()

    def start(
        self, main: Callable[[], Coroutine[Any, Any, None]], at_end: Callable[[], object]
    ) -> None:
        """Start the thread; it ends when `main` does.

        Args:
            main: Makes the coroutine to run.
            at_end: Called last of all, when the loop has been closed.

        Raises:
            RuntimeError: If no thread can be started.
        """
        # Its first step comes before all that other threads ask for, however late ours begins.
        running = main()
        self._main = self.loop.create_task(running, context=contextvars.Context())
        self._at_end = at_end
        try:
            self._thread.start()
        except RuntimeError:  # there are too many: nothing will ever be run
            self.loop.set_exception_handler(lambda *_: None)
            running.close()
            self.loop.close()
            raise

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Have a function called on the loop soon; nothing happens once the loop has ended.

        Args:
            function: What to call; it must neither block nor raise.
            args: Its arguments.
        """
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            if not self.loop.is_closed():
                raise

    def join(self) -> None:
        """Wait for the thread to end."""
        # For the event first: up to Python 3.12, a thread whose `join` was once interrupted by
        # Ctrl-C counts as ended from then on.
        self._ended.wait()
        self._thread.join()

    @property
    def is_current(self) -> bool:
        """Whether the caller runs on the portal's thread."""
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._main)
        finally:
            try:
                self._close()
            finally:
                self._ended.set()

    def _close(self) -> None:
        # Transports that were told to close do so in the loop's next turns.
        for _ in range(3):
            self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        self.loop.close()
        self._at_end()
        # These lead back to the session: without them it goes as soon as its executor does, not
        # when the garbage collector finds it.
        del self._main, self._at_end
        self.loop.set_exception_handler(None)
