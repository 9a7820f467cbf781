"""What benchmarks call, in a module of its own as in a user's program."""

from __future__ import annotations


def no_op(x: object) -> None:
    """Do nothing."""
