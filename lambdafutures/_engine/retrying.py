"""What to do about calls that an attempt left without an end. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from lambdafutures._engine.chunk import Chunk, Ranges, Work, ranges_of
from lambdafutures._wire import outcome
from lambdafutures._wire.outcome import Entry, Fault
from lambdafutures.exceptions import CallTimeout, LambdaFuturesError, WireError
from lambdafutures.options import RetryPolicy

# A function that vanishes from its worker's cache is sent along the next time; a worker that
# still claims to lack it then is broken.
MAX_RESENDS = 5


class Verdict(NamedTuple):
    """Say what becomes of unfinished calls.

    Args:
        again: To be tried again, each after so many seconds.
        failed: Ranges of calls that fail, with their exception.
    """

    again: list[tuple[Work, float]]
    failed: list[tuple[Ranges, BaseException]]


def names_exception(policy: RetryPolicy, described: dict[str, object] | None) -> bool:
    """Tell whether a policy retries an exception of the call's own.

    Args:
        policy: The policy.
        described: The exception as `remote_error.describe` tells it.
    """
    if not policy.on_exceptions or not described:
        return False
    lineage = described.get("mro", [])
    return isinstance(lineage, list) and any(
        f"{kind.__module__}.{kind.__qualname__}" in lineage for kind in policy.on_exceptions
    )


def should_retry_entry(policy: RetryPolicy, work: Work, entry: Entry) -> bool:
    """Tell whether a call that raised is to be tried again.

    Args:
        policy: The policy.
        work: What was tried; `tries` counts this try too.
        entry: How the call ended.
    """
    return (
        entry.status == outcome.RAISED
        and work.tries < policy.attempts
        and names_exception(policy, entry.error)
    )


def backoff_s(policy: RetryPolicy, tries: int, jitter: Callable[[], float]) -> float:
    """Return how long to wait before the next try: full jitter below a doubling bound.

    Args:
        policy: The policy.
        tries: Tries so far, at least 1.
        jitter: Gives a number from 0 to 1.
    """
    # Beyond 2**16 the ceiling has long been reached, and floats would overflow later on.
    bound = policy.backoff_s * 2.0 ** min(tries - 1, 16)
    return min(policy.backoff_ceiling_s, bound) * jitter()


def judge(
    work: Work,
    unfinished: Sequence[int],
    fault: Fault,
    jitter: Callable[[], float],
) -> Verdict:
    """Decide about the calls that a fault left without an end.

    The call that ran when the runner died is tried apart from the others from then on: they lose
    nothing by its faults, and it is blamed alone once it has had its tries.

    Args:
        work: What was tried; `tries` counts this try too.
        unfinished: The calls of the work without an end, ascending.
        fault: What ended the attempt.
        jitter: Gives a number from 0 to 1.
    """
    if not unfinished:
        return Verdict([], [])
    if fault.kind in _NOBODYS_FAULT:
        return _NOBODYS_FAULT[fault.kind](work, unfinished, fault)
    policy = work.chunk.options.retry
    suspects, others = _split(unfinished, fault.call)
    verdict = Verdict([], [])
    if others:
        rest = Work(work.chunk, ranges_of(others), work.tries, work.strikes)
        verdict.again.append((rest, 0.0))
    strikes = work.strikes + 1
    if fault.kind == outcome.TIME and not _names_timeout(policy):
        verdict.failed.append((ranges_of(suspects), _error_of(work, suspects, fault)))
    elif strikes < policy.attempts:
        wait_s = backoff_s(policy, strikes, jitter) if fault.kind == outcome.LOST else 0.0
        again = Work(work.chunk, ranges_of(suspects), work.tries, strikes)
        verdict.again.append((again, wait_s))
    elif len(suspects) > 1:
        # Nobody knows which call it was: each half gets one more try, and so on.
        middle = len(suspects) // 2
        for half in (suspects[:middle], suspects[middle:]):
            again = Work(work.chunk, ranges_of(half), work.tries, policy.attempts - 1)
            verdict.again.append((again, 0.0))
    else:
        verdict.failed.append((ranges_of(suspects), _error_of(work, suspects, fault)))
    return verdict


def _throttled(work: Work, unfinished: Sequence[int], fault: Fault) -> Verdict:
    """Go on as soon as there is room: nothing ran, so it costs no try."""
    again = Work(work.chunk, ranges_of(unfinished), work.tries - 1, work.strikes, work.resends)
    return Verdict([(again, 0.0)], [])


def _cut(work: Work, unfinished: Sequence[int], fault: Fault) -> Verdict:
    """Go on in another worker: each that is cut has ended one call at least."""
    return Verdict([(Work(work.chunk, ranges_of(unfinished), work.tries, work.strikes), 0.0)], [])


def _refused(work: Work, unfinished: Sequence[int], fault: Fault) -> Verdict:
    """Fail: somebody else writes where only we should."""
    error = WireError(f"{_named(work.chunk, unfinished)}: {fault.message}")
    return Verdict([], [(ranges_of(unfinished), error)])


def _untried(work: Work, unfinished: Sequence[int], fault: Fault) -> Verdict:
    """Send it again, a few times: a worker lacked something, or had ended."""
    calls = ranges_of(unfinished)
    if work.resends >= MAX_RESENDS:
        error = LambdaFuturesError(
            f"{_named(work.chunk, unfinished)} could not be started: {fault.message} "
            f"(sent {work.resends + 1} times)"
        )
        return Verdict([], [(calls, error)])
    again = Work(work.chunk, calls, work.tries - 1, work.strikes, work.resends + 1)
    return Verdict([(again, 0.0)], [])


def _split(unfinished: Sequence[int], running: int | None) -> tuple[list[int], list[int]]:
    if running is None or running not in unfinished:
        return list(unfinished), []
    return [running], [call for call in unfinished if call != running]


def _names_timeout(policy: RetryPolicy) -> bool:
    return any(issubclass(CallTimeout, kind) for kind in policy.on_exceptions)


def _error_of(work: Work, calls: Sequence[int], fault: Fault) -> BaseException:
    from lambdafutures.exceptions import OutOfMemory, WorkerDied

    kinds: dict[str, type[LambdaFuturesError]] = {
        outcome.TIME: CallTimeout,
        outcome.MEMORY: OutOfMemory,
    }
    tried = "once" if work.tries == 1 else f"{work.tries} times"
    return kinds.get(fault.kind, WorkerDied)(
        f"{_named(work.chunk, calls)} {fault.message} (tried {tried})"
    )


def _named(chunk: Chunk, calls: Sequence[int]) -> str:
    if chunk.count == 1:
        return f"call {chunk.number}"
    if len(calls) == 1:
        return f"call {calls[0]} of chunk {chunk.number}"
    return f"{len(calls)} calls of chunk {chunk.number}"


_NOBODYS_FAULT: dict[str, Callable[[Work, Sequence[int], Fault], Verdict]] = {
    outcome.THROTTLED: _throttled,
    outcome.CUT: _cut,
    outcome.REFUSED: _refused,
    outcome.BLOB_MISSING: _untried,
    outcome.WORKER_ENDED: _untried,
}
