"""Run the strict fake on its own: `python -m tests.strict_aws --port 0 --bucket jobs`.

It prints one line of JSON that says how to reach it, then serves until it is interrupted.
"""

import argparse
import json
import signal

from .scaling import ScalingSettings
from .server import StrictAws


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.strict_aws", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 for a free one")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--bucket", action="append", default=[], help="make a bucket (repeatable)")
    parser.add_argument(
        "--function", action="append", default=[], metavar="NAME=CODE:HANDLER",
        help="make a function of a zip or directory (repeatable)",
    )  # fmt: skip
    parser.add_argument("--concurrency", type=int, default=1000, help="the account's concurrency")
    parser.add_argument("--latency", action="append", default=[], metavar="OPERATION=SECONDS")
    parser.add_argument("--time-scale", type=float, default=1.0)
    args = parser.parse_args()
    # Blocked before the thread starts, so that no thread but this one takes them.
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    scaling = ScalingSettings(account_concurrency=args.concurrency)
    with StrictAws(
        region=args.region,
        buckets=args.bucket,
        scaling=scaling,
        time_scale=args.time_scale,
        port=args.port,
    ) as aws:
        for text in args.function:
            name, _, rest = text.partition("=")
            code, _, handler = rest.rpartition(":")
            aws.create_function(name, code, handler)
        for text in args.latency:
            name, _, seconds = text.partition("=")
            aws.latency[name] = float(seconds)
        print(json.dumps({"endpoint_url": aws.endpoint_url, **aws.environ()}), flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
