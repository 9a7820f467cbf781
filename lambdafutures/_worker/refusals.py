"""Why a worker can serve no call of a session, with what mends it."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdafutures._worker.s3_http import S3Failed

_DENIED = frozenset({"AccessDenied", "AllAccessDisabled"})
_MISPLACED = frozenset({"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"})
_ACTIONS = {"GetObject": "s3:GetObject"}


def other_python(client: str, here: str) -> str:
    """Say that client and function run different Pythons.

    Args:
        client: The client's minor version.
        here: The function's.
    """
    return (
        f"the client runs Python {client}, the function Python {here}, and pickles of one are not "
        "for the other: run `lambdafutures deploy` with the client's Python"
    )


def explain(failed: S3Failed, bucket: str, prefix: str) -> str | None:
    """Say why S3 refuses the function for good; None if that may pass.

    Args:
        failed: What S3 answered.
        bucket: The deployment's bucket.
        prefix: Prefix of its keys.
    """
    if failed.code == "NoSuchBucket":
        return (
            f"the bucket {bucket!r} does not exist: run `lambdafutures deploy` to make it again "
            f"({failed})"
        )
    if failed.code in _MISPLACED:
        return (
            f"the bucket {bucket!r} is not in the function's region: run `lambdafutures deploy` "
            f"({failed})"
        )
    if failed.code in _DENIED:
        # CreateMultipartUpload and UploadPart need the permission to put, too.
        action = _ACTIONS.get(failed.operation, "s3:PutObject")
        statement = {
            "Effect": "Allow",
            "Action": action,
            "Resource": f"arn:aws:s3:::{bucket}/{prefix}/*",
        }
        return (
            f"the function's role lacks {action}: run `lambdafutures deploy`, which makes the "
            f"role, or add to its policy {json.dumps(statement)} ({failed})"
        )
    return None


def no_way_to_s3(failed: S3Failed) -> str:
    """Say that the function does not reach S3.

    Args:
        failed: How its request ended.
    """
    return (
        f"the function cannot store outcomes: {failed}. If it is in a VPC, add a gateway endpoint "
        "for S3; else see `lambdafutures doctor`"
    )
