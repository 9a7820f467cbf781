"""Every limit and default of AWS that the fake enforces, with unit and source."""

from typing import Final

# -- S3 (Amazon S3 User Guide, "Multipart upload limits", "Naming objects", API reference) --------
KEY_MAX_BYTES: Final = 1_024
"""Longest object key, in bytes of UTF-8 ("Naming Amazon S3 objects")."""
LIST_PAGE_KEYS: Final = 1_000
"""Most keys of one ListObjectsV2 page; a larger `max-keys` is silently cut to it."""
DELETE_OBJECTS_MAX_KEYS: Final = 1_000
"""Most keys of one DeleteObjects request; more is MalformedXML."""
PART_MIN_BYTES: Final = 5 * 1024 * 1024
"""Smallest part of a multipart upload, except for its last part."""
PART_MAX_NUMBER: Final = 10_000
"""Part numbers run from 1 to this one."""
PUT_MAX_BYTES: Final = 5 * 1024 * 1024 * 1024
"""Largest body of one PutObject or UploadPart."""
METADATA_MAX_BYTES: Final = 2 * 1024
"""Most bytes of user metadata (`x-amz-meta-*`), names and values together."""

# -- Signature Version 4 (IAM User Guide, "AWS Signature Version 4 for API requests") --------------
CLOCK_SKEW_MAX_S: Final = 15 * 60
"""Farthest a request's date may lie from the server's clock, in seconds."""
PRESIGN_MAX_S: Final = 7 * 24 * 3600
"""Longest life of a presigned URL, in seconds."""

# -- Lambda (Developer Guide, "Lambda quotas"; error texts as the service words them) --------------
SYNC_REQUEST_MAX_BYTES: Final = 6 * 1024 * 1024
"""Largest payload of a RequestResponse invocation: 6,291,456 bytes."""
SYNC_RESPONSE_MAX_BYTES: Final = 6 * 1024 * 1024 + 100
"""Largest response: the service names 6,291,556 bytes in its error, 100 more than 6 MB."""
EVENT_REQUEST_MAX_BYTES: Final = 1024 * 1024
"""Largest payload of an Event invocation: 1 MB since October 2025."""
LOG_TAIL_BYTES: Final = 4 * 1024
"""Bytes of log that `LogType=Tail` returns."""
INIT_MAX_S: Final = 10.0
"""An INIT phase longer than this is killed and repeated inside the invocation's own time."""
ACCOUNT_CONCURRENCY: Final = 1_000
"""Default concurrent executions of an account in one region."""
UNRESERVED_MIN: Final = 100
"""Concurrency that must stay unreserved (on accounts that have as much as that)."""
RAMP_ENVIRONMENTS: Final = 1_000
"""Execution environments a function may add per `RAMP_WINDOW_S`."""
RAMP_WINDOW_S: Final = 10.0
"""Seconds over which `RAMP_ENVIRONMENTS` are granted."""
EVENT_RETRIES: Final = 2
"""Default MaximumRetryAttempts of asynchronous invocations."""
EVENT_RETRY_DELAYS_S: Final = (60.0, 120.0)
"""Waits before the first and second re-run of an Event that ended in a function error."""
EVENT_THROTTLE_DELAYS_S: Final = (1.0, 300.0)
"""First and longest back-off of a throttled Event inside Lambda's queue."""
EVENT_AGE_MIN_S: Final = 60
"""Smallest MaximumEventAgeInSeconds."""
EVENT_AGE_MAX_S: Final = 6 * 3600
"""Largest, and default, MaximumEventAgeInSeconds."""
RECURSION_MAX: Final = 16
"""Invocations of a function in one chain before Lambda stops it ("recursive loop detection")."""
TIMEOUT_MAX_S: Final = 900
"""Longest function time-out."""
MEMORY_MIN_MB: Final = 128
"""Smallest memory size."""
MEMORY_MAX_MB: Final = 10_240
"""Largest memory size."""
LIST_FUNCTIONS_PAGE: Final = 50
"""Most functions of one ListFunctions page."""
ZIP_MAX_BYTES: Final = 50 * 1024 * 1024
"""Largest zip uploaded directly, in bytes."""
UNZIPPED_MAX_BYTES: Final = 250 * 1024 * 1024
"""Largest unzipped deployment package, in bytes."""
CODE_TOTAL_MAX_BYTES: Final = 75 * 1024 * 1024 * 1024
"""Storage for all deployment packages of a region, in bytes."""
ENVIRONMENT_MAX_BYTES: Final = 4 * 1024
"""All environment variables of a function together, in bytes."""

# -- HTTP (ours: S3 refuses request heads above 8 KB, Lambda's client context is larger) -----------
HEAD_MAX_BYTES: Final = 64 * 1024
"""Largest request head the server reads before it refuses the request."""
