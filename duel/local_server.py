"""A web application on 127.0.0.1, in a thread of its own while a block runs."""

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

HOST = "127.0.0.1"


def _in_a_line(record: logging.LogRecord) -> bool:
    """What failed, without its traceback, which a client can cause at will; what is no HTTP is not worth a line."""
    error = (record.exc_info or (None, None, None))[1]
    told = f"{record.getMessage()}: {type(error).__name__}: {error}"
    record.msg, record.args, record.exc_info = told, (), None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


def _all_but_the_network(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """With more clients than the system allows files, each attempt to accept one fails: they wait, without a word."""
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)


@contextmanager
def serving(application: web.Application, port: int = 0) -> Iterator[int]:
    """Serve in a thread while the body runs; yields the port (0: any). OSError: taken; OverflowError: no port."""
    started: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, int]] = concurrent.futures.Future()
    end, logger = asyncio.Event(), logging.getLogger("duel.local_server")
    logger.addFilter(_in_a_line)
    options: dict[str, Any] = {"handler_cancellation": True, "shutdown_timeout": 0, "access_log": None}

    async def serve() -> None:
        # A client that goes away ends its request; the end of the body ends all of them.
        runner = web.AppRunner(application, logger=logger, **options)
        await runner.setup()
        asyncio.get_running_loop().set_exception_handler(_all_but_the_network)
        try:
            await web.TCPSite(runner, HOST, port, backlog=1024).start()
            started.set_result((asyncio.get_running_loop(), int(runner.addresses[0][1])))
            await end.wait()
        finally:
            await runner.cleanup()

    def run() -> None:
        try:
            asyncio.run(serve())
        except (OSError, OverflowError) as error:
            started.set_exception(error)

    thread = threading.Thread(target=run, name="local server", daemon=True)
    thread.start()
    loop, taken = started.result()
    try:
        yield taken
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
