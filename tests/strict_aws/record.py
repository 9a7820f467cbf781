"""What the fake remembers of each request, for tests to look at."""

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Record:
    """One request.

    Attributes:
        service: `s3`, `lambda` or `sts`.
        operation: Its API name, such as `PutObject`.
        method: Its HTTP method.
        target: Its path and query, as sent.
        bucket: The bucket, for S3.
        key: The object's key, for S3.
        function: The function's name, for Lambda.
        invocation_type: For Invoke: `RequestResponse`, `Event` or `DryRun`.
        request_id: The id it got.
        identity: The name of who signed it; empty until that is verified.
        status: The status of the answer; 0 while there is none, or if the connection was cut.
        error: AWS's error code, if it was refused.
        fault: What a script did to it, empty for nothing.
        received_at: Unix time.
        finished_at: Unix time, 0 while it runs.
        request_bytes: Size of the request's body.
        response_bytes: Size of the response's body.
        headers: The request's headers, if bodies are kept.
        request_body: The request's body, if bodies are kept.
        response_body: The response's body, if bodies are kept.
    """

    service: str
    operation: str
    method: str
    target: str
    bucket: str = ""
    key: str = ""
    function: str = ""
    invocation_type: str = ""
    request_id: str = ""
    identity: str = ""
    status: int = 0
    error: str = ""
    fault: str = ""
    received_at: float = field(default_factory=time.time)
    finished_at: float = 0.0
    request_bytes: int = 0
    response_bytes: int = 0
    headers: dict[str, str] | None = None
    request_body: bytes | None = None
    response_body: bytes | None = None
