"""The stand-in endpoint on loopback: in a thread of this process, or as a program of its own."""

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from duel.offline.loopback_http import Connection
from duel.offline.server import SeenRequest, Server


class StandIn:
    """A running stand-in, as whoever started it sees it."""

    def __init__(self, server: Server, port: int) -> None:
        self._server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.base_url = f"{self.url}/v1"
        self.reset = server.reset

    def stats(self) -> dict[str, Any]:
        """What was counted so far: see `Counts.stats`."""
        return self._server.counts.stats()

    @property
    def seen(self) -> list[SeenRequest]:
        """The latest requests to the completions route, in the order in which they arrived."""
        return list(self._server.counts.seen)


@contextmanager
def serving(server: Server, port: int = 0) -> Iterator[StandIn]:
    """`server` on an event loop and in a thread of its own while the body runs; `port` 0 takes a free one.

    Raises OSError where the port cannot be listened to.
    """
    started: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, int]] = concurrent.futures.Future()
    end = asyncio.Event()

    async def serve() -> None:
        async with listening(server, port) as taken:
            started.set_result((asyncio.get_running_loop(), taken))
            await end.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except OSError as error:
            started.set_exception(error)

    thread = threading.Thread(target=run, name="stand-in endpoint", daemon=True)
    thread.start()
    loop, taken = started.result()
    try:
        yield StandIn(server, taken)
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()


@asynccontextmanager
async def listening(server: Server, port: int = 0) -> AsyncIterator[int]:
    """Listen on `port` of 127.0.0.1 while the body runs; yields the port that was taken."""
    connections: set[Connection] = set()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(server.handle, connections), "127.0.0.1", port, backlog=1024)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for connection in list(connections):
            await connection.stop()
        await asyncio.sleep(0)  # transports close their sockets on the loop's next round
