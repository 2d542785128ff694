"""The page on which one person votes: one file that loads nothing, and in which nothing tells a side.

Texts travel as compressed JSON in base64, so none of them can meet the HTML parser, and the script puts them on the
screen as text nodes only. The content security policy lets this very style and script count and nothing be loaded; a
served page may send votes to the server it came from, which answers its own host and path alone.
"""

import asyncio
import contextlib
import hmac
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from duel import local_server
from duel.errors import DuelError, WorkspaceError
from duel.judging import rubric
from duel.records import PersonVote
from duel.reporting import charts, page_file
from duel.reporting.page import packed, policy
from duel.review.ballots import Ballot, Taken

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
_own = partial(page_file, folder="review/ballot_page")


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
    style = charts.page_colors(COLORS) + _own("ballot.css")
    script = "(() => {\n'use strict';\n" + "".join([*map(page_file, SHARED_SCRIPTS), *map(_own, SCRIPTS)]) + "})();\n"
    beside = {"dimensions": questions(asked), "post": post}
    content = policy(style, script) + ("; connect-src 'self'" if post else "")
    for limit in MESSAGE_LIMITS[:1] if post else MESSAGE_LIMITS:
        data = packed(_data(ballots, votes, rater, secret, limit) | beside, 9).decode()
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


# Below the ports that systems hand out to whoever asks for any (from 32,768 on Linux, 49,152 elsewhere).
FIRST_PORT, PORTS = 20_000, 12_000
MOST_BYTES = 256_000
SILENT_SECONDS = 30.0  # votes that have not come whole in so long are not waited for
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "review",
}


def token_of(secret: bytes, rater: str) -> str:
    """The secret part of the page's path: other pages in the same browser cannot guess it."""
    return _keyed(secret, "token", rater).hex()[:32]


@contextlib.contextmanager
def serving(
    take: Callable[[list[Any]], Taken], make_page: Callable[[str], bytes], rater: str, port: int | None, secret: bytes
) -> Iterator[str]:
    """Serve while the body runs; yields the page's address. `make_page` is called with the path that takes votes.

    `take` is called with each delivery of votes. Raises WorkspaceError where the port is taken.
    """
    # Always the same, so that votes in the browser reach a server that was restarted.
    drawn = int.from_bytes(_keyed(secret, "port", rater)[:4], "big")
    chosen, token = FIRST_PORT + drawn % PORTS if port is None else port, token_of(secret, rater)
    with contextlib.ExitStack() as running:
        try:
            application = _application(take, make_page, token)
            taken = running.enter_context(local_server.serving(application, chosen))
        except OSError as error:
            told, hint = os.strerror(error.errno or 0), "choose another --port"
            where = f"{local_server.HOST}:{chosen}"
            raise WorkspaceError("the page cannot be served", where=where, value=told, hint=hint) from None
        yield f"http://{local_server.HOST}:{taken}/{token}/"


def _application(take: Callable[[list[Any]], Taken], make_page: Callable[[str], bytes], token: str) -> web.Application:
    async def answer(call: web.Request) -> web.Response:
        """Answer only who asks this very host for this very path: a foreign name that leads here is refused."""
        port = call.get_extra_info("sockname")[1]
        hosts = {f"{local_server.HOST}:{port}", f"localhost:{port}"}
        origins = {None, *(f"http://{host}" for host in hosts)}
        if call.headers.get("Host") not in hosts or call.headers.get("Origin") not in origins:
            return web.Response(status=403)
        asked = f"{call.method} {call.raw_path}".encode("utf-8", "surrogateescape")
        if hmac.compare_digest(asked, f"GET /{token}/".encode()):
            body = await asyncio.to_thread(make_page, f"/{token}/votes")
            return web.Response(body=body, content_type="text/html", charset="utf-8")
        if not hmac.compare_digest(asked, f"POST /{token}/votes".encode()):
            return web.Response(status=404)
        # Another site's page may not send JSON without asking first, and is not answered when it asks.
        if call.content_type != "application/json":
            return web.Response(status=415)
        rows = None
        with contextlib.suppress(ValueError, TimeoutError, web.RequestPayloadError):
            async with asyncio.timeout(SILENT_SECONDS):
                rows = orjson.loads(await call.read())
        return await asyncio.to_thread(taken, rows) if isinstance(rows, list) else web.Response(status=400)

    def taken(rows: list[Any]) -> web.Response:
        try:
            done = take(rows)
        except DuelError as error:
            logging.getLogger("duel").error("%s", error)
            return web.Response(status=507)
        names = [f"{row.get('id')} {row.get('at')}" if isinstance(row, dict) else "" for row in rows]
        told = {"saved": done.acknowledged, "refused": [name for name in names if name not in done.acknowledged]}
        return web.Response(body=orjson.dumps(told), content_type="application/json")

    async def headed(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS)

    application = web.Application(client_max_size=MOST_BYTES)
    application.router.add_route("*", "/{path:.*}", answer)
    application.on_response_prepare.append(headed)
    return application
