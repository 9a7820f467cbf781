"""`lambdafutures jobs`: the durable jobs whose handles are here, and how far they have come."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from lambdafutures._engine.durable.survey import JobState
    from lambdafutures.jobs import JobHandle


class Listed(NamedTuple):
    """Hold what is known of a job.

    Args:
        path: The file of its handle.
        handle: Its handle; None if the file is none.
        state: How far it has come; None if that cannot be told.
        trouble: Why it cannot be told.
    """

    path: Path
    handle: JobHandle | None
    state: JobState | None
    trouble: str = ""

    @property
    def age_s(self) -> float:
        """How long ago it was made, in seconds."""
        return time.time() - self.handle.created_s if self.handle is not None else 0.0


def add_parser(verbs: Any) -> None:
    """Add the verb to the command.

    Args:
        verbs: The command's subparsers.
    """
    parser = verbs.add_parser(
        "jobs",
        help="list durable jobs",
        description="List the durable jobs whose handles are kept here. Attach to one with "
        "LambdaPoolExecutor.attach(JOB); `lambdafutures clean` removes those that are finished.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List jobs and return the exit status.

    Args:
        arguments: None are used.
    """
    from lambdafutures.jobs import jobs_folder

    found = look_at_all()
    if not found:
        print(f"there are no jobs in {jobs_folder()}")
    else:
        print(f"{'job':14}{'backend':9}{'calls':>9}{'done':>9}  {'state':10}age")
        for job in found:
            print(describe(job))
    return 0


def look_at_all() -> list[Listed]:
    """Return what is known of each job, the oldest first."""
    from lambdafutures.jobs import known_files

    return [_look(path) for path in known_files()]


def _look(path: Path) -> Listed:
    from lambdafutures._backends.job_store import prefix_of, with_store
    from lambdafutures._engine.durable import survey
    from lambdafutures._engine.durable.place import JobPlace
    from lambdafutures.exceptions import LambdaFuturesError
    from lambdafutures.jobs import JobHandle

    try:
        handle = JobHandle.load(path)
    except (ValueError, OSError) as error:
        return Listed(path, None, None, str(error))
    place = JobPlace(prefix_of(handle), handle.session, handle.key)
    try:
        return Listed(path, handle, with_store(handle, lambda store: survey.look(store, place)))
    except (LambdaFuturesError, ImportError, OSError) as error:
        return Listed(path, handle, None, str(error))


def describe(job: Listed) -> str:
    """Return a job in a line.

    Args:
        job: What is known of it.
    """
    if job.handle is None:
        return f"{job.path.stem:14}{job.trouble}"
    start = f"{job.handle.session:14}{job.handle.backend:9}"
    if job.state is None:
        return f"{start}{job.trouble}"
    state = "finished" if job.state.is_finished else "open"
    age = format_age(job.age_s)
    return f"{start}{job.state.calls:>9,}{job.state.done:>9,}  {state:10}{age}"


def format_age(seconds: float) -> str:
    """Return a time span in its largest unit.

    Args:
        seconds: How long it is.
    """
    for unit, size_s in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size_s:
            return f"{int(seconds // size_s)}{unit}"
    return f"{int(seconds)}s"
