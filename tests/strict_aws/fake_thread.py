"""The fake's thread: an event loop that serves, and calls into it from the test's threads."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Self, TypeVar

from .faults import Script
from .gateway import Gateway
from .http_server import HttpServer
from .identities import Identities, Identity, Statement
from .lambda_control import LambdaControl
from .lambda_service import LambdaService
from .pool import Pool
from .s3_model import Bucket
from .s3_service import S3Service
from .scaling import Scaling, ScalingSettings

T = TypeVar("T")
_START_MAX_S = 30.0
CALL_MAX_S = 60.0
"""How long a test's thread waits for the loop; only a bug makes it wait as long."""


async def _let_connections_end() -> None:
    """Let connections end that were accepted in the last moment: else their sockets leak."""
    # asyncio takes one turn of the loop to make a transport, one to tell the protocol, which
    # resets it, and one to close it; and what closes the server comes between.
    for _ in range(4):
        await asyncio.sleep(0)


class FakeThread:
    """Starts and stops the services, and runs calls on their loop.

    Attributes:
        region: The region that functions and buckets belong to unless said otherwise.
        account_id: The account.
        admin: An identity that may do everything.
        script: The faults of the test.
        scaling: Concurrency, ramp and cold start.
        s3: S3's service object.
    """

    def __init__(
        self,
        *,
        region: str = "us-east-1",
        account_id: str = "123456789012",
        buckets: Iterable[str] = (),
        scaling: ScalingSettings | None = None,
        time_scale: float = 1.0,
        keep_bodies: bool = False,
        seed: int = 0,
        port: int = 0,
    ) -> None:
        """Prepare the fake; entering the context starts it.

        Args:
            region: Its region.
            account_id: Its account.
            buckets: Buckets to begin with.
            scaling: Limits of concurrency; AWS's by default.
            time_scale: Factor on all simulated durations.
            keep_bodies: Whether the request log keeps headers and bodies.
            seed: Seed of scripts and latencies.
            port: The port, 0 for any free one.
        """
        self.region = region
        self.account_id = account_id
        self.script = Script(seed)
        self.scaling = scaling or ScalingSettings()
        self.s3 = S3Service()
        self._identities = Identities(account_id)
        self.admin = self._identities.create("admin", ["*"])
        self._gateway = Gateway(self._identities, self.s3, self.script, account_id, seed)
        self._gateway.time_scale = time_scale
        self._gateway.keeps_bodies = keep_bodies
        self._port = port
        self._server = HttpServer(self._gateway.handle)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None
        self._pool: Pool | None = None
        for name in buckets:
            self.s3.buckets[name] = Bucket(name, region)

    # -- life --------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Start the thread and listen."""
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._thread_main, args=(started,), name="strict-aws", daemon=True
        )
        self._thread.start()
        if not started.wait(_START_MAX_S):
            raise RuntimeError("the fake did not start")
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop everything and raise if the fake itself has failed."""
        assert self._thread is not None
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._gateway.crashes and exc_info[0] is None:
            raise RuntimeError("the strict fake failed") from self._gateway.crashes[0]

    def _thread_main(self, started: threading.Event) -> None:
        try:
            asyncio.run(self._main(started))
        except BaseException as exc:  # handed to the thread that waits for the start
            self._failure = exc
            started.set()

    async def _main(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        pool = Pool(Scaling(self.scaling, self._time_scale), self._identities, self._time_scale)
        try:
            self._pool = pool
            control = LambdaControl(self.account_id, self._identities, pool)
            self._lambda = LambdaService(control, pool, self._gateway.spawn, self._time_scale)
            self._gateway.lambda_ = self._lambda
            await self._server.start(self._port)
            pool.endpoint_url = self.endpoint_url
            started.set()
            await self._stop.wait()
        finally:
            self._server.close()
            await self._gateway.close()
            pool.close()
            await _let_connections_end()

    def _time_scale(self) -> float:
        return self._gateway.time_scale

    def call(self, work: Callable[[], T]) -> T:
        """Run something on the loop's thread, where all state lives, and return its result.

        Args:
            work: What to run.
        """

        async def run() -> T:
            return work()

        return self.await_(run(), CALL_MAX_S)

    def await_(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Await something on the loop's thread.

        Args:
            work: The coroutine.
            timeout_s: After which it is cancelled and TimeoutError raised.
        """
        assert self._loop is not None, "the fake is not started"
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise

    @property
    def lambda_(self) -> LambdaService:
        """Return Lambda's service object, of which the loop's thread is the owner."""
        return self._lambda

    # -- how to reach it ---------------------------------------------------------------------

    @property
    def endpoint_url(self) -> str:
        """Return the URL of all services."""
        return f"http://127.0.0.1:{self._server.port}"

    def client_args(self, identity: Identity | None = None) -> dict[str, Any]:
        """Return the arguments for `boto3.client` and its like.

        Args:
            identity: Who calls, the admin by default.
        """
        who = identity or self.admin
        return {
            "endpoint_url": self.endpoint_url,
            "region_name": self.region,
            "aws_access_key_id": who.access_key,
            "aws_secret_access_key": who.secret_key,
            "aws_session_token": who.session_token or None,
        }

    def environ(self, identity: Identity | None = None) -> dict[str, str]:
        """Return the environment variables that lead an SDK here.

        Args:
            identity: Who calls, the admin by default.
        """
        return {
            **(identity or self.admin).environ(),
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint_url,
        }

    def identity(
        self,
        name: str,
        allow: Iterable[Statement] = (),
        *,
        is_role: bool = False,
        has_session: bool = False,
        expires_at: float | None = None,
    ) -> Identity:
        """Make an identity.

        Args:
            name: Its name.
            allow: What it may do: `"s3:GetObject"`, `"s3:* arn:aws:s3:::b/*"`, a pair of both, or a
                statement of an IAM policy.
            is_role: Whether it is a role, which functions can run under.
            has_session: Whether its credential has a session token.
            expires_at: Unix time at which its credential expires.
        """
        return self._identities.create(
            name, allow, is_role=is_role, has_session=has_session, expires_at=expires_at
        )
