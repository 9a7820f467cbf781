"""Content-addressed bytes: what a reference names is what was meant, or it is refused."""

from __future__ import annotations

from collections.abc import Sequence

from lambdafutures.exceptions import WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdafutures._wire.codec import Buffer


def digest(parts: Sequence[Buffer]) -> str:
    """Return the SHA-256 of parts, in hexadecimal; the lengths of the parts count too.

    Args:
        parts: The stream and buffers of a pickled object.
    """
    from hashlib import sha256

    state = sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()


def check(parts: Sequence[Buffer], expected: str) -> None:
    """Refuse parts that are not what their reference names.

    Args:
        parts: What arrived.
        expected: The SHA-256 in the reference, in hexadecimal.

    Raises:
        WireError: If they differ. Nothing may be unpickled then.
    """
    found = digest(parts)
    if found != expected:
        raise WireError(f"a blob's SHA-256 is {found}, not {expected}: it was overwritten")
