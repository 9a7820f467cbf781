"""A progress bar of the commands: one line of a terminal, or a line per step."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self, TextIO

WIDTH = 30


class Bar:
    """Show how far something is; the terminal's line is free again afterwards.

    Args:
        file: Where to; standard error by default.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stderr
        self._is_terminal = self._file.isatty()
        self._what = ""

    def show(self, what: str, share: float) -> None:
        """Show what is being done, and how far it is.

        Args:
            what: In a word or two.
            share: From 0 to 1.
        """
        if self._is_terminal:
            done = round(WIDTH * share)
            bar = "#" * done + "." * (WIDTH - done)
            self._file.write(f"\r{what:12} [{bar}] {share:4.0%}")
            self._file.flush()
        elif what != self._what:
            self._file.write(f"{what} ...\n")
        self._what = what

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_terminal and self._what:
            self._file.write("\r" + " " * (WIDTH + 22) + "\r")
            self._file.flush()
