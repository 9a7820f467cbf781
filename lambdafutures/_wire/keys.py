"""Every key of the store is built and parsed here.

::

    {prefix}/blobs/{sha256}
    {prefix}/sessions/{session}/alive
    {prefix}/blobs/bundles/{name}/{part}
    {prefix}/blobs/bundles/{name}/about
    {prefix}/sessions/{session}/initializer
    {prefix}/sessions/{session}/proof
    {prefix}/sessions/{session}/in/{chunk}
    {prefix}/sessions/{session}/out/{chunk}/{attempt}

and of a durable session::

    {prefix}/sessions/{session}/head
    {prefix}/sessions/{session}/log/{number}
    {prefix}/sessions/{session}/arguments/{name}

Chunk, attempt and number are zero-padded, so that a listing comes in their order and `start_after`
can leave out what is finished.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

CHUNK_DIGITS = 9  # a thousand million chunks: far beyond what one executor's memory can hold
ATTEMPT_DIGITS = 4
LOG_DIGITS = 9  # one a millisecond for eleven days
PART_DIGITS = 3
ABOUT = "about"

_SESSION = re.compile(r"[A-Za-z0-9-]{1,64}")
_OUT = re.compile(rf"/out/([0-9]{{{CHUNK_DIGITS}}})/([0-9]{{{ATTEMPT_DIGITS}}})\Z")
_LOG = re.compile(rf"/log/([0-9]{{{LOG_DIGITS}}})\Z")


def blob_key(prefix: str, sha256: str) -> str:
    """Return the key of the blob of that SHA-256."""
    return f"{prefix}/blobs/{sha256}"


def bundles_prefix(prefix: str) -> str:
    """Return what the keys of all bundles begin with."""
    return f"{prefix}/blobs/bundles/"


def part_key(prefix: str, bundle: str, part: int) -> str:
    """Return the key of a part of a bundle."""
    return f"{bundles_prefix(prefix)}{bundle}/{_padded(part, PART_DIGITS)}"


def about_key(prefix: str, bundle: str) -> str:
    """Return the key of what is said about a bundle; it is written after its parts."""
    return f"{bundles_prefix(prefix)}{bundle}/{ABOUT}"


def session_prefix(prefix: str, session: str) -> str:
    """Return what all keys of a session begin with.

    Raises:
        ValueError: If `session` has other characters than letters, digits and hyphens.
    """
    if not _SESSION.fullmatch(session):
        raise ValueError(f"not a session id: {session!r}")
    return f"{prefix}/sessions/{session}/"


def alive_key(prefix: str, session: str) -> str:
    """Return the key of the sign that a session is alive: its other objects go after it."""
    return f"{session_prefix(prefix, session)}alive"


def in_key(prefix: str, session: str, chunk: int) -> str:
    """Return the key of a chunk's arguments."""
    return f"{session_prefix(prefix, session)}in/{_padded(chunk, CHUNK_DIGITS)}"


def initializer_key(prefix: str, session: str) -> str:
    """Return the key of a session's initializer."""
    return f"{session_prefix(prefix, session)}initializer"


def proof_key(prefix: str, session: str) -> str:
    """Return the key that a worker writes to learn whether it can."""
    return f"{session_prefix(prefix, session)}proof"


def out_prefix(prefix: str, session: str) -> str:
    """Return what the keys of all outcomes of a session begin with."""
    return f"{session_prefix(prefix, session)}out/"


def out_key(prefix: str, session: str, chunk: int, attempt: int) -> str:
    """Return the key of an attempt's outcome."""
    return (
        f"{out_prefix(prefix, session)}{_padded(chunk, CHUNK_DIGITS)}/"
        f"{_padded(attempt, ATTEMPT_DIGITS)}"
    )


def parse_out_keys(found: Iterable[str]) -> list[tuple[int, int]]:
    """Return the chunks and the attempts of outcomes' keys; pass over what is no such key.

    Args:
        found: Keys of a listing. Whoever may write into the bucket may have added others.
    """
    matches = map(_OUT.search, found)
    return [(int(match[1]), int(match[2])) for match in matches if match]


def head_key(prefix: str, session: str) -> str:
    """Return the key of what holds for all calls of a durable session."""
    return f"{session_prefix(prefix, session)}head"


def log_prefix(prefix: str, session: str) -> str:
    """Return what the keys of a durable session's log begin with."""
    return f"{session_prefix(prefix, session)}log/"


def log_key(prefix: str, session: str, number: int) -> str:
    """Return the key of an object of a durable session's log."""
    return f"{log_prefix(prefix, session)}{_padded(number, LOG_DIGITS)}"


def parse_log_keys(found: Iterable[str]) -> list[int]:
    """Return the numbers of a log's objects; pass over what is no such key.

    Args:
        found: Keys of a listing.
    """
    return [int(match[1]) for match in map(_LOG.search, found) if match]


def arguments_key(prefix: str, session: str, name: str) -> str:
    """Return the key of an object that holds the arguments of many chunks."""
    return f"{session_prefix(prefix, session)}arguments/{name}"


def _padded(number: int, digits: int) -> str:
    text = f"{number:0{digits}d}"
    if number < 0 or len(text) > digits:
        raise ValueError(f"{number} does not fit {digits} digits")
    return text
