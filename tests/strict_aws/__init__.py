"""A strict fake of AWS: S3, Lambda and STS over real HTTP on 127.0.0.1.

It refuses what AWS refuses where emulators let it pass: signatures, permissions, checksums, sizes,
concurrency. Lambda functions run for real, in processes under AWS's own runtime client. A script
per test brings faults. Nothing of the package under test is imported.

    with StrictAws(buckets=["jobs"]) as aws:
        aws.create_function("worker", "worker.zip", "handler.handler")
        aws.script.on("PutObject", nth=3).status(503, "SlowDown")
        client = boto3.client("lambda", **aws.client_args())

The way of a request:

    http_server ─► gateway ─► sigv4, identities ─► faults ─┬─► s3_service ─► s3_buckets, s3_objects,
                      │                                    │                 s3_multipart, s3_model
                      └─► record                           ├─► lambda_service ─► lambda_control
                                                           │       ├─ event_queue
                                                           │       └─ scaling ─► pool
                                                           └─► sts                 │
                 process under awslambdaric ◄─► runtime_api ◄─ environment ◄───────┘
"""

from .event_queue import Event, EventSettings
from .faults import Rule, Script
from .identities import Credential, Identity
from .lambda_model import Function
from .latency import heavy_tail, uniform
from .record import Record
from .scaling import ScalingSettings
from .server import StrictAws

__all__ = [
    "Credential",
    "Event",
    "EventSettings",
    "Function",
    "Identity",
    "Record",
    "Rule",
    "ScalingSettings",
    "Script",
    "StrictAws",
    "heavy_tail",
    "uniform",
]
