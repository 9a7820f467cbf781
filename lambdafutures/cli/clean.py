"""`lambdafutures clean`: remove durable jobs that are finished, or old."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lambdafutures.cli import common, jobs

if TYPE_CHECKING:
    from lambdafutures.jobs import JobHandle

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_parser(verbs: Any) -> None:
    """Add the verb to the command.

    Args:
        verbs: The command's subparsers.
    """
    parser = verbs.add_parser(
        "clean",
        help="remove durable jobs that are finished, or older than a given age",
        description="Remove jobs that are finished: their objects and the files of their handles. "
        "Nothing else is touched, and of a job that is not finished nothing, unless it is older "
        "than --older-than says.",
    )
    parser.add_argument(
        "--older-than",
        type=parse_age_s,
        metavar="AGE",
        help="remove jobs of this age, too, finished or not, such as 12h or 7d",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be removed")
    parser.add_argument("--yes", action="store_true", help="do not ask before removing anything")
    parser.set_defaults(run=run)


def parse_age_s(text: str) -> float:
    """Return an age in seconds.

    Args:
        text: A number and a unit: s, m, h or d.

    Raises:
        argparse.ArgumentTypeError: If it is not one.
    """
    found = re.fullmatch(r"(\d+)([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an age such as 45m, 12h or 7d")
    return float(found[1]) * _UNITS_S[found[2]]


def should_remove(job: jobs.Listed, older_than_s: float | None) -> bool:
    """Tell whether a job is to be removed.

    Args:
        job: What is known of it.
        older_than_s: From what age on it may be removed without being finished; None for never.
    """
    if job.handle is None:
        return False  # whatever that file is, it is not ours
    if older_than_s is not None and job.age_s >= older_than_s:
        return True
    return job.state is not None and job.state.is_finished


def run(arguments: argparse.Namespace) -> int:
    """Remove jobs and return the exit status.

    Args:
        arguments: `older_than`, `dry_run` and `yes`.
    """
    chosen = [job for job in jobs.look_at_all() if should_remove(job, arguments.older_than)]
    if not chosen:
        print("nothing to remove")
        return 0
    for job in chosen:
        print(jobs.describe(job))
    if arguments.dry_run:
        return 0
    try:
        if not common.confirm(f"Remove {len(chosen)} jobs?", arguments):
            print("nothing was removed")
            return 1
    except ValueError as error:
        print(f"lambdafutures: {error}", file=sys.stderr)
        return 1
    return max([_remove(job.path, job.handle) for job in chosen if job.handle is not None])


def _remove(path: Path, handle: JobHandle) -> int:
    """Remove a job's objects, then its handle: as long as there is one, it can be tried again."""
    from lambdafutures._backends.job_store import prefix_of, with_store
    from lambdafutures._engine.durable import survey
    from lambdafutures._engine.durable.place import JobPlace
    from lambdafutures.exceptions import LambdaFuturesError
    from lambdafutures.jobs import root_of

    place = JobPlace(prefix_of(handle), handle.session, handle.key)
    try:
        deleted = with_store(handle, lambda store: survey.remove(store, place))
    except (LambdaFuturesError, ImportError, OSError) as error:
        print(f"lambdafutures: {handle.session} was not removed: {error}", file=sys.stderr)
        return 1
    root = root_of(handle.session)
    if handle.root and Path(handle.root).resolve() == root.resolve():
        # The folder was made for this job alone; its functions are in there, too.
        shutil.rmtree(root, ignore_errors=True)
    path.unlink(missing_ok=True)
    print(f"removed {handle.session} ({deleted} objects)")
    return 0
