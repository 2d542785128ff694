"""The page on which one person votes: one file that loads nothing, and in which nothing tells a side.

Texts travel as compressed JSON in base64, so none of them can meet the HTML parser, and the script puts them on the
screen as text nodes only. The content security policy lets this very style and script count and nothing be loaded; a
served page may send votes to the server it came from.
"""

import base64
import hmac
import re
import zlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

import orjson

from duel import prompts
from duel.records import DIMENSIONS, PersonVote
from duel.reporting import page_file, svg
from duel.reporting.page import policy
from duel.review.ballots import Ballot

SHARED_SCRIPTS = ("text.js", "bash.js", "diff.js", "reply.js")
SCRIPTS = ("ballot.js", "outbox.js", "review.js")
# Colors of the report by their names on this page, on which no side has a color.
COLORS = {name: name for name in "page paper raised ink muted rule final refined defeat warn warn-tint".split()} | {
    "challenger": "accent",
    "challenger-tint": "accent-tint",
    "king": "word",
}
# Characters of a reply, and of a message of a conversation: there the first that keeps a file to hand over under
# FILE_BYTES. More is cut in the middle and said to be.
LONGEST_REPLY = 60_000
MESSAGE_LIMITS = (60_000, 16_000, 8_000, 4_000, 2_000, 1_000, 500)
FILE_BYTES = 480_000


def page(ballots: Sequence[Ballot], votes: Sequence[PersonVote], rater: str, secret: bytes, post: str = "") -> bytes:
    """The page of `rater`. `post` is where a served page sends votes; without it votes are downloaded.

    `votes` are those that are saved already: the page goes on behind them.
    """
    style = svg.page_colours(COLORS) + _own("ballot.css")
    script = "(() => {\n'use strict';\n" + "".join([*map(page_file, SHARED_SCRIPTS), *map(_own, SCRIPTS)]) + "})();\n"
    content = policy(style, script) + ("; connect-src 'self'" if post else "")
    for limit in MESSAGE_LIMITS[:1] if post else MESSAGE_LIMITS:
        plain = orjson.dumps(_data(ballots, votes, rater, secret, post, limit))
        data = base64.b64encode(zlib.compress(plain, 9)).decode()
        if len(data) + len(style) + len(script) < FILE_BYTES:
            break
    fields = {"policy": content, "style": style, "script": script, "data": data}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: fields[found[1]], _own("ballot.html")).encode()


def _data(
    ballots: Sequence[Ballot], votes: Sequence[PersonVote], rater: str, secret: bytes, post: str, limit: int
) -> dict[str, Any]:
    by_key = {vote.key: vote for vote in votes}
    messages: dict[tuple[str, str], int] = {}
    histories: dict[str, list[int]] = {}
    items, saved = [], {}
    for ballot in ballots:
        if ballot.showing.item not in histories:
            said = [(message.role, message.content) for message in ballot.pair.history]
            histories[ballot.showing.item] = [messages.setdefault(one, len(messages)) for one in said]
        item = {"id": ballot.id, "pair": ballot.pair_id, "history": [*histories].index(ballot.showing.item)}
        shown = {"texts": ballot.texts, "observed": ballot.observed or ()}
        items.append(item | {name: [_shortened(one) for one in two] for name, two in shown.items() if two})
        if vote := by_key.get(ballot.key):  # as the page made it
            told = {"pair": ballot.pair_id, "rater": vote.rater, "choices": ballot.choices(vote)}
            saved[ballot.id] = told | {name: getattr(vote, name) for name in ("skipped", "reason", "seconds", "at")}
    return {
        # One name a person and workspace: votes in a browser outlive a page that is made anew.
        "page": hmac.digest(secret, f"review-page\0{rater}".encode(), "sha256").hex()[:16],
        "rater": rater,
        "post": post,
        "dimensions": dimensions(),
        "items": items,
        "histories": list(histories.values()),
        "messages": [[role, *_cut(text, limit)] for role, text in messages],
        "votes": saved,
    }


def _cut(text: str, limit: int) -> list[Any]:
    """[text], or [start, characters left out, end] of one that is longer than `limit`."""
    if len(text) <= limit:
        return [text]
    half = limit // 2
    return [text[:half], len(text) - 2 * half, text[-half:]]


def _shortened(text: str) -> str:
    start, *rest = _cut(text, LONGEST_REPLY)
    return f"{start}\n[{rest[0]:,} characters are not on this page]\n{rest[1]}" if rest else str(start)


def dimensions() -> list[dict[str, str]]:
    """What people are asked, in the words that the judges are asked in."""
    rubric = prompts.load("rubric").text
    told = re.findall(r"^(\w+): (.+)\n  high: (.+)\n  low: (.+)$", rubric, re.MULTILINE)
    return [dict(zip(("name", "ask", "high", "low"), words, strict=True)) for words in told if words[0] in DIMENSIONS]


def _own(name: str) -> str:
    return (resources.files("duel.review") / "ballot_page" / name).read_text(encoding="utf-8")
