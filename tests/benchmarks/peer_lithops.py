"""Lithops 3.8 against the instant AWS, or on this machine; run by the peers' own Python.

Prints one line of JSON. Nothing of lambdafutures is imported here.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time

import lithops

BUCKET = "jobs"
REGION = "us-east-1"


def no_op(x):
    return 1


def on_aws(endpoint_url, max_workers):
    """Return an executor whose Lambda and S3 are at an endpoint."""
    config = {
        "lithops": {
            "backend": "aws_lambda",
            "storage": "aws_s3",
            "log_level": None,
            "telemetry": False,
        },
        "aws": {"region": REGION, "account_id": "1", "user_id": "benchmark"},
        "aws_lambda": {
            "execution_role": "arn:aws:iam::1:role/none",
            "max_workers": max_workers,
            "runtime_memory": 256,
        },
        "aws_s3": {"storage_bucket": BUCKET},
    }
    ex = lithops.FunctionExecutor(config=config)
    backend = ex.compute_handler.backend
    runtime = backend.get_runtime_info()["runtime_name"]
    key = backend.get_runtime_key(runtime, 256)
    meta = {
        "lithops_version": lithops.__version__,
        "python_version": f"{sys.version_info.major}.{sys.version_info.minor}",
        "preinstalls": [],
        "runtime_timeout": 180,
    }
    ex.internal_storage.put_runtime_meta(key, meta)
    # It invokes https://lambda.REGION.amazonaws.com, whatever it is told.
    send = backend.session.send

    def redirected(request):
        request.url = request.url.replace(f"https://{backend.host}", endpoint_url)
        return send(request)

    backend.session.send = redirected
    return ex


def cpu(endpoint_url, calls):
    """Return the client's CPU and wall seconds per call of a map."""
    ex = on_aws(endpoint_url, 1000)
    ex.get_result(ex.map(no_op, range(10)))
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    results = ex.get_result(ex.map(no_op, range(calls)))
    assert len(results) == calls
    return {
        "cpu_s": (time.process_time() - cpu_s) / calls,
        "wall_s": (time.perf_counter() - wall_s) / calls,
    }


def latency(endpoint_url, calls):
    """Return the median seconds of one call after another."""
    ex = on_aws(endpoint_url, 1000)
    ex.get_result(ex.call_async(no_op, 1))
    found = []
    for _ in range(calls):
        began = time.perf_counter()
        ex.get_result(ex.call_async(no_op, 1))
        found.append(time.perf_counter() - began)
    return {"wall_s": statistics.median(found)}


def local(version, calls):
    """Return the calls per second of a map on this machine."""
    ex = lithops.LocalhostExecutor(
        config={
            "lithops": {"log_level": None, "telemetry": False},
            "localhost": {"version": version},
        }
    )
    ex.get_result(ex.map(no_op, range(2)))
    began = time.perf_counter()
    assert len(ex.get_result(ex.map(no_op, range(calls)))) == calls
    return {"calls_per_s": calls / (time.perf_counter() - began)}


def main():
    what, endpoint_url, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if what.startswith("local"):
        found = local(int(what[-1]), calls)
    else:
        found = {"cpu": cpu, "latency": latency}[what](endpoint_url, calls)
    print(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # its threads would hold the process


if __name__ == "__main__":
    main()
