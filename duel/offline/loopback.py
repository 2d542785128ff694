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

    def stats(self) -> dict[str, Any]:
        """What was counted so far: see `Counts.stats`."""
        return self._server.counts.stats()

    @property
    def seen(self) -> list[SeenRequest]:
        """The latest requests to the completions route, in the order in which they arrived."""
        return list(self._server.counts.seen)

    def reset(self) -> None:
        self._server.reset()


@contextmanager
def serving(server: Server, port: int = 0) -> Iterator[StandIn]:
    """`server` in a thread of its own, on loopback, while the body runs; `port` 0 takes a free one."""
    thread = _Thread(server, port)
    thread.start()
    taken = thread.port()
    try:
        yield StandIn(server, taken)
    finally:
        thread.end()


class _Thread(threading.Thread):
    """An event loop of its own for one server."""

    def __init__(self, server: Server, port: int) -> None:
        super().__init__(name="stand-in endpoint", daemon=True)
        self._server, self._port = server, port
        self._taken: concurrent.futures.Future[int] = concurrent.futures.Future()
        self._end = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._taken.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with listening(self._server, self._port) as taken:
            self._taken.set_result(taken)
            await self._end.wait()

    def port(self) -> int:
        """The port, once it is listened to. Raises OSError where it cannot be."""
        return self._taken.result()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self.join()


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
