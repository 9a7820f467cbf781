"""Handles of durable jobs: what another process needs to attach to one, kept in a file.

A handle holds the job's signing key: it is a secret. Its file, under ``jobs`` in
`$LAMBDAFUTURES_HOME`, can be read by its owner only, and the key never shows in a `repr`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lambdafutures.deployment import Deployment, home
from lambdafutures.exceptions import JobNotFound

# The format of a handle's file.
HANDLE_VERSION = 1
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class JobHandle:
    """Name a durable job, wherever its client is: give it to `LambdaPoolExecutor.attach`.

    Args:
        session: The job's id.
        backend: ``"aws"`` or ``"local"``.
        key: Its signing key, a secret.
        created_s: When it was made, in seconds since the epoch.
        root: On the local backend, the folder of its store.
        deployment: On AWS, where its store and functions are.
    """

    session: str
    backend: str
    key: bytes = field(repr=False)
    created_s: float
    root: str = ""
    deployment: Deployment | None = None

    @property
    def path(self) -> Path:
        """The file that keeps it, under `$LAMBDAFUTURES_HOME`."""
        return path_of(self.session)

    def save(self, environ: Mapping[str, str] | None = None) -> Path:
        """Write it to a file that only its owner can read, and return the file.

        Args:
            environ: Environment variables; the process's own by default.

        Raises:
            FileExistsError: If there is a handle of that id.
        """
        path = path_of(self.session, environ)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fields = {
            "lambdafutures_job": HANDLE_VERSION,
            "session": self.session,
            "backend": self.backend,
            "key": self.key.hex(),
            "created_s": self.created_s,
            "root": self.root,
            "deployment": json.loads(self.deployment.to_json()) if self.deployment else None,
        }
        # Never readable by others, not even for a moment.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(fields, file, indent=2)
        return path

    @classmethod
    def load(cls, where: str | os.PathLike[str]) -> JobHandle:
        """Read a handle.

        Args:
            where: Its file, or the job's id.

        Raises:
            JobNotFound: If there is none.
            ValueError: If the file is not a handle; the message names it.
        """
        path = Path(where)
        if isinstance(where, str) and _ID.fullmatch(where) and not path.is_file():
            path = path_of(where)
        try:
            text = path.read_text()
        except FileNotFoundError:
            raise JobNotFound(
                f"there is no job's handle at {path}: `lambdafutures jobs` lists those there are"
            ) from None
        try:
            fields = json.loads(text)
            if fields["lambdafutures_job"] != HANDLE_VERSION:
                raise ValueError(f"it is of version {fields['lambdafutures_job']!r}")
            if not _ID.fullmatch(fields["session"]):
                raise ValueError("its job's id is none")
            deployment = fields["deployment"]
            return cls(
                session=fields["session"],
                backend=fields["backend"],
                key=bytes.fromhex(fields["key"]),
                created_s=fields["created_s"],
                root=fields["root"],
                deployment=Deployment.from_json(json.dumps(deployment)) if deployment else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # The text is not quoted: it may hold the key.
            raise ValueError(f"{path} is not a job's handle ({type(error).__name__})") from None


def jobs_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of handles, and of what local jobs store.

    Args:
        environ: Environment variables; the process's own by default.
    """
    return home(environ) / "jobs"


def path_of(session: str, environ: Mapping[str, str] | None = None) -> Path:
    """Return the file that keeps the handle of a job.

    Args:
        session: The job's id.
        environ: Environment variables; the process's own by default.
    """
    return jobs_folder(environ) / f"{session}.json"


def root_of(session: str, environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder in which a local job stores its objects.

    Args:
        session: The job's id.
        environ: Environment variables; the process's own by default.
    """
    return jobs_folder(environ) / session


def known_files(environ: Mapping[str, str] | None = None) -> list[Path]:
    """Return the files of the handles there are, the oldest first.

    Args:
        environ: Environment variables; the process's own by default.
    """
    files = [path for path in jobs_folder(environ).glob("*.json") if _ID.fullmatch(path.stem)]
    return sorted(files, key=lambda path: path.stat().st_mtime)
