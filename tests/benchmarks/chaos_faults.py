"""The faults of the chaos: each at its rate, with its seed, over whatever is sent."""

from __future__ import annotations

from tests.strict_aws import Record, Rule, Script, heavy_tail, uniform

# Of Invokes.
THROTTLED = 0.10
KILLED = 0.01
KILLED_WHOLE = 0.005
# Of Events.
LOST = 0.03
DUPLICATED = 0.03
# Of all requests, those of workers included.
BROKEN = 0.05
CUT = 0.02

# Half of all answers take less, one in a hundred fourteen times as long.
LATENCY = {"*": heavy_tail(0.01, longest_s=1.0)}
RETRY_AFTER_S = 0.05
# A duplicate may come at once, or when nobody remembers: after the attempt's deadline, 5 s.
DUPLICATED_AFTER_S = uniform(0.0, 8.0)
# Sometimes before the runner has the call, sometimes while it runs.
KILLED_AFTER_S = uniform(0.0, 0.03)


class Faults:
    """Add the faults to a script, and count those that come.

    Args:
        script: The fake's script.
        seed: Of all of them.
        is_calm: Add none.
    """

    def __init__(self, script: Script, seed: int, is_calm: bool) -> None:
        self._script = script
        self._seed = seed
        self._rules: list[tuple[str, Rule]] = []
        if not is_calm:
            self._add_errors()
            self._add_events()
            self._add_cuts()

    def fired(self) -> dict[str, int]:
        """Return how many there were of each kind."""
        found: dict[str, int] = {}
        for name, rule in self._rules:
            found[name] = found.get(name, 0) + rule.fired
        return found

    def _on(self, name: str, rate: float, operation: str = "*", **condition: object) -> Rule:
        seed = f"{self._seed}/{len(self._rules)}"
        rule = self._script.on(operation, rate=rate, seed=seed, **condition)  # type: ignore[arg-type]
        self._rules.append((name, rule))
        return rule

    def _add_errors(self) -> None:
        for service in ("lambda", "s3"):
            for status in (500, 503):
                self._on(f"{service} 5xx", BROKEN / 2, service=service).status(status)
        self._on("throttles", THROTTLED, "Invoke").throttle(RETRY_AFTER_S)

    def _add_events(self) -> None:
        self._on("lost Events", LOST, "Invoke", invocation_type="Event").lose_event()
        self._on("duplicates", DUPLICATED, "Invoke", invocation_type="Event").duplicate_event(
            DUPLICATED_AFTER_S
        )
        self._on("killed runners", KILLED, "Invoke").kill_children(KILLED_AFTER_S)
        self._on("killed sandboxes", KILLED_WHOLE, "Invoke").kill_runtime(KILLED_AFTER_S)

    def _add_cuts(self) -> None:
        """Cut answers in their body; those that have none, before their head."""
        self._on("cut answers", CUT, when=_has_body).cut_response(after_bytes=1)
        self._on("cut answers", CUT, when=lambda record: not _has_body(record)).lose_response()


def _has_body(record: Record) -> bool:
    return record.operation in ("GetObject", "ListObjectsV2", "DeleteObjects") or (
        record.operation == "Invoke" and record.invocation_type == "RequestResponse"
    )
