"""Where things are on AWS: what `lambdafutures deploy` remembered, read back.

A deployment is one JSON file under `$LAMBDAFUTURES_HOME`, by default ``~/.lambdafutures``. It holds
names and places only, never a credential. A worker on AWS has no such file: it is told in
`$LAMBDAFUTURES_DEPLOYMENT_JSON`, so that executors opened there use the same deployment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

DEFAULT_NAME = "lambdafutures"
HOME_VARIABLE = "LAMBDAFUTURES_HOME"
DEPLOYMENT_VARIABLE = "LAMBDAFUTURES_DEPLOYMENT"
JSON_VARIABLE = "LAMBDAFUTURES_DEPLOYMENT_JSON"
DEPLOY_COMMAND = "lambdafutures deploy"


@dataclass(frozen=True, slots=True)
class Deployment:
    """Name one deployment's parts.

    Args:
        name: The deployment's name, `lambdafutures` unless chosen.
        region: AWS region of all its parts.
        bucket: The S3 bucket for blobs and outcomes.
        functions: Function name by memory size in MiB.
        python: Minor version of the functions' Python, such as ``"3.12"``.
        concurrency: Concurrent executions that the account allowed when it was deployed.
        timeout_s: Time-out of the functions, in seconds.
        prefix: Prefix of every key in the bucket.
        nested: Executors can be opened in its workers.
        arch: Processor of the functions, ``"x86_64"`` or ``"arm64"``.
        packages: Version of each package in the workers, by its normalised name; None if nobody
            knows, as with layers that were added by hand.
    """

    name: str
    region: str
    bucket: str
    functions: Mapping[int, str] = field(default_factory=dict)
    python: str = ""
    concurrency: int = 0
    timeout_s: int = 900
    prefix: str = "lambdafutures"
    nested: bool = False
    arch: str = "x86_64"
    packages: Mapping[str, str] | None = None

    def to_json(self) -> str:
        """Write the deployment as JSON text."""
        return json.dumps(asdict(self) | {"functions": dict(self.functions)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Deployment:
        """Read a deployment from JSON text.

        Args:
            text: What `to_json` wrote.

        Raises:
            ValueError: If the text is not a deployment.
        """
        try:
            fields = json.loads(text)
            functions = {int(size): name for size, name in fields.pop("functions").items()}
            return cls(**fields, functions=functions)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a deployment: {error}") from error


def home(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of remembered deployments and job handles.

    Args:
        environ: Environment variables; the process's own by default.
    """
    environ = os.environ if environ is None else environ
    chosen = environ.get(HOME_VARIABLE)
    return Path(chosen) if chosen else Path.home() / ".lambdafutures"


def path_of(name: str, environ: Mapping[str, str] | None = None) -> Path:
    """Return where the deployment of that name is remembered.

    Args:
        name: The deployment's name.
        environ: Environment variables; the process's own by default.
    """
    return home(environ) / "deployments" / f"{name}.json"


def find_deployment(
    name: str | None = None, environ: Mapping[str, str] | None = None
) -> Deployment | None:
    """Return the deployment that was set up, or None.

    Args:
        name: Its name; else `$LAMBDAFUTURES_DEPLOYMENT`, else the one that a worker was told, else
            ``lambdafutures``.
        environ: Environment variables; the process's own by default.

    Raises:
        ValueError: If the file that remembers it is damaged; the message names the file.
    """
    environ = os.environ if environ is None else environ
    name = name or environ.get(DEPLOYMENT_VARIABLE)
    if environ.get(JSON_VARIABLE):
        told = _told(environ[JSON_VARIABLE])
        if name in (None, "", told.name):
            return told
    path = path_of(name or DEFAULT_NAME, environ)
    try:
        return Deployment.from_json(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); run `{DEPLOY_COMMAND}` again") from error


def _told(text: str) -> Deployment:
    try:
        return Deployment.from_json(text)
    except ValueError as error:
        raise ValueError(f"${JSON_VARIABLE} is damaged ({error})") from error


def remember(deployment: Deployment, environ: Mapping[str, str] | None = None) -> Path:
    """Write down a deployment so that executors find it, and return the file.

    Args:
        deployment: What was deployed.
        environ: Environment variables; the process's own by default.
    """
    path = path_of(deployment.name, environ)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Written beside and renamed: a reader sees the old file or the new one, never a half.
    draft = path.with_suffix(".new")
    draft.write_text(deployment.to_json())
    draft.replace(path)
    return path


def forget(name: str, environ: Mapping[str, str] | None = None) -> None:
    """Remove what was remembered of the deployment of that name.

    Args:
        name: The deployment's name.
        environ: Environment variables; the process's own by default.
    """
    path_of(name, environ).unlink(missing_ok=True)
