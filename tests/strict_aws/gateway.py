"""The way of every request: identify, verify, fault, apply, answer, record."""

import asyncio
import itertools
import random
import re
import time
from collections import Counter
from collections.abc import Coroutine
from email.utils import formatdate
from functools import lru_cache
from typing import Any

from . import lambda_service, s3_service, sts
from .faults import Effects, Script
from .http_server import Cut, Reply
from .identities import Identities
from .lambda_control import LambdaCall
from .lambda_model import FunctionReference
from .lambda_service import LambdaService
from .latency import Duration, draw
from .messages import HOST_ID, AwsError, Request, Response
from .record import Record
from .s3_service import S3Service
from .sigv4 import Caller, Verifier

_LAMBDA_PATH = re.compile(r"/20\d\d-\d\d-\d\d/")


class Gateway:
    """Dispatches requests to the services.

    Attributes:
        requests: Requests received, by operation.
        log: Every request, in order of arrival.
        crashes: Exceptions of the fake itself: never to be expected.
        latency: Seconds an answer takes, or a distribution of them, by operation, service or `*`.
        time_scale: Factor on all simulated durations; the functions' own time is not scaled.
        keeps_bodies: Whether the log keeps headers and bodies.
    """

    def __init__(
        self,
        identities: Identities,
        s3: S3Service,
        script: Script,
        account_id: str,
        seed: int,
    ) -> None:
        self.verifier = Verifier(identities)
        self.requests: Counter[str] = Counter()
        self.log: list[Record] = []
        self.crashes: list[BaseException] = []
        self.latency: dict[str, Duration] = {}
        self.time_scale = 1.0
        self.keeps_bodies = False
        self.lambda_: LambdaService | None = None
        self._s3 = s3
        self._script = script
        self._account_id = account_id
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = 0
        self._quiet: list[asyncio.Future[None]] = []

    # -- quiet -------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that `wait_quiet` waits for.

        Args:
            work: The work.
        """
        task = asyncio.get_running_loop().create_task(work)
        self._running += 1
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def wait_quiet(self) -> None:
        """Wait until no request, no invocation and no Event is under way."""
        while self._running:
            future = asyncio.get_running_loop().create_future()
            self._quiet.append(future)
            await future

    async def close(self) -> None:
        """Cancel what runs."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._running -= 1
        if not task.cancelled() and (exc := task.exception()) is not None:
            self.crashes.append(exc)
        if not self._running:
            waiters, self._quiet = self._quiet, []
            for future in waiters:
                if not future.done():
                    future.set_result(None)

    # -- dispatch ----------------------------------------------------------------------------

    def handle(self, request: Request, reply: Reply) -> None:
        """Serve a request, at once if nothing makes it wait.

        Args:
            request: The request.
            reply: Called with the answer.
        """
        number = next(self._numbers)
        record, target = self._identify(request)
        record.request_id = f"{number:08x}-0000-4000-8000-{number:012x}"
        record.request_bytes = len(request.body)
        if self.keeps_bodies:
            record.headers, record.request_body = dict(request.headers), request.body
        self.requests[record.operation] += 1
        self.log.append(record)
        try:
            caller = self.verifier.verify(request, record.service)
            record.identity = caller.identity.name
            effects = self._script.effects(record)
            latency_s = self._latency(record)
            if effects is None and not latency_s and record.service != "lambda":
                self._answer(record, self._apply(record, target, request, caller), None, reply)
                return
        except AwsError as exc:
            self._answer(record, exc.to_response(record.service, record.request_id), None, reply)
            return
        except Exception as exc:  # a bug of the fake must not look like a hang
            self.crashes.append(exc)
            self._answer(record, self._crash(record), None, reply)
            return
        self.spawn(self._serve(record, target, request, caller, effects, latency_s, reply))

    async def _serve(
        self,
        record: Record,
        target: tuple[str, str, str],
        request: Request,
        caller: Caller,
        effects: Effects | None,
        latency_s: float,
        reply: Reply,
    ) -> None:
        """Serve a request that waits, or that a script touches."""
        cut: Cut | None = None
        late_s = latency_s / 2
        try:
            # Half of the latency is the way there, half the way back.
            await self._sleep(latency_s / 2 + (effects.delay_s if effects else 0.0))
            if effects is not None:
                record.fault = ",".join(effects.names)
                if effects.is_reset:
                    self._answer(record, None, Cut(None), reply)
                    return
                if effects.error is not None:
                    raise effects.error
                cut = effects.cut
                late_s += effects.late_s
            if record.service == "lambda":
                assert self.lambda_ is not None
                call = LambdaCall(target[0], request, target[1], caller.identity, caller.region)
                response = await self.lambda_.execute(call, effects, record.request_id)
            else:
                response = self._apply(record, target, request, caller)
        except AwsError as exc:
            response = exc.to_response(record.service, record.request_id)
        except Exception as exc:  # as above
            self.crashes.append(exc)
            response = self._crash(record)
        await self._sleep(late_s)
        self._answer(record, response, cut, reply)

    def _apply(
        self, record: Record, target: tuple[str, str, str], request: Request, caller: Caller
    ) -> Response:
        if record.service == "s3":
            return self._s3.execute(target, request, caller)
        return sts.execute(record.operation, caller, self._account_id, record.request_id)

    def _identify(self, request: Request) -> tuple[Record, tuple[str, str, str]]:
        if _LAMBDA_PATH.match(request.raw_path):
            operation, name = lambda_service.identify(request)
            record = Record("lambda", operation, request.method, request.target)
            try:
                record.function = FunctionReference.parse(name).name if name else ""
            except AwsError:
                record.function = name
            if operation == "Invoke":
                record.invocation_type = request.header("x-amz-invocation-type", "RequestResponse")
            return record, (operation, name, "")
        if request.method == "POST" and request.path == "/":
            operation = sts.identify(request)
            return Record("sts", operation, request.method, request.target), (operation, "", "")
        target = s3_service.identify(request)
        record = Record("s3", target[0], request.method, request.target, target[1], target[2])
        return record, target

    def _answer(
        self, record: Record, response: Response | None, cut: Cut | None, reply: Reply
    ) -> None:
        record.finished_at = time.time()
        if response is not None:
            record.error = response.error
            record.response_bytes = len(response.body)
            if cut is None:
                record.status = response.status
            if self.keeps_bodies:
                record.response_body = response.body
            headers = response.headers
            headers["Date"] = _http_date(int(record.finished_at))
            if record.service == "s3":
                headers["x-amz-request-id"] = record.request_id
                headers["x-amz-id-2"] = HOST_ID
                headers["Server"] = "AmazonS3"
            else:
                headers["x-amzn-RequestId"] = record.request_id
        reply(response, cut)

    def _crash(self, record: Record) -> Response:
        error = AwsError(500, "InternalError", "The fake itself failed: see StrictAws.crashes")
        return error.to_response(record.service, record.request_id)

    def _latency(self, record: Record) -> float:
        if not self.latency:
            return 0.0
        for name in (record.operation, record.service, "*"):
            if name in self.latency:
                return draw(self.latency[name], self._random)
        return 0.0

    async def _sleep(self, delay_s: float) -> None:
        if delay_s:
            await asyncio.sleep(delay_s * self.time_scale)


@lru_cache(maxsize=4)
def _http_date(moment: int) -> str:
    return formatdate(moment, usegmt=True)
