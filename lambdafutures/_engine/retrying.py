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
# What Lambda answers with an error of its own is sent again more often, ever later: with the usual
# back-off that outlasts half a minute of errors.
MAX_REFUSALS = 8


class Verdict(NamedTuple):
    """Say what becomes of unfinished calls.

    Args:
        again: To be tried again, each after so many seconds.
        failed: Ranges of calls that fail, with their exception.
    """

    again: list[tuple[Work, float]]
    failed: list[tuple[Ranges, BaseException]]


class Case(NamedTuple):
    """Hold what a verdict rests on.

    Args:
        work: What was tried; `tries` counts this try too.
        unfinished: The calls of the work without an end, ascending.
        fault: What ended the attempt.
        jitter: Gives a number from 0 to 1.
        was_first: The attempt was the first that its runner served.
        larger_mb: Memory of the next larger workers, in MiB; None if there are none.
    """

    work: Work
    unfinished: Sequence[int]
    fault: Fault
    jitter: Callable[[], float]
    was_first: bool = False
    larger_mb: int | None = None


def names_exception(policy: RetryPolicy, described: dict[str, object] | None) -> bool:
    """Tell whether a policy retries an exception of the call's own.

    Args:
        policy: The policy.
        described: The exception as `remote_error.describe` tells it.
    """
    if not policy.on_exceptions or not described:
        return False
    lineage = described.get("mro", [])
    # A class that travels by value arrives with its bare name alone.
    return isinstance(lineage, list) and any(
        f"{kind.__module__}.{name}" in lineage
        for kind in policy.on_exceptions
        for name in (kind.__qualname__, kind.__name__)
    )


def should_retry_entry(work: Work, entry: Entry) -> bool:
    """Tell whether a call that raised is to be tried again.

    Args:
        work: What was tried.
        entry: How the call ended.
    """
    policy = work.chunk.options.retry
    return (
        entry.status == outcome.RAISED
        and work.strikes + 1 < policy.attempts
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


def wait_after_raise_s(work: Work, jitter: Callable[[], float]) -> float:
    """Return how long to wait after an exception of the call's own that is retried.

    Args:
        work: What was tried.
        jitter: Gives a number from 0 to 1.
    """
    return backoff_s(work.chunk.options.retry, work.strikes + 1, jitter)


def is_over(work: Work, at_s: float) -> bool:
    """Tell whether it is too late for another try.

    Args:
        work: What would be tried.
        at_s: When it would be.
    """
    total_s = work.chunk.options.retry.total_s
    return total_s is not None and work.begun_s is not None and at_s > work.begun_s + total_s


def counts(fault: Fault) -> bool:
    """Tell whether a fault may be that of the call that ran.

    Args:
        fault: What ended an attempt.
    """
    return fault.kind not in _NOBODYS_FAULT


def judge(case: Case) -> Verdict:
    """Decide about the calls that a fault left without an end.

    The call that ran when the runner died is tried apart from the others from then on: they lose
    nothing by its faults, and it is blamed alone once it has had its tries.

    Args:
        case: What is known.
    """
    work, unfinished, fault = case.work, case.unfinished, case.fault
    if not unfinished:
        return Verdict([], [])
    if fault.kind in _NOBODYS_FAULT:
        return _NOBODYS_FAULT[fault.kind](case)
    policy = work.chunk.options.retry
    suspects, others = _split(unfinished, fault.call)
    verdict = Verdict([], [])
    if others:
        verdict.again.append((work.rest(ranges_of(others), fault), 0.0))
    strikes = work.strikes + 1
    if not _can_help(case, policy):
        verdict.failed.append((ranges_of(suspects), error_of(work, suspects, fault)))
    elif strikes < policy.attempts:
        wait_s = backoff_s(policy, strikes, case.jitter) if fault.kind == outcome.LOST else 0.0
        again = work.rest(ranges_of(suspects), fault, struck=1)
        if fault.kind == outcome.MEMORY and case.larger_mb is not None:
            again.memory_mb = case.larger_mb
        verdict.again.append((again, wait_s))
    elif len(suspects) > 1:
        # Nobody knows which call it was: each half gets one more try, and so on.
        middle = len(suspects) // 2
        for half in (suspects[:middle], suspects[middle:]):
            verdict.again.append((work.rest(ranges_of(half), fault), 0.0))
    else:
        verdict.failed.append((ranges_of(suspects), error_of(work, suspects, fault)))
    return verdict


def error_of(work: Work, calls: Sequence[int], fault: Fault, *, is_over: bool = False) -> Exception:
    """Return the exception of calls that are not tried again.

    Args:
        work: What was tried.
        calls: Which of its calls fail.
        fault: What ended the last try.
        is_over: Because it is too late for another.
    """
    from lambdafutures.exceptions import OutOfMemory, WorkerDied

    kinds: dict[str, type[LambdaFuturesError]] = {
        outcome.TIME: CallTimeout,
        outcome.MEMORY: OutOfMemory,
    }
    tried = {0: "never begun", 1: "tried once"}.get(work.tries, f"tried {work.tries} times")
    if is_over:
        tried += f"; it is too late for more, total_s={work.chunk.options.retry.total_s:g}"
    return kinds.get(fault.kind, WorkerDied)(
        f"{_named(work.chunk, calls)} {fault.message} ({tried})"
    )


def _can_help(case: Case, policy: RetryPolicy) -> bool:
    """Tell whether another try may end otherwise."""
    fault = case.fault
    if fault.kind == outcome.TIME:
        return any(issubclass(CallTimeout, kind) for kind in policy.on_exceptions)
    if fault.kind == outcome.MEMORY and case.larger_mb is None:
        # In a new runner, without other calls before it, it will take as much again.
        return not (case.was_first and fault.call == _first(case.work))
    return True


def _throttled(case: Case) -> Verdict:
    """Go on as soon as there is room: nothing ran, so it costs no try."""
    again = case.work.rest(ranges_of(case.unfinished), case.fault, is_untried=True)
    return Verdict([(again, 0.0)], [])


def _cut(case: Case) -> Verdict:
    """Go on in another worker: each that is cut has ended one call at least."""
    return Verdict([(case.work.rest(ranges_of(case.unfinished), case.fault), 0.0)], [])


def _refused(case: Case) -> Verdict:
    """Fail: somebody else writes where only we should."""
    error = WireError(f"{_named(case.work.chunk, case.unfinished)}: {case.fault.message}")
    return Verdict([], [(ranges_of(case.unfinished), error)])


def _untried(case: Case) -> Verdict:
    """Send it again, a few times: a worker lacked something, or had ended."""
    return _resent(case, MAX_RESENDS, 0.0)


def _not_run(case: Case) -> Verdict:
    """Send it again, ever later: the backend has refused it for a reason that passes."""
    policy = case.work.chunk.options.retry
    return _resent(case, MAX_REFUSALS, backoff_s(policy, case.work.resends + 1, case.jitter))


def _resent(case: Case, most: int, wait_s: float) -> Verdict:
    work, calls = case.work, ranges_of(case.unfinished)
    if work.resends >= most:
        error = LambdaFuturesError(
            f"{_named(work.chunk, case.unfinished)} could not be started: {case.fault.message} "
            f"(sent {work.resends + 1} times)"
        )
        return Verdict([], [(calls, error)])
    again = work.rest(calls, case.fault, is_untried=True)
    again.resends += 1
    return Verdict([(again, wait_s)], [])


def _split(unfinished: Sequence[int], running: int | None) -> tuple[list[int], list[int]]:
    if running is None or running not in unfinished:
        return list(unfinished), []
    return [running], [call for call in unfinished if call != running]


def _first(work: Work) -> int:
    return work.calls[0][0] if work.calls else 0


def _named(chunk: Chunk, calls: Sequence[int]) -> str:
    if chunk.count == 1:
        return f"call {chunk.number}"
    if len(calls) == 1:
        return f"call {calls[0]} of chunk {chunk.number}"
    return f"{len(calls)} calls of chunk {chunk.number}"


_NOBODYS_FAULT: dict[str, Callable[[Case], Verdict]] = {
    outcome.THROTTLED: _throttled,
    outcome.NOT_RUN: _not_run,
    outcome.CUT: _cut,
    outcome.REFUSED: _refused,
    outcome.BLOB_MISSING: _untried,
    outcome.WORKER_ENDED: _untried,
}
