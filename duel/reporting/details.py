"""What the page shows of one turn when it is opened: both replies, the votes, the findings, the history, cut to fit."""

import base64
import zlib
from typing import Any

import orjson

from duel.records import DIMENSIONS, Answer, Commit, Leak, Side
from duel.reporting.listed_turns import Judged, issue_of
from duel.reporting.wording import shorten

# Opening one turn reads one chunk: 16 turns are about 160 KB of JSON, which a browser unpacks in a few milliseconds.
CHUNK_TURNS = 16
PORTION_TURNS = 25 * CHUNK_TURNS  # turns whose details share a file beside the page: 1 MB
# Level 1 packs these texts at 110 MB/s to 29 %, level 6 at 35 MB/s to 23 %: the report has to be quick.
LEVEL = 1
# Text of all turns together, in characters: 10,000 turns get 10,000 each, 2,000 turns 50,000 (nearly always the whole
# history). The page then has 31 MB, which Chromium has on the screen after 0.2 s and ready after 0.6 s.
PAGE_CHARACTERS = 100_000_000
LEAST, MOST = 6_000, 100_000
REASON_CHARACTERS = 1_500
TEXT_CHARACTERS = 6_000  # of a reply that search looks at
SIDES: tuple[Side, ...] = ("king", "challenger", "assistant")

Text = str | list[Any]
"""A whole text, or [start, number of characters left out, end]."""


def cut(text: str, limit: int) -> Text:
    """`text`, or its start and end where it is longer than `limit`."""
    if len(text) <= limit:
        return text
    start, end = limit * 2 // 3, limit // 3
    return [text[:start], len(text) - start - end, text[len(text) - end :]]


def packed(value: Any) -> bytes:
    """`value` as JSON, deflated, in base64: letters, digits, `+`, `/` and `=` only."""
    return base64.b64encode(zlib.compress(orjson.dumps(value), LEVEL))


def searched(judged: Judged) -> str:
    """The words by which the page's search finds a turn, each once, in small letters."""
    turn, answer = judged.turn, judged.answer
    shown = (turn.file, turn.title, turn.instance_id, turn.repo, turn.style, turn.license, turn.reason, *turn.commands)
    replies = (answer.king[:TEXT_CHARACTERS], answer.challenger[:TEXT_CHARACTERS])
    reasons = ((vote.reason or vote.error)[:REASON_CHARACTERS] for vote in judged.score.votes)
    return " ".join(dict.fromkeys(" ".join((*shown, *replies, *reasons)).lower().split()))


class Details:
    """Builds the details of one of `turns` after another, with the system prompts that they share kept once."""

    def __init__(self, turns: int) -> None:
        self._limit = min(max(PAGE_CHARACTERS // max(turns, 1), LEAST), MOST)
        self._systems: dict[str, int] = {}

    def systems(self) -> list[Text]:
        return [cut(system, LEAST) for system in self._systems]

    def of(self, judged: Judged) -> dict[str, Any]:
        answer, score, each, small = judged.answer, judged.score, self._limit // 8, self._limit // 10
        replies = {side: cut(getattr(answer, side), each) for side in SIDES}
        audit, source = answer.audit("challenger"), answer.source
        problems = audit.protocol.problems if audit and audit.protocol else []
        row = f"row {source.row}" if source.row >= 0 else ""
        where = (source.dataset, source.revision[:12], source.file, row, source.exit_status)
        spent = sum(min(len(getattr(answer, side)), each) for side in SIDES)
        seen = {side: one.observed for side in SIDES if (one := answer.chosen(side)) and one.observed}
        return {
            "replies": replies,
            "models": {side: made.model for side in SIDES if (made := answer.made(side))},
            "rewrite": cut(judged.kept().challenger, each) if judged.lineage else None,
            "others": _others(answer, self._limit // 30),
            "leaks": findings(answer, replies["challenger"]),
            "protocol": [shorten(f"{problem.rule} {problem.detail}".strip(), 200) for problem in problems[:20]],
            "votes": [
                [
                    vote.judge,
                    vote.order == "challenger_first",
                    [getattr(vote, name) for name in DIMENSIONS],
                    shorten(vote.reason or vote.error, REASON_CHARACTERS),
                ]
                for vote in score.votes
            ],
            "attempts": [shorten(f"{a.get('side', '')}: {a.get('kind', '')}", 80) for a in score.attempts[:20]],
            "issue": cut(issue_of(answer, judged.commit), small),
            "pull": _pull(judged.commit, small) if judged.commit else None,
            "observed": {
                side: {
                    "printed": cut(one.printed, small),
                    "changed": cut(one.changed, small),
                    "exit": one.exit,
                    "why_not": "" if one.ran else shorten(one.why_not or "not said", 200),
                }
                for side, one in seen.items()
            },
            "source": shorten(" · ".join(part for part in where if part), 300),
            "history": self._history(answer, self._limit // 2 - spent),
        }

    def _history(self, answer: Answer, room: int) -> list[Any]:
        """[role, text] of each message, or [role, place of the system prompt]; long ones are cut to fit `room`."""
        lengths = sorted(len(message.content) for message in answer.messages if message.role != "system")
        left = len(lengths)
        while left and lengths[-left] * left <= room:  # short ones stay whole
            room -= lengths[-left]
            left -= 1
        limit = max(room // left, 200) if left else max(lengths, default=0)
        systems = self._systems
        return [
            [m.role, systems.setdefault(m.content, len(systems)) if m.role == "system" else cut(m.content, limit)]
            for m in answer.messages
        ]


def _others(answer: Answer, limit: int) -> list[list[Any]]:
    """[side, id, what became of it, text] of each candidate that was not chosen; six at most."""
    found = [(one, one.selection) for one in answer.candidates if one.selection and not one.chosen]
    rows: list[list[Any]] = []
    for one, why in found[:6]:
        became = f"{why.outcome} to {why.to}".removesuffix(" to ")
        rows.append([one.side, shorten(one.id, 40), shorten(became, 60), cut(one.text, limit)])
    return rows


def findings(answer: Answer, shown: Text) -> list[dict[str, Any]]:
    """The leak findings, each with the stretch of the shown challenger that it marks, in UTF-16 units."""
    rows = []
    audit = answer.audit("challenger")
    for leak in audit.leaks[:50] if audit else ():
        source = leak.pr_place
        rows.append(
            {
                "kind": shorten(leak.kind, 40),
                "value": shorten(leak.value, 300),
                "source": shorten(" ".join(str(source.get(key) or "") for key in ("part", "path")), 200).strip(),
                "line": source.get("line") if isinstance(source.get("line"), int) else None,
                "weight": leak.weight,
                "mark": _mark(answer.challenger, leak, shown),
            }
        )
    return rows


def _mark(reply: str, leak: Leak, shown: Text) -> list[int] | None:
    """[start, end] in the shown text, or None where the place was cut out or is not known."""
    value, offset = leak.value, leak.place.get("offset")
    start = offset if isinstance(offset, int) and reply[offset : offset + len(value)] == value else reply.find(value)
    end = start + len(value)
    if not value or start < 0 or end > len(shown if isinstance(shown, str) else shown[0]):
        return None
    return [len(reply[:place].encode("utf-16-le", "surrogatepass")) // 2 for place in (start, end)]


def _pull(commit: Commit, limit: int) -> dict[str, Any]:
    return {
        "number": commit.pull_number,
        "description": cut(commit.description, limit // 3),
        "files": [shorten(f"{file.path} +{file.additions} -{file.deletions}", 200) for file in commit.files[:50]],
        "patch": cut("\n".join(filter(None, (commit.patch, commit.test_patch))), limit),
    }
