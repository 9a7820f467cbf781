"""What answers Lithops' invocations in its worker's place, as Lithops 3.8's worker would.

A call returns None. The worker of Lithops writes two objects per call, a mark when it begins and a
status when it ends, which carries small results.
"""

from __future__ import annotations

import json
import pickle
import time
from typing import Any

_PREFIX = "lithops.jobs"
_ONE = pickle.dumps(1)


def is_lithops(body: bytes) -> bool:
    """Tell whether an Invoke comes from Lithops.

    Args:
        body: The Invoke's payload.
    """
    return b'"lithops_version"' in body


def objects(body: bytes, run_s: float) -> list[tuple[str, bytes]]:
    """Return what the worker would store: keys and bodies.

    Args:
        body: The Invoke's payload.
        run_s: How long each call is said to have run, in seconds.
    """
    asked = json.loads(body)
    found = []
    for call in asked["call_ids"]:
        folder = f"{_PREFIX}/{asked['job_key']}/{call}"
        found.append((f"{folder}/0.init", b""))
        found.append((f"{folder}/status.json", json.dumps(_status(asked, call, run_s)).encode()))
    return found


def _status(asked: dict[str, Any], call: str, run_s: float) -> dict[str, Any]:
    now_s = time.time()
    return {
        "type": "__end__",
        "exception": False,
        "activation_id": "0",
        "call_id": call,
        "job_id": asked["job_id"],
        "executor_id": asked["executor_id"],
        "chunksize": asked["chunksize"],
        "worker_calls": 1,
        "worker_cold_start": False,
        "worker_start_tstamp": now_s - run_s,
        "worker_end_tstamp": now_s,
        "worker_func_start_tstamp": now_s - run_s,
        "worker_func_end_tstamp": now_s,
        "worker_func_exec_time": run_s,
        "host_submit_tstamp": asked["host_submit_tstamp"],
        "func_result_size": len(_ONE),
        "result": repr(_ONE),
    }
