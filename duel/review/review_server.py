"""The page on loopback: it answers its own host, knows its own path, and says "saved" once a vote is on disk."""

import hmac
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import orjson

from duel.errors import DuelError, WorkspaceError
from duel.review.ballots import BallotBox, Taken

HOST = "127.0.0.1"
# Below the ports that systems hand out to whoever asks for any (from 32,768 on Linux, 49,152 elsewhere).
FIRST_PORT, PORTS = 20_000, 12_000
MOST_BYTES = 256_000
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
SILENT_SECONDS = 30.0  # a connection that says nothing for so long is closed


def token_of(secret: bytes, rater: str) -> str:
    """The secret part of the page's path: other pages in the same browser cannot guess it."""
    return hmac.digest(secret, f"review-token\0{rater}".encode(), "sha256").hex()[:32]


@contextmanager
def serving(
    box: BallotBox, make_page: Callable[[str], bytes], rater: str, port: int | None, heard: Callable[[Taken], None]
) -> Iterator[str]:
    """Serve while the body runs; yields the page's address. `make_page` is called with the path that takes votes.

    `heard` is called with what each delivery of votes brought. Raises WorkspaceError where the port is taken.
    """
    secret = box.workspace.secret()
    # Always the same, so that votes in the browser reach a server that was restarted.
    drawn = hmac.digest(secret, f"review-port\0{rater}".encode(), "sha256")
    chosen = FIRST_PORT + int.from_bytes(drawn[:4], "big") % PORTS if port is None else port
    token = token_of(secret, rater)
    kind = type("Handler", (_Handler,), {"box": box, "make_page": staticmethod(make_page), "token": token})
    kind.heard, kind.writing = staticmethod(heard), Lock()  # type: ignore[attr-defined]
    try:
        server = _Loopback((HOST, chosen), kind)
    except OSError as error:
        what, hint = "the page cannot be served", "choose another --port"
        raise WorkspaceError(what, where=f"{HOST}:{chosen}", value=error.strerror, hint=hint) from None
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}/{token}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Loopback(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error; anything else is."""
        if not isinstance(error := sys.exception(), OSError):
            logging.getLogger("duel").error("the review page: %r", error)


class _Handler(BaseHTTPRequestHandler):
    box: BallotBox
    make_page: Callable[[str], bytes]
    heard: Callable[[Taken], None]
    writing: Lock
    token: str
    timeout = SILENT_SECONDS
    server_version, sys_version = "review", ""

    def do_GET(self) -> None:
        if self._is_ours("/"):
            self._reply(200, "text/html; charset=utf-8", self.make_page(f"/{self.token}/votes"))

    def do_POST(self) -> None:
        if not self._is_ours("/votes"):
            return
        length = self.headers.get("Content-Length", "")
        # Another site's page may not send JSON without asking first, and is not answered when it asks.
        if self.headers.get_content_type() != "application/json" or not length.isdecimal():
            self._reply(415)
        elif int(length) > MOST_BYTES:
            self._reply(413)
        else:
            try:
                rows = orjson.loads(self.rfile.read(int(length)))
            except ValueError:
                rows = None
            if isinstance(rows, list):
                self._take(rows)
            else:
                self._reply(400)

    def _take(self, rows: list[Any]) -> None:
        try:
            with self.writing:
                taken = self.box.take(rows)
        except DuelError as error:
            logging.getLogger("duel").error("%s", error)
            self._reply(507)
            return
        names = [f"{row.get('id')} {row.get('at')}" if isinstance(row, dict) else "" for row in rows]
        told = {"saved": taken.acknowledged, "refused": [name for name in names if name not in taken.acknowledged]}
        self._reply(200, "application/json", orjson.dumps(told))
        self.heard(taken)

    def _is_ours(self, path: str) -> bool:
        """Answer only who asks this very host for this very path: a foreign name that leads here is refused."""
        port = self.server.server_port  # type: ignore[attr-defined]
        hosts = {f"{HOST}:{port}", f"localhost:{port}"}
        origin = self.headers.get("Origin")
        if self.headers.get("Host") not in hosts or origin not in {None, *(f"http://{host}" for host in hosts)}:
            self._reply(403)
        elif not hmac.compare_digest(self.path.encode(), f"/{self.token}{path}".encode()):
            self._reply(404)
        else:
            return True
        return False

    def _reply(self, status: int, kind: str = "text/plain; charset=utf-8", body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Nothing: the stage says what came in."""
