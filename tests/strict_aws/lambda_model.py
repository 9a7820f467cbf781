"""What Lambda keeps: functions and their code."""

import base64
import hashlib
import io
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .identities import Identity
from .limits import EVENT_AGE_MAX_S, EVENT_RETRIES, UNZIPPED_MAX_BYTES
from .messages import AwsError

Code = str | Path | bytes
"""A zip's path, a directory's path, or a zip's bytes."""

Responder = Callable[[bytes], Any]
"""Answers an event within the fake, without a process: takes and returns bytes, may be async."""

_REFERENCE = re.compile(
    r"(?:arn:aws:lambda:(?P<region>[a-z0-9-]+):)?(?:(?P<account>\d{12}):function:)?"
    r"(?P<name>[A-Za-z0-9_-]{1,64})(?::(?P<qualifier>\$LATEST|[A-Za-z0-9_-]+))?"
)


@dataclass(slots=True)
class Function:
    """One function.

    Attributes:
        name: Its name.
        region: Its region.
        account_id: Its account.
        role: The identity it runs under.
        handler: `module.function`.
        python: The interpreter it runs under.
        memory_mb: Its memory size.
        timeout_s: Its time-out; a fraction of a second is possible here, unlike in AWS.
        environment: Its own environment variables.
        code_dir: Where its code is unpacked.
        code_sha256: Hash of its zip, in base64.
        code_bytes: Size of its zip.
        layers: Directories that are importable besides its code, as layers are.
        reserved: Its reserved concurrency; None for none.
        enforces_memory: Whether its processes are killed when they exceed the memory size.
        max_retries: Re-runs of an Event that ended in a function error.
        max_event_age_s: Age at which a queued Event is dropped.
        responder: Stands for a process where the test needs thousands of environments.
        revision: Counts changes of code or configuration; environments of older ones are ended.
    """

    name: str
    region: str
    account_id: str
    role: Identity
    handler: str
    python: str = sys.executable
    memory_mb: int = 128
    timeout_s: float = 3.0
    environment: dict[str, str] = field(default_factory=dict)
    code_dir: Path = Path()
    code_sha256: str = ""
    code_bytes: int = 0
    layers: tuple[str, ...] = ()
    reserved: int | None = None
    enforces_memory: bool = False
    max_retries: int = EVENT_RETRIES
    max_event_age_s: float = EVENT_AGE_MAX_S
    responder: Responder | None = None
    runtime: str = ""
    architecture: str = "x86_64"
    description: str = ""
    revision: int = 0
    modified_at: float = field(default_factory=time.time)
    event_config_at: float | None = None

    @property
    def arn(self) -> str:
        """Return the function's ARN."""
        return f"arn:aws:lambda:{self.region}:{self.account_id}:function:{self.name}"

    def configuration(self) -> dict[str, Any]:
        """Return the FunctionConfiguration of the API."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S.000+0000", time.gmtime(self.modified_at))
        return {
            "FunctionName": self.name,
            "FunctionArn": self.arn,
            "Runtime": self.runtime,
            "Role": self.role.arn,
            "Handler": self.handler,
            "CodeSize": self.code_bytes,
            "Description": self.description,
            "Timeout": round(self.timeout_s),
            "MemorySize": self.memory_mb,
            "LastModified": moment,
            "CodeSha256": self.code_sha256,
            "Version": "$LATEST",
            "Environment": {"Variables": dict(self.environment)},
            "TracingConfig": {"Mode": "PassThrough"},
            "RevisionId": f"00000000-0000-4000-8000-{self.revision:012d}",
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "PackageType": "Zip",
            "Architectures": [self.architecture],
            "EphemeralStorage": {"Size": 512},
            "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{self.name}"},
        }

    def set_code(self, code: Code, where: Path) -> None:
        """Unpack new code.

        Args:
            code: A zip or a directory.
            where: The directory to unpack into, which is made.

        Raises:
            AwsError: The zip is not one, or is too large.
        """
        if isinstance(code, bytes) or not Path(code).is_dir():
            data = code if isinstance(code, bytes) else Path(code).read_bytes()
            _unzip(data, where)
            self.code_bytes = len(data)
            self.code_sha256 = base64.b64encode(hashlib.sha256(data).digest()).decode()
        else:
            shutil.copytree(code, where, ignore=shutil.ignore_patterns("__pycache__"))
        self.code_dir = where
        self.touch()

    def touch(self) -> None:
        """Note a change, after which no environment of before is used."""
        self.revision += 1
        self.modified_at = time.time()


@dataclass(frozen=True, slots=True)
class FunctionReference:
    """A function's name as a request gives it: alone, with a qualifier, or as an ARN."""

    name: str
    region: str | None
    qualifier: str

    @classmethod
    def parse(cls, text: str) -> "FunctionReference":
        """Read a name or ARN.

        Args:
            text: The text, decoded.

        Raises:
            AwsError: It is neither.
        """
        found = _REFERENCE.fullmatch(text)
        if found is None:
            raise AwsError(
                400,
                "ValidationException",
                f"1 validation error detected: Value '{text}' at 'functionName' failed to satisfy "
                "constraint: Member must satisfy regular expression pattern",
            )
        return cls(found["name"], found["region"], found["qualifier"] or "$LATEST")


def _unzip(data: bytes, where: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > UNZIPPED_MAX_BYTES:
                raise AwsError(
                    400,
                    "InvalidParameterValueException",
                    f"Unzipped size must be smaller than {UNZIPPED_MAX_BYTES} bytes",
                )
            archive.extractall(where)
            for info in archive.infolist():
                mode = info.external_attr >> 16
                if mode and not info.is_dir():
                    (where / info.filename).chmod(mode & 0o777)
    except zipfile.BadZipFile:
        raise AwsError(
            400,
            "InvalidParameterValueException",
            "Could not unzip uploaded file. Please check your file, then try to upload again.",
        ) from None


def check_environment(variables: Mapping[str, str]) -> None:
    """Refuse variables that Lambda sets itself.

    Args:
        variables: The function's environment.

    Raises:
        AwsError: InvalidParameterValueException.
    """
    reserved = sorted(set(variables) & RESERVED_VARIABLES)
    if reserved:
        raise AwsError(
            400,
            "InvalidParameterValueException",
            "Lambda was unable to configure your environment variables because the environment "
            "variables you have provided contains reserved keys that are currently not supported "
            f"for modification. Reserved keys used in this request: {', '.join(reserved)}",
        )


RESERVED_VARIABLES = {
    "_HANDLER", "_X_AMZN_TRACE_ID", "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API", "AWS_REGION", "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN", "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT",
}  # fmt: skip
"""Lambda Developer Guide, "Using Lambda environment variables": reserved."""
