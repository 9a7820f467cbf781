"""Lambda's detection of functions that call themselves in a circle.

The trace header carries a lineage, which AWS's SDKs pass on from the environment variable
`_X_AMZN_TRACE_ID`. A caller that does not send the header is never detected, here as on AWS.
"""

import re
import zlib

from .lambda_model import Function
from .limits import RECURSION_MAX
from .messages import AwsError

_LINEAGE = re.compile(r"Lineage=1:([0-9a-f]{8}):(\d+)")


def next_trace(header: str, function: Function, request_id: str) -> str:
    """Return the trace header that an invocation hands to its runtime.

    Args:
        header: The trace header of the request, empty for none.
        function: The function.
        request_id: The request's id, from which a new trace is named.

    Raises:
        AwsError: RecursiveInvocationException.
    """
    name = f"{zlib.crc32(function.arn.encode()):08x}"
    root = header.partition(";")[0] or f"Root=1-00000000-{request_id.replace('-', '')[:24]}"
    found = _LINEAGE.search(header)
    count = int(found[2]) + 1 if found is not None and found[1] == name else 1
    if count > RECURSION_MAX:
        raise AwsError(
            400,
            "RecursiveInvocationException",
            "Lambda has detected your function being invoked in a recursive loop with other AWS "
            "resources and stopped your function's invocation.",
        )
    return f"{root};Sampled=0;Lineage=1:{name}:{count}"
