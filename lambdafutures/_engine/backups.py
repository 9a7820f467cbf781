"""Which attempts are so slow that a second one is sent beside them. Pure.

As MapReduce does near the end of a job (Dean and Ghemawat, 2004). What is slow is judged by the job
itself: by how long attempts at calls of the same function have taken, for each call of theirs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import inf
from statistics import median

from lambdafutures._engine import retrying
from lambdafutures._engine.chunk import Attempt, Chunk, Work
from lambdafutures.options import BackupPolicy

# Attempts whose median is what a job's calls usually take: the latest ones.
WEIGHED = 101
# Fewer than this say nothing of what is usual.
LEAST_WEIGHED = 3
# How often slow attempts are looked for, at the most.
LOOK_S = 0.1


class _Job:
    """The open calls of one function, under one policy."""

    def __init__(self, policy: BackupPolicy) -> None:
        self.policy = policy
        self.chunks = 0
        self.calls = 0
        self.done = 0
        self.backups = 0
        self.attempts: dict[Attempt, None] = {}  # in the order in which they were sent
        self._seconds: deque[float] = deque(maxlen=WEIGHED)
        self._usual_s: float | None = None

    def on_ended(self, seconds: float, calls: int) -> None:
        """Take note of how long an attempt at so many calls took."""
        self._seconds.append(seconds / calls)
        self._usual_s = None

    @property
    def is_ending(self) -> bool:
        """Whether so much of it is done that backups may be sent."""
        return (
            self.done >= self.policy.done_share * self.calls
            and len(self._seconds) >= LEAST_WEIGHED
            and self.backups < max(1.0, self.policy.most_share * self.calls)
        )

    def slow_at_s(self, attempt: Attempt) -> float:
        """Return when an attempt will be slow."""
        if self._usual_s is None:
            self._usual_s = median(self._seconds)
        policy = self.policy
        usual_s = self._usual_s * attempt.work.count
        return attempt.sent_s + max(policy.least_s, policy.slow_factor * usual_s)


class Backups:
    """Follow the jobs whose calls may be backed up; others cost nothing."""

    def __init__(self) -> None:
        self.sent = 0
        """Backups sent so far."""
        self.next_s = inf
        """When to look again; infinite while there is nothing to look for."""
        self._jobs: dict[tuple[str, BackupPolicy], _Job] = {}

    def on_submitted(self, chunk: Chunk) -> None:
        """Take note of a new chunk.

        Args:
            chunk: The chunk.
        """
        policy = chunk.options.backup
        if policy is not None:
            job = self._jobs.setdefault((chunk.function.sha256, policy), _Job(policy))
            job.chunks += 1
            job.calls += chunk.count

    def on_sent(self, attempt: Attempt, now_s: float) -> None:
        """Take note that an attempt is under way.

        Args:
            attempt: The attempt.
            now_s: The time.
        """
        job = self._job_of(attempt.work.chunk)
        if job is not None:
            job.attempts[attempt] = None
            if job.is_ending:
                self._look_at(job.slow_at_s(attempt), now_s)

    def on_over(self, attempt: Attempt) -> None:
        """Take note that an attempt is under way no more.

        Args:
            attempt: The attempt.
        """
        job = self._job_of(attempt.work.chunk)
        if job is not None:
            job.attempts.pop(attempt, None)

    def on_ended(self, attempt: Attempt, now_s: float) -> None:
        """Take note that an attempt has ended its calls.

        Args:
            attempt: The attempt.
            now_s: The time.
        """
        job = self._job_of(attempt.work.chunk)
        if job is not None:
            job.on_ended(now_s - attempt.sent_s, attempt.work.count)

    def on_gone(self, chunk: Chunk, now_s: float) -> None:
        """Take note that a chunk has ended, however it did.

        Args:
            chunk: The chunk.
            now_s: The time.
        """
        job = self._job_of(chunk)
        if job is None or chunk.options.backup is None:
            return
        job.chunks -= 1
        job.done += chunk.count
        if not job.chunks:
            del self._jobs[chunk.function.sha256, chunk.options.backup]
        elif job.is_ending:
            self._look_at(now_s, now_s)

    def due(self, now_s: float, room: int) -> Iterator[Work]:
        """Yield works that are to be sent once more; each is counted as sent.

        Args:
            now_s: The time.
            room: How many may be sent.
        """
        self.next_s = inf
        for job in self._jobs.values():
            for attempt in list(job.attempts) if job.is_ending else ():
                if attempt.work.is_backed_up or retrying.is_over(attempt.work, now_s):
                    continue
                slow_at_s = job.slow_at_s(attempt)
                if slow_at_s > now_s or not room or not job.is_ending:
                    self._look_at(slow_at_s, now_s)
                    continue
                room -= 1
                job.backups += 1
                self.sent += 1
                attempt.work.is_backed_up = True
                yield attempt.work

    def clear(self) -> None:
        """Forget all jobs."""
        self._jobs.clear()
        self.next_s = inf

    def _look_at(self, at_s: float, now_s: float) -> None:
        self.next_s = min(self.next_s, max(at_s, now_s + LOOK_S))

    def _job_of(self, chunk: Chunk) -> _Job | None:
        if chunk.options.backup is None:
            return None
        return self._jobs.get((chunk.function.sha256, chunk.options.backup))
