"""What goes wrong while deploying: our own refusals, and what AWS answered."""

from __future__ import annotations

import re

from lambdafutures.exceptions import LambdaFuturesError

# A message longer than this repeats the request (signature errors quote all of it).
MESSAGE_CHARACTERS = 400

_KEY_ID = re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{12,}")


class DeployError(LambdaFuturesError):
    """Say why something was not deployed, examined or destroyed, and what mends it."""


class AwsFault(LambdaFuturesError):
    """Say what AWS, or the library on the way to it, answered instead of a result.

    Args:
        service: The service as IAM spells it, such as ``"s3"``.
        operation: The API operation, such as ``"PutObject"``.
        code: Error code, or the name of the library's exception.
        message: What it said; key ids in it are hidden.
        region: The region that was asked.
    """

    def __init__(
        self, service: str, operation: str, code: str, message: str, region: str = ""
    ) -> None:
        message = _KEY_ID.sub(r"\1…", message)[:MESSAGE_CHARACTERS]
        super().__init__(service, operation, code, message, region)
        self.service = service
        self.operation = operation
        self.code = code
        self.message = message
        self.region = region

    def __str__(self) -> str:
        return f"{self.service}:{self.operation} answered {self.code}: {self.message}"
