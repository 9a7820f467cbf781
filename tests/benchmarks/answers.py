"""What answers invocations in the worker's place, for measurements of the client.

The parts are the worker's own (payload, outcome, seal), so the client cannot tell; only the calls
are not run: each returns None.
"""

from __future__ import annotations

import json
from array import array
from functools import lru_cache
from typing import NamedTuple

from lambdafutures._wire import codec, frames, invocation, outcome, seal
from lambdafutures._wire.invocation import Invocation
from lambdafutures._wire.outcome import Entry, Outcome


class Answer(NamedTuple):
    """Hold an outcome ready to be sent.

    Args:
        asked: What was asked.
        calls: How many calls it has.
        sealed: The outcome's bytes with their seal.
    """

    asked: Invocation
    calls: int
    sealed: bytes

    @property
    def is_stored(self) -> bool:
        """Whether the client collects the outcome from the store."""
        return self.asked.reply != invocation.RESPONSE

    def body(self) -> bytes:
        """Return the Invoke's answer: the outcome, or where it is stored."""
        if self.is_stored:
            fields = invocation.answer(stored=self.asked.out_key)
        else:
            fields = invocation.answer(outcome=invocation.to_text(self.sealed))
        return json.dumps(fields).encode()


def answer(body: bytes, run_s: float = 0.0, received_s: float = 0.0) -> Answer:
    """Return the outcome of an Invoke whose calls all return None.

    Args:
        body: The Invoke's payload.
        run_s: How long each call is said to have run, in seconds.
        received_s: When the worker is said to have received it, in seconds since the epoch.
    """
    asked = Invocation.decode(json.loads(body))
    payload = asked.payload
    ranges = payload.calls or [(0, len(codec.loads(payload.arguments)))]
    calls = sum(count for _, count in ranges)
    done = Outcome(
        payload.chunk,
        payload.attempt,
        [Entry(first, count, outcome.OK, [_nones(count)]) for first, count in ranges],
        received_s=received_s,
        run_s=array("f", [run_s]) * calls,
    )
    frame = frames.pack(frames.OUTCOME, *done.encode())
    name = asked.session.session, payload.chunk, payload.attempt
    return Answer(asked, calls, seal.seal(asked.key, *name, frame))


@lru_cache(maxsize=1024)
def _nones(count: int) -> bytes:
    (data,) = codec.dumps([None] * count).parts
    return bytes(data)
