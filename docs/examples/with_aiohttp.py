"""A web server whose handlers hand their work to the executor: the event loop stays free."""

import asyncio

from aiohttp import ClientSession, web

from lambdafutures import LambdaPoolExecutor

EXECUTOR = web.AppKey("executor", LambdaPoolExecutor)


def count_primes(limit: int) -> int:
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, limit))


async def primes(request: web.Request) -> web.Response:
    limit = int(request.match_info["limit"])
    # Should the client go away, a call that has not begun is cancelled: see `handler_cancellation`.
    return web.json_response(await request.app[EXECUTOR].submit(count_primes, limit))


async def ask(session: ClientSession, limit: int) -> int:
    async with session.get(f"/primes/{limit}") as response:
        return int(await response.json())


async def serve_and_ask(limits: list[int]) -> list[int]:
    """Run the server on a free port, and ask for all the limits at once."""
    app = web.Application()
    app.router.add_get(r"/primes/{limit:\d+}", primes)
    async with LambdaPoolExecutor() as app[EXECUTOR]:
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        async with ClientSession(f"http://{host}:{port}") as session:
            answers = await asyncio.gather(*(ask(session, limit) for limit in limits))
        await runner.cleanup()
    return answers


def main() -> None:
    limits = [1000 * n for n in range(1, 9)]
    found = asyncio.run(serve_and_ask(limits))
    serial = [count_primes(limit) for limit in limits]
    if found != serial:
        raise SystemExit(f"{found}, but {serial} serially")
    print(f"primes below {limits}: {found}, as serially")


if __name__ == "__main__":
    main()
