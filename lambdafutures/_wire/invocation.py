"""The JSON of one Lambda Invoke, and of its answer.

Binary parts are base64 text. What does not fit is in the store, and named here by its key and hash.
"""

from __future__ import annotations

import json
import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence

from lambdafutures._wire import frames
from lambdafutures._wire.bundle import Bundle
from lambdafutures._wire.payload import FORMAT_VERSION, Payload, SessionHead
from lambdafutures.exceptions import WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdafutures._wire.codec import Buffer

# How an outcome comes home.
RESPONSE = "response"
POLL = "poll"

# Lambda's limits on what is sent and answered (service quotas, "Invocation payload"): synchronous 6
# MB each way, asynchronous 1 MB.
MAX_REQUEST_BYTES = 6 * 1024 * 1024
MAX_EVENT_BYTES = 1024 * 1024
MAX_RESPONSE_BYTES = 6 * 1024 * 1024
# Room for the JSON around the base64 text.
ENVELOPE_BYTES = 16 * 1024
# An outcome that took longer than this to make is stored as well as answered: should the response
# be cut on its way, the work is not done twice. A PUT is dear beside shorter calls.
STORE_AFTER_S = 10.0


def fits(nbytes: int, limit_bytes: int) -> bool:
    """Tell whether binary parts, as base64 text, fit a payload.

    Args:
        nbytes: Their length.
        limit_bytes: The payload's limit.
    """
    return -(-nbytes // 3) * 4 + ENVELOPE_BYTES <= limit_bytes


class StoredParts:
    """Say where parts are that did not fit.

    Args:
        key: Key of the object.
        start: Where they begin in it.
        length: How many bytes.
        sha256: Their hash (`blob.digest` of the parts).
    """

    __slots__ = ("key", "length", "sha256", "start")

    def __init__(self, key: str, start: int, length: int, sha256: str) -> None:
        self.key = key
        self.start = start
        self.length = length
        self.sha256 = sha256


class Invocation:
    """Say everything that one invocation needs to know.

    Args:
        session: What holds for all calls of the executor.
        payload: What to run; parts that are in the store are empty here.
        bucket: The deployment's bucket.
        prefix: Prefix of its keys.
        reply: `RESPONSE` or `POLL`.
        out_key: Key for the outcome, where it goes into the store.
        key: The session's signing key.
        deadline_s: When nobody waits for it any more, in seconds since the epoch.
        stored_function: Whether the function is in the store, under its hash.
        stored_arguments: Where the arguments are, if not inline.
        stored_initializer: Where the session's initializer is, if not inline.
        proof_key: Key to write before anything runs, to learn whether outcomes can be stored.
        store_after_s: An outcome that took longer than this is stored as well as answered.
        memory_mb: Memory that a call may use, in MiB; by default what the function has.
        late_s: From when on, in seconds since the epoch, the worker asks whether the session is
            alive before it runs or leaves anything; None if it never asks.
    """

    __slots__ = (
        "bucket",
        "deadline_s",
        "key",
        "late_s",
        "memory_mb",
        "out_key",
        "payload",
        "prefix",
        "proof_key",
        "reply",
        "session",
        "store_after_s",
        "stored_arguments",
        "stored_function",
        "stored_initializer",
    )

    def __init__(
        self,
        session: SessionHead,
        payload: Payload,
        *,
        bucket: str,
        prefix: str,
        reply: str,
        out_key: str,
        key: bytes,
        deadline_s: float,
        stored_function: bool = False,
        stored_arguments: StoredParts | None = None,
        stored_initializer: StoredParts | None = None,
        proof_key: str | None = None,
        store_after_s: float = STORE_AFTER_S,
        memory_mb: int | None = None,
        late_s: float | None = None,
    ) -> None:
        self.session = session
        self.payload = payload
        self.bucket = bucket
        self.prefix = prefix
        self.reply = reply
        self.out_key = out_key
        self.key = key
        self.deadline_s = deadline_s
        self.stored_function = stored_function
        self.stored_arguments = stored_arguments
        self.stored_initializer = stored_initializer
        self.proof_key = proof_key
        self.store_after_s = store_after_s
        self.memory_mb = memory_mb
        self.late_s = late_s

    @property
    def is_event(self) -> bool:
        """Whether nobody waits for its answer."""
        return self.reply == POLL and self.proof_key is None

    def encode(self) -> bytes:
        """Return the JSON of the Invoke."""
        payload = self.payload
        with_function = bool(payload.function_parts) and not self.stored_function
        parts: list[Buffer] = [*payload.function_parts] if with_function else []
        if self.stored_arguments is None:
            parts += payload.arguments
        head = payload.encode_head(with_function=with_function)
        session = self.session.encode()
        if self.stored_initializer is not None:
            del session[1:]
        fields: dict[str, Any] = {"lambdafutures": FORMAT_VERSION, "key": self.key.hex()}
        fields |= {name: getattr(self, name) for name in _PLAIN}
        fields |= {name: _places(getattr(self, name)) for name in _STORED}
        fields["bundles"] = [bundle.to_fields() for bundle in payload.bundles]
        hello = to_text(frames.pack(frames.HELLO, b"", session))
        chunk = to_text(frames.pack(frames.CHUNK, head, parts))
        # These are long, and base64, in which JSON has nothing to escape.
        return f'{json.dumps(fields)[:-1]},"session":"{hello}","chunk":"{chunk}"}}'.encode()

    @classmethod
    def decode(cls, fields: dict[str, Any]) -> Invocation:
        """Read the JSON of an Invoke.

        Args:
            fields: The parsed JSON.

        Raises:
            WireError: If it is not one, or of another version.
        """
        check_fields(fields)
        try:
            chunk = frames.parse(a2b_base64(fields["chunk"]))
            stored: dict[str, Any] = {
                name: None if fields[name] is None else StoredParts(*fields[name])
                for name in _STORED
            }
            payload = Payload.decode(chunk.head, chunk.parts)
            payload.bundles = [Bundle.of_fields(each) for each in fields["bundles"]]
            return cls(
                SessionHead.decode(frames.parse(a2b_base64(fields["session"])).parts),
                payload,
                key=bytes.fromhex(fields["key"]),
                **stored,
                **{name: fields[name] for name in _PLAIN},
            )
        except (KeyError, TypeError, ValueError, struct.error) as error:
            raise WireError(f"a damaged invocation: {error!r}") from error


# Fields of an invocation that are JSON as they are, and those that name a place in the store.
_PLAIN = (
    "bucket",
    "prefix",
    "reply",
    "out_key",
    "deadline_s",
    "stored_function",
    "proof_key",
    "store_after_s",
    "memory_mb",
    "late_s",
)
_STORED = ("stored_arguments", "stored_initializer")


def _places(stored: StoredParts | None) -> list[str | int] | None:
    return None if stored is None else [stored.key, stored.start, stored.length, stored.sha256]


def check_fields(fields: object) -> dict[str, Any]:
    """Return a JSON object if it is one of ours, of this version.

    Args:
        fields: The parsed JSON.

    Raises:
        WireError: If it is not; names both versions.
    """
    if not isinstance(fields, dict) or "lambdafutures" not in fields:
        raise WireError("not a message of lambdafutures")
    version = fields["lambdafutures"]
    if version != FORMAT_VERSION:
        raise WireError(
            f"a message of format {version} where this side speaks {FORMAT_VERSION}: client and "
            "worker run different versions of lambdafutures; run `lambdafutures deploy` again"
        )
    return fields


def check_answer(fields: object) -> dict[str, Any]:
    """Return a worker's answer; why it refused is understood whatever version it is of.

    Args:
        fields: The parsed JSON.

    Raises:
        WireError: If it is not one, or of another version.
    """
    if isinstance(fields, dict) and "lambdafutures" in fields and "refused" in fields:
        return fields
    try:
        return check_fields(fields)
    except WireError as error:
        raise WireError(f"the function answered: {error}") from None


def to_text(data: Buffer) -> str:
    """Return bytes as base64 text."""
    return b2a_base64(data, newline=False).decode("ascii")


def from_text(text: str) -> bytes:
    """Return the bytes of base64 text."""
    return a2b_base64(text)


def answer(**fields: object) -> dict[str, object]:
    """Return the JSON object of an answer.

    Args:
        **fields: `outcome` (base64 of a sealed outcome), `stored` (its key) or both, or `refused`
            (why no invocation of this session can succeed, as a sentence), or `lost` (why there is
            no outcome although the calls ran), or `dropped` (why nothing was run).
    """
    return {"lambdafutures": FORMAT_VERSION, **fields}


def unpack_parts(data: Buffer) -> Sequence[Buffer]:
    """Return the parts that an object of the store holds.

    Args:
        data: The object, or its part that a reference names.

    Raises:
        WireError: If it is not what `pack_parts` returned.
    """
    try:
        return frames.parse(data).parts
    except (WireError, struct.error, ValueError, IndexError, OverflowError, MemoryError) as error:
        raise WireError(f"an object of the store is damaged or was overwritten: {error}") from error


def pack_parts(parts: Sequence[Buffer]) -> bytes:
    """Return parts as the bytes of an object.

    Args:
        parts: The parts of a pickled object.
    """
    return frames.pack(frames.CHUNK, b"", parts)
