"""The page on which one person votes: one file that loads nothing, and in which nothing tells a side.

Texts travel as compressed JSON in base64, so none of them can meet the HTML parser, and the script puts them on the
screen as text nodes only. The content security policy lets this very style and script count and nothing be loaded; a
served page may send votes to the server it came from, which answers its own host and path alone.
"""

import base64
import contextlib
import hmac
import logging
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from threading import Lock, Thread
from typing import Any

import orjson

from duel.errors import DuelError, WorkspaceError
from duel.judging import rubric
from duel.records import PersonVote
from duel.reporting import charts, page_file
from duel.reporting.page import policy
from duel.review.ballots import Ballot, BallotBox, Taken

SHARED_SCRIPTS = ("text.js", "bash.js", "diff.js", "reply.js")
SCRIPTS = ("ballot.js", "outbox.js", "review.js")
# Colors of the report by their names on this page, on which no side has a color.
COLORS = {name: name for name in "page paper raised ink muted rule final refined defeat warn warn-tint".split()}
COLORS |= {"challenger": "accent", "challenger-tint": "accent-tint", "king": "word"}
# Characters of a reply, and of a message of a conversation: there the first that keeps a file to hand over under
# FILE_BYTES. More is cut in the middle and said to be.
LONGEST_REPLY = 60_000
MESSAGE_LIMITS = (60_000, 16_000, 8_000, 4_000, 2_000, 1_000, 500)
FILE_BYTES = 480_000


def page(
    ballots: Sequence[Ballot],
    votes: Sequence[PersonVote],
    rater: str,
    asked: Sequence[str],
    secret: bytes,
    post: str = "",
) -> bytes:
    """The page of `rater`. `post` is where a served page sends votes; without it votes are downloaded.

    `votes` are those that are saved already: the page goes on behind them. `asked` are the dimensions.
    """
    style = charts.page_colours(COLORS) + _own("ballot.css")
    script = "(() => {\n'use strict';\n" + "".join([*map(page_file, SHARED_SCRIPTS), *map(_own, SCRIPTS)]) + "})();\n"
    beside = {"dimensions": questions(asked), "post": post}
    content = policy(style, script) + ("; connect-src 'self'" if post else "")
    for limit in MESSAGE_LIMITS[:1] if post else MESSAGE_LIMITS:
        plain = orjson.dumps(_data(ballots, votes, rater, secret, limit) | beside)
        data = base64.b64encode(zlib.compress(plain, 9)).decode()
        if len(data) + len(style) + len(script) < FILE_BYTES:
            break
    fields = {"policy": content, "style": style, "script": script, "data": data}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: fields[found[1]], _own("ballot.html")).encode()


def _data(
    ballots: Sequence[Ballot], votes: Sequence[PersonVote], rater: str, secret: bytes, limit: int
) -> dict[str, Any]:
    by_key = {vote.key: vote for vote in votes}
    messages: dict[tuple[str, str], int] = {}
    histories: dict[str, list[int]] = {}
    items, saved = [], {}

    def shortened(text: str) -> str:
        start, *rest = _cut(text, LONGEST_REPLY)
        return f"{start}\n[{rest[0]:,} characters are not on this page]\n{rest[1]}" if rest else str(start)

    for ballot in ballots:
        if ballot.showing.item not in histories:
            said = [(message.role, message.content) for message in ballot.pair.history]
            histories[ballot.showing.item] = [messages.setdefault(one, len(messages)) for one in said]
        item = {"id": ballot.id, "pair": ballot.pair_id, "history": [*histories].index(ballot.showing.item)}
        shown = {"texts": ballot.texts, "observed": ballot.observed or ()}
        items.append(item | {name: [*map(shortened, two)] for name, two in shown.items() if two})
        vote = by_key.get(ballot.key)
        if vote and ((choices := ballot.choices(vote)) or vote.skipped):  # as the page made it
            told = {"pair": ballot.pair_id, "rater": vote.rater, "choices": choices}
            saved[ballot.id] = told | vote.model_dump(include={"skipped", "reason", "seconds", "at"})
    return {
        # One name a person and workspace: votes in a browser outlive a page that is made anew.
        "page": _keyed(secret, "page", rater).hex()[:16],
        "rater": rater,
        "items": items,
        "histories": list(histories.values()),
        "messages": [[role, *_cut(text, limit)] for role, text in messages],
        "votes": saved,
    }


def _keyed(secret: bytes, what: str, rater: str) -> bytes:
    return hmac.digest(secret, f"review-{what}\0{rater}".encode(), "sha256")


def _cut(text: str, limit: int) -> list[Any]:
    """[text], or [start, characters left out, end] of one that is longer than `limit`."""
    half = limit // 2
    return [text] if len(text) <= limit else [text[:half], len(text) - 2 * half, text[-half:]]


def questions(dimensions: Sequence[str]) -> list[dict[str, str]]:
    """What people are asked, in the words that the judges are asked in."""
    words = r"^(\w+): (.+)\n  high: (.+)\n  low: (.+)$"
    told = re.findall(words, rubric.instructions(dimensions), re.MULTILINE)
    return [dict(zip(("name", "ask", "high", "low"), words, strict=True)) for words in told if words[0] in dimensions]


def _own(name: str) -> str:
    return (resources.files("duel.review") / "ballot_page" / name).read_text(encoding="utf-8")


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
    return _keyed(secret, "token", rater).hex()[:32]


@contextlib.contextmanager
def serving(
    box: BallotBox, make_page: Callable[[str], bytes], rater: str, port: int | None, heard: Callable[[Taken], None]
) -> Iterator[str]:
    """Serve while the body runs; yields the page's address. `make_page` is called with the path that takes votes.

    `heard` is called with what each delivery of votes brought. Raises WorkspaceError where the port is taken.
    """
    secret = box.workspace.secret()
    # Always the same, so that votes in the browser reach a server that was restarted.
    drawn = int.from_bytes(_keyed(secret, "port", rater)[:4], "big")
    chosen, token = FIRST_PORT + drawn % PORTS if port is None else port, token_of(secret, rater)
    told = {"box": box, "make_page": staticmethod(make_page), "heard": staticmethod(heard), "writing": Lock()}
    kind = type("Handler", (_Handler,), told | {"token": token})
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
        length, rows = self.headers.get("Content-Length", ""), None
        # Another site's page may not send JSON without asking first, and is not answered when it asks.
        if self.headers.get_content_type() != "application/json" or not length.isdecimal():
            self._reply(415)
        elif int(length) > MOST_BYTES:
            self._reply(413)
        else:
            with contextlib.suppress(ValueError):
                rows = orjson.loads(self.rfile.read(int(length)))
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
