"""Objects that whoever writes into the bucket cannot forge.

A sealed object is its HMAC-SHA256, under the session's key, over the session, the object's own name
and its bytes; then the bytes. An outcome's name is the chunk and attempt that it answers. It is
checked before anything in it is unpickled.
"""

from __future__ import annotations

import hmac

from lambdafutures._wire import frames
from lambdafutures._wire.outcome import Outcome
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
    return seal_object(key, session, f"{chunk}/{attempt}", body)


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
    what = f"the outcome of attempt {attempt} at chunk {chunk}"
    return unseal_object(key, session, f"{chunk}/{attempt}", sealed, what)


def open_outcome(key: bytes, session: str, chunk: int, attempt: int, sealed: Buffer) -> Outcome:
    """Return the outcome that a sealed object holds.

    Args:
        key: The session's signing key.
        session: The session's id.
        chunk: Number of the chunk that it is to answer.
        attempt: Number of the attempt.
        sealed: What `seal` returned.

    Raises:
        WireError: If it is not ours, or damaged, or answers something else.
    """
    frame = frames.parse(unseal(key, session, chunk, attempt, sealed))
    answer = Outcome.decode(frame.head, frame.parts)
    if (answer.chunk, answer.attempt) != (chunk, attempt):
        raise WireError(f"an outcome of attempt {answer.attempt} at chunk {answer.chunk}")
    return answer


def seal_object(key: bytes, session: str, name: str, body: bytes) -> bytes:
    """Return an object's bytes with their seal.

    Args:
        key: The session's signing key.
        session: The session's id.
        name: The object's own name, such as ``"log/3"``: it is refused under any other.
        body: Its bytes.
    """
    return _mac(key, session, name, body) + body


def unseal_object(
    key: bytes, session: str, name: str, sealed: Buffer, what: str | None = None
) -> memoryview:
    """Return an object's bytes if their seal is ours.

    Args:
        key: The session's signing key.
        session: The session's id.
        name: The object's own name.
        sealed: What `seal_object` returned.
        what: What it is, in words; by default the job's object of that name.

    Raises:
        WireError: If it is not; then nothing of it may be unpickled.
    """
    view = memoryview(sealed)
    body = view[MAC_BYTES:]
    if not hmac.compare_digest(view[:MAC_BYTES], _mac(key, session, name, body)):
        raise WireError(
            f"{what or f'the object {name} of job {session}'} does not carry this session's "
            "seal: something else wrote it; nothing of it was read"
        )
    return body


def _mac(key: bytes, session: str, name: str, body: Buffer) -> bytes:
    state = hmac.new(key, f"{session}/{name}\n".encode(), "sha256")
    state.update(body)
    return state.digest()
