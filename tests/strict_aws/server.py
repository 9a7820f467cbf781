"""The strict fake as a test sees it."""

from collections import Counter

from .event_queue import EventSettings
from .lambda_controls import LambdaControls
from .latency import Duration
from .record import Record
from .s3_controls import S3Controls


class StrictAws(S3Controls, LambdaControls):
    """S3, Lambda and STS on one port of 127.0.0.1, as strict as AWS.

    Use as a context manager. All methods are safe to call from the test's threads.
    """

    @property
    def latency(self) -> dict[str, Duration]:
        """Return the latencies by operation, service or `*`, to change."""
        return self._gateway.latency

    @property
    def time_scale(self) -> float:
        """Return the factor on all simulated durations."""
        return self._gateway.time_scale

    @time_scale.setter
    def time_scale(self, value: float) -> None:
        self._gateway.time_scale = value

    @property
    def clock_offset_s(self) -> float:
        """Return how far the server's clock runs ahead, for tests of skewed clocks."""
        return self._gateway.verifier.clock_offset_s

    @clock_offset_s.setter
    def clock_offset_s(self, value: float) -> None:
        self._gateway.verifier.clock_offset_s = value

    @property
    def requests(self) -> Counter[str]:
        """Return the requests received so far, by operation."""
        return self.call(lambda: Counter(self._gateway.requests))

    @property
    def log(self) -> list[Record]:
        """Return every request so far, in order of arrival."""
        return self.call(lambda: list(self._gateway.log))

    def clear_log(self) -> None:
        """Forget the requests so far, counts included."""

        def clear() -> None:
            self._gateway.log.clear()
            self._gateway.requests.clear()

        self.call(clear)

    def forget(self) -> None:
        """Forget all that has happened and every script; functions, buckets, identities stay."""

        def forget() -> None:
            self.script.clear()
            self._gateway.log.clear()
            self._gateway.requests.clear()
            self._gateway.latency.clear()
            self._lambda.queue.events.clear()
            self._lambda.queue.settings = EventSettings()
            pool = self._lambda.pool
            pool.logs.clear()
            pool.cold_starts.clear()
            pool.scaling.peak.clear()
            pool.scaling.throttles.clear()

        self.call(forget)

    def wait_quiet(self, timeout_s: float = 30.0) -> None:
        """Wait until no request, no invocation and no Event is under way.

        Args:
            timeout_s: After which TimeoutError is raised.
        """
        self.await_(self._gateway.wait_quiet(), timeout_s)

    def find_text(self, text: str) -> list[str]:
        """Return where a text stands: request and response bodies, headers, objects, logs.

        The Authorization header is left out, which names the access key by its nature. Bodies and
        headers of requests are searched only where the fake was made with `keep_bodies`.

        Args:
            text: The text, such as a secret.
        """
        return self.call(lambda: self._find(text.encode()))

    def _find(self, text: bytes) -> list[str]:
        places: list[str] = []
        for number, record in enumerate(self._gateway.log):
            where = f"{number} {record.operation}"
            for name, value in (record.headers or {}).items():
                # The session token travels in a header of its own, as it must.
                if name not in ("authorization", "x-amz-security-token") and text in value.encode():
                    places.append(f"{where} header {name}")
            parts = {
                "target": record.target.encode(),
                "request": record.request_body or b"",
                "response": record.response_body or b"",
            }
            places.extend(f"{where} {part}" for part, data in parts.items() if text in data)
        for bucket in self.s3.buckets.values():
            places.extend(
                f"object {bucket.name}/{key}"
                for key, stored in bucket.objects.items()
                if text in stored.body
            )
        assert self._pool is not None
        places.extend(f"log {name}" for name, data in self._pool.logs.items() if text in data)
        return places
