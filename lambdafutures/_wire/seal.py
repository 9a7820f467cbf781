"""Outcomes that whoever writes into the bucket cannot forge.

A sealed outcome is its HMAC-SHA256, under the session's key, over the session, chunk and attempt
that it answers and its bytes; then the bytes. It is checked before anything in it is unpickled.
"""

from __future__ import annotations

import hmac

from lambdafutures.exceptions import WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer

MAC_BYTES = 32
KEY_BYTES = 32


def seal(key: bytes, session: str, chunk: int, attempt: int, body: bytes) -> bytes:
    """Return an outcome's bytes with their seal.

    Args:
        key: The session's signing key.
        session: The session's id.
        chunk: Number of the chunk that it answers.
        attempt: Number of the attempt.
        body: The outcome's frame.
    """
    return _mac(key, session, chunk, attempt, body) + body


def unseal(key: bytes, session: str, chunk: int, attempt: int, sealed: Buffer) -> memoryview:
    """Return an outcome's bytes if their seal is ours.

    Args:
        key: The session's signing key.
        session: The session's id.
        chunk: Number of the chunk that it is to answer.
        attempt: Number of the attempt.
        sealed: What `seal` returned.

    Raises:
        WireError: If it is not; then nothing of it may be unpickled.
    """
    view = memoryview(sealed)
    body = view[MAC_BYTES:]
    if not hmac.compare_digest(view[:MAC_BYTES], _mac(key, session, chunk, attempt, body)):
        raise WireError(
            f"the outcome of attempt {attempt} at chunk {chunk} does not carry this session's "
            "seal: something else wrote it; nothing of it was read"
        )
    return body


def _mac(key: bytes, session: str, chunk: int, attempt: int, body: Buffer) -> bytes:
    state = hmac.new(key, f"{session}/{chunk}/{attempt}\n".encode(), "sha256")
    state.update(body)
    return state.digest()
