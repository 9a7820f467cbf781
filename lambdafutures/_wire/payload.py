"""What the client tells a worker: the session once, then chunk by chunk.

Both heads are JSON with the format version, so that they can be read in a log; binary parts ride
beside them (raw through a pipe, base64 inside the JSON of an Invoke).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from lambdafutures._wire.codec import Pickled
from lambdafutures.exceptions import WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdafutures._wire.bundle import Bundle
    from lambdafutures._wire.codec import Buffer
    from lambdafutures._wire.invocation import StoredParts

FORMAT_VERSION = 1


class SessionHead:
    """Say what holds for all calls of an executor.

    Args:
        session: The session's id.
        python: Minor version of the client's Python, such as ``"3.12"``.
        serializer: Who pickles what plain pickle cannot.
        initializer: `(initializer, initargs)` pickled, or None.
        environment: Environment variables to set in the worker.
        sys_path: Import path of the client, for workers on its own machine.
        log_level: Level of the client's root logger.
        depth: How many executors deep the worker is nested; 1 for a worker of a plain client.
        bundles: What the initializer needs on the import path, and every call.
        is_bare: A local worker has the import path that is given, and no packages of its own.
    """

    __slots__ = (
        "_head",
        "bundles",
        "depth",
        "environment",
        "initializer",
        "is_bare",
        "log_level",
        "python",
        "serializer",
        "session",
        "sys_path",
    )

    def __init__(
        self,
        session: str,
        python: str,
        serializer: str = "cloudpickle",
        initializer: Pickled | None = None,
        environment: Mapping[str, str] | None = None,
        sys_path: Sequence[str] | None = None,
        log_level: int | None = None,
        depth: int = 1,
        bundles: Sequence[Bundle] = (),
        is_bare: bool = False,
    ) -> None:
        self.session = session
        self.python = python
        self.serializer = serializer
        self.initializer = initializer
        self.environment = environment or {}
        self.sys_path = sys_path
        self.log_level = log_level
        self.depth = depth
        self._head: bytes | None = None  # made once: on AWS it travels with each attempt
        self.bundles = tuple(bundles)
        self.is_bare = is_bare

    @property
    def is_apart(self) -> bool:
        """Whether workers cannot import all that the client can."""
        return self.is_bare or self.sys_path is None

    def place_bundles(self, folders: Mapping[str, str | None]) -> None:
        """Take note of where bundles are unpacked.

        Args:
            folders: Their folders, by name.
        """
        for bundle in self.bundles:
            bundle.folder = folders[bundle.name]
        self._head = None

    @property
    def folders(self) -> list[str]:
        """Where the bundles are unpacked."""
        return [bundle.folder for bundle in self.bundles if bundle.folder is not None]

    def encode(self) -> list[Buffer]:
        """Return the head as JSON, then the parts of the initializer."""
        if self._head is None:
            self._head = self._encode_head()
        return [self._head, *(self.initializer.parts if self.initializer else ())]

    def _encode_head(self) -> bytes:
        head = {
            "lambdafutures": FORMAT_VERSION,
            "session": self.session,
            "python": self.python,
            "serializer": self.serializer,
            "environment": dict(self.environment),
            "sys_path": self.sys_path,
            "log_level": self.log_level,
            "depth": self.depth,
            "bundles": [[*bundle.to_fields(), bundle.folder] for bundle in self.bundles],
            "is_bare": self.is_bare,
        }
        return json.dumps(head).encode()

    @classmethod
    def decode(cls, parts: Sequence[Buffer]) -> SessionHead:
        """Read a head and the initializer.

        Args:
            parts: What `encode` returned.

        Raises:
            WireError: If it was written by another version.
        """
        text = bytes(parts[0])
        fields = check_version(text)
        head = cls(
            session=fields["session"],
            python=fields["python"],
            serializer=fields["serializer"],
            initializer=Pickled(parts[1], parts[2:]) if len(parts) > 1 else None,
            environment=fields["environment"],
            sys_path=fields["sys_path"],
            log_level=fields["log_level"],
            depth=fields["depth"],
            bundles=[_bundle(each) for each in fields["bundles"]],
            is_bare=fields["is_bare"],
        )
        head._head = text
        return head


def _bundle(fields: Sequence[Any]) -> Bundle:
    from lambdafutures._wire.bundle import Bundle

    *described, folder = fields
    bundle = Bundle.of_fields(described)
    bundle.folder = folder
    return bundle


def check_version(head: bytes) -> dict[str, Any]:
    """Parse a JSON head and check that its format version is ours.

    Args:
        head: JSON text.

    Raises:
        WireError: If it is not JSON, or of another version; names both.
    """
    try:
        fields = json.loads(head)
        version = fields["lambdafutures"]
    except (ValueError, KeyError, TypeError) as error:
        raise WireError(f"not a message of lambdafutures: {head[:80]!r}") from error
    if version != FORMAT_VERSION:
        raise WireError(
            f"a message of format {version} where this side speaks {FORMAT_VERSION}: client and "
            "worker run different versions of lambdafutures; run `lambdafutures deploy` again"
        )
    return dict(fields)


class Payload:
    """Say what one attempt is to run.

    Args:
        chunk: Number of the chunk in its session.
        attempt: Number of the attempt, from 1.
        function: SHA-256 of the function blob.
        arguments: Parts of the pickled list of the chunk's arguments.
        calls: Which calls of the chunk to run, as `(first, count)` ranges; None for all.
        has_kwargs: Each item is `(args, kwargs)` rather than `args`.
        function_parts: The function blob itself, for workers that may not have it.
        limit_s: Time limit of each call, in seconds.
        memory_mb: Memory of the worker that is to run it, in MiB, where there are several sizes;
            None for the usual one. It chooses the worker, so it is not sent.
        received_s: When a supervisor received it, in seconds since the epoch; None where the
            runner has no supervisor but the client.
        place: Where the store has the arguments of a durable call, and its function under its
            hash. What is empty here is read from there.
        bundles: What the calls need on the import path. The head names the folders where they are
            unpacked, once they are.
    """

    __slots__ = (
        "arguments",
        "attempt",
        "bundles",
        "calls",
        "chunk",
        "fetched_bytes",
        "folders",
        "function",
        "function_parts",
        "has_kwargs",
        "limit_s",
        "memory_mb",
        "place",
        "received_s",
    )

    def __init__(
        self,
        chunk: int,
        attempt: int,
        function: str,
        arguments: Sequence[Buffer],
        calls: Sequence[tuple[int, int]] | None = None,
        has_kwargs: bool = False,
        function_parts: Sequence[Buffer] = (),
        limit_s: float | None = None,
        memory_mb: int | None = None,
        received_s: float | None = None,
        place: StoredParts | None = None,
        bundles: Sequence[Bundle] = (),
    ) -> None:
        self.chunk = chunk
        self.attempt = attempt
        self.function = function
        self.arguments = arguments
        self.calls = calls
        self.has_kwargs = has_kwargs
        self.function_parts = function_parts
        self.limit_s = limit_s
        self.memory_mb = memory_mb
        self.received_s = received_s
        self.place = place
        self.bundles = bundles
        self.folders: Sequence[str] = ()
        """In the worker: where the bundles are."""
        self.fetched_bytes = 0
        """In the worker: length of the bundles that were fetched for it."""

    @property
    def nbytes(self) -> int:
        """Length of the binary parts, in bytes."""
        return sum(map(len, self.arguments)) + sum(map(len, self.function_parts))

    def encode_head(self, *, with_function: bool) -> bytes:
        """Return the head as JSON.

        Written by hand: this is the one JSON text made per call on the hot path.

        Args:
            with_function: The parts begin with the function blob.
        """
        calls = "null" if self.calls is None else json.dumps(self.calls)
        received = "" if self.received_s is None else f',"received_s":{self.received_s}'
        carried = ""
        if self.bundles:
            folders = [bundle.folder for bundle in self.bundles if bundle.folder is not None]
            carried = f',"folders":{json.dumps(folders)},"fetched_bytes":{self.fetched_bytes}'
        return (
            f'{{"lambdafutures":{FORMAT_VERSION},"chunk":{self.chunk},"attempt":{self.attempt},'
            f'"function":"{self.function}",'
            f'"function_parts":{len(self.function_parts) if with_function else 0},'
            f'"has_kwargs":{"true" if self.has_kwargs else "false"},"calls":{calls},'
            f'"limit_s":{"null" if self.limit_s is None else self.limit_s}{received}{carried}}}'
        ).encode()

    @classmethod
    def decode(cls, head: bytes, parts: Sequence[Buffer]) -> Payload:
        """Read a head and its parts.

        Args:
            head: What `encode_head` wrote.
            parts: The function blob's parts, if they are there, then the arguments'.

        Raises:
            WireError: If it was written by another version.
        """
        fields = check_version(head)
        split = fields["function_parts"]
        calls = fields["calls"]
        payload = cls(
            chunk=fields["chunk"],
            attempt=fields["attempt"],
            function=fields["function"],
            arguments=parts[split:],
            calls=None if calls is None else [(first, count) for first, count in calls],
            has_kwargs=fields["has_kwargs"],
            function_parts=parts[:split],
            limit_s=fields["limit_s"],
            received_s=fields.get("received_s"),
        )
        if "folders" in fields:
            payload.folders = fields["folders"]
            payload.fetched_bytes = fields["fetched_bytes"]
        return payload
