"""index.html: one file that needs nothing else. The rows are read first, the details of a turn when it is opened.

Everything from outside travels as compressed JSON in base64, so that no text of it meets the HTML parser, and becomes
text nodes only; a content security policy forbids every load. Above `BESIDE_TURNS` turns it lies in script files beside
the page, all that a page from disk may load: the policy then lets the page's own script add those, and nothing else.
"""

import base64
import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from duel.records import Answer, Leak, Side, Verdict
from duel.reporting import page_file
from duel.reporting.charts import Drawing, page_colors
from duel.reporting.listed_turns import Judged, ListedTurn, issue_of
from duel.reporting.markdown import OFFLINE_TITLE
from duel.reporting.report_sections import confidence, gates
from duel.reporting.wording import ReportPart, script_json, shorten, xml
from duel.workspace import Workspace

BESIDE_TURNS = 20_000
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
PART_TURNS = 5_000  # turns whose rows are read at a time, best first: the first of them show the page
Text = str | list[Any]  # a whole one, or [start, number of characters left out, end]
NEXT_STEPS = {
    "offline": ["Rules took the place of models. What would the real thing cost?", "duel run --plan"],
    "accepted": ["Write training sets of the kept turns:", "duel export --format sft-completion,dpo --split 90/10"],
    "undecided": ["Too little was judged to decide. Raise `[sample] n` and go on; what is there is kept:", "duel run"],
    "rejected": ["Read the worst turns below. Single turns of `final/` can be trained on all the same:", "duel export"],
}
SCRIPTS = "text glossary data bash diff reply overview list save issue turn app".split()


class Page:
    """Takes in the portions as they come, then writes the page."""

    def __init__(self, workspace: Workspace, turns: int) -> None:
        self.report, self.workspace, self.beside = workspace.report, workspace, turns > BESIDE_TURNS
        self._rows: list[ListedTurn] = []
        self._blocks: list[bytes] = []  # what lies in the page itself
        self._plain: list[str] = ["<tr><th>score<th>bucket<th>turn<th>issue<th>repository"]
        self._portions = self._parts = 0
        for old in (self.report / "turns").glob("*.js"):
            old.unlink()

    def add(self, turns: Sequence[ListedTurn], blocks: Mapping[str, bytes], texts: bytes) -> None:
        """Take in a portion: its rows, the packed details, and what search looks at."""
        self._put(str(self._portions), blocks)
        name = f"texts-{self._portions}"
        self._put(name, {name: texts})
        self._portions += 1
        self._rows += turns
        for turn in () if self.beside else turns:  # as plain HTML, for a reader without script
            score = "–" if turn.score is None else f"{turn.score:.1f}"
            cells = map(xml, (turn.bucket or turn.reason, turn.file, turn.title, turn.repo))
            self._plain.append("<td>".join([f"<tr><td>{score}", *cells]))
        while len(self._rows) >= PART_TURNS:
            self._put_rows()

    def _put_rows(self) -> None:
        name = f"rows-{self._parts}"
        self._put(name, {name: packed(columns(self._rows[:PART_TURNS]))})
        self._parts, self._rows = self._parts + 1, self._rows[PART_TURNS:]

    def _put(self, file: str, blocks: Mapping[str, bytes]) -> None:
        if self.beside:
            told = b",\n".join(b'"%s": "%s"' % (name.encode(), block) for name, block in blocks.items())
            self.workspace.save(self.report / "turns" / f"{file}.js", b"duelBlocks({\n" + told + b"\n});\n")
            return
        for name, block in blocks.items():
            start = b'<script type="application/octet-stream" id="data-%s">' % name.encode()
            self._blocks += [start, block, b"</script>\n"]

    def write(
        self, verdict: Verdict, summary: dict[str, Any], shown: Sequence[ReportPart], charts: dict[str, Drawing]
    ) -> None:
        """The page over all turns that were added."""
        if self._rows or not self._parts:
            self._put_rows()
        # The charts' style is kept to charts here.
        drawn = re.sub(r"(?m)^([.\w])", r".chart \1", page_file("charts.css"))
        style = page_colors() + drawn + page_file("page.css")
        script = "(() => {\n'use strict';\n" + "".join(page_file(f"{name}.js") for name in SCRIPTS) + "})();\n"
        sizes = {"portion_turns": PORTION_TURNS, "chunk_turns": CHUNK_TURNS}
        places = {"folder": "turns" if self.beside else None, "parts": self._parts, "portions": self._portions}
        fields = {
            "title": "Duel report" + OFFLINE_TITLE * summary["offline"],
            "policy": policy(style, script, self.beside),
            "style": style,
            "script": script,
            "charts": "".join(
                f'<figure id="chart-{name}"><figcaption>{chart.title}</figcaption>{chart.inline()}</figure>\n'
                for name, chart in charts.items()
            ),
            "plain": "\n".join(self._plain),
            "summary": script_json(_summary(verdict, summary, shown) | {"data": {**places, **sizes}}),
        }
        # The template is cut before it is filled, in one pass: what a field holds may look like a field itself.
        before, after = (
            re.sub(r"\{\{(\w+)\}\}", lambda found: fields[found[1]], part).encode()
            for part in page_file("page.html").split("{{blocks}}")
        )
        self.workspace.save(self.report / "index.html", b"".join([before, *self._blocks, after]))


def columns(turns: Sequence[ListedTurn]) -> dict[str, Any]:
    """The rows of the list, column by column; what repeats is named once."""

    def rounded(value: float | None, digits: int = 1) -> float | None:
        return None if value is None else round(value, digits)

    table: dict[str, Any] = {}
    for name in ("instance_id", "repo", "style", "license", "reason"):
        values = [getattr(turn, name) for turn in turns]
        names = sorted(set(values))
        number = {value: position for position, value in enumerate(names)}
        table[name] = {"names": names, "of": [number[value] for value in values]}
    for name in ("place", "file", "score", "flips", "leaking", "bucket", "position", "path", "kept", "title"):
        table[name] = [getattr(turn, name) for turn in turns]
    table["why"] = [shorten(turn.why, REASON_CHARACTERS) for turn in turns]
    table["theirs"], table["ours"] = ([turn.commands[side] for turn in turns] for side in (0, 1))
    for name in turns[0].metrics if turns else ():
        table[f"metric {name}"] = [rounded(turn.metrics[name]) for turn in turns]
    table["length"] = [rounded(turn.length_difference, 3) for turn in turns]
    return table


def policy(style: str, script: str, beside: bool = False) -> str:
    """The content security policy: nothing is loaded, and only this very style and script count.

    `beside`: this very script may add others, its own data files; no text on the page can.
    """
    style_digest, script_digest = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)
    )
    scripts = f"script-src 'sha256-{script_digest}'" + " 'strict-dynamic'" * beside
    parts = ("default-src 'none'", f"style-src 'sha256-{style_digest}'", scripts)
    return "; ".join((*parts, "base-uri 'none'", "form-action 'none'"))


def _summary(verdict: Verdict, summary: dict[str, Any], shown: Sequence[ReportPart]) -> dict[str, Any]:
    as_they_are = "decision mode margin challenger_score king_score parsed clusters cost calls why writers".split()
    return {
        **{name: getattr(verdict, name) for name in as_they_are},
        **{name: summary[name] for name in ("offline", "buckets", "thresholds")},
        "opponent": verdict.opponent_name,
        "lcb": None if verdict.lcb is None else 200 * verdict.lcb,
        "level": confidence(verdict),
        "turns": summary["turns"]["judged"],
        "judges": [judge.judge for judge in verdict.judges],
        # [what a reader may do now, the command for it]
        "next": NEXT_STEPS.get("offline" if summary["offline"] else verdict.decision, NEXT_STEPS["rejected"]),
        "gates": {"title": "Gates", "tables": [gates(verdict).plain()], "notes": []},
        "held": [gate.held for gate in verdict.gates],
        "sections": [section.plain() for section in shown],
        "styles": sorted(group["name"] for group in summary["groups"]["style"]),
        "repositories": sorted(group["name"] for group in summary["groups"]["repo"]),
        "dimensions": verdict.dimensions,
    }


def cut(text: str, limit: int) -> Text:
    """`text`, or its start and end where it is longer than `limit`."""
    if len(text) <= limit:
        return text
    start, end = limit * 2 // 3, limit // 3
    return [text[:start], len(text) - start - end, text[len(text) - end :]]


def packed(value: Any, level: int = LEVEL) -> bytes:
    """`value` as JSON, deflated, in base64: letters, digits, `+`, `/` and `=` only."""
    return base64.b64encode(zlib.compress(orjson.dumps(value), level))


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
        audit, source = judged.audit, answer.source
        problems = audit.protocol.problems if audit and audit.protocol else []
        row = f"row {source.row}" if source.row >= 0 else ""
        where = (source.dataset, source.revision[:12], source.file, row, source.exit_status)
        spent = sum(min(len(getattr(answer, side)), each) for side in SIDES)
        return {
            "replies": replies,
            "models": {side: made.model for side in SIDES if (made := answer.made(side))},
            "rewrite": cut(judged.kept().challenger, each) if judged.lineage else None,
            # [side, id, what became of it, text] of each candidate that was not chosen; six at most.
            "others": [
                [
                    one.side,
                    shorten(one.id, 40),
                    shorten(f"{why.outcome} to {why.to}".removesuffix(" to "), 60),
                    cut(one.text, self._limit // 30),
                ]
                for one, why in [(c, c.selection) for c in answer.candidates if c.selection and not c.chosen][:6]
            ],
            "leaks": findings(judged, replies["challenger"]),
            "protocol": [shorten(f"{problem.rule} {problem.detail}".strip(), 200) for problem in problems[:20]],
            "votes": [
                [
                    vote.judge,
                    vote.order == "challenger_first",
                    [getattr(vote, name, None) for name in judged.turn.metrics],
                    shorten(vote.reason or vote.error, REASON_CHARACTERS),
                ]
                for vote in score.votes
            ],
            "attempts": [shorten(f"{a.get('side', '')}: {a.get('kind', '')}", 80) for a in score.attempts[:20]],
            "issue": cut(issue_of(answer, judged.commit), small),
            "pull": {
                "number": pull.pull_number,
                "description": cut(pull.description, small // 3),
                "files": [shorten(f"{file.path} +{file.additions} -{file.deletions}", 200) for file in pull.files[:50]],
                "patch": cut("\n".join(filter(None, (pull.patch, pull.test_patch))), small),
            }
            if (pull := judged.commit)
            else None,
            "observed": {
                side: {
                    "printed": cut(one.printed, small),
                    "changed": cut(one.changed, small),
                    "exit": one.exit,
                    "why_not": "" if one.ran else shorten(one.why_not or "not said", 200),
                }
                for side in SIDES
                if (chosen := answer.chosen(side)) and (one := chosen.observed)
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


def findings(judged: Judged, shown: Text) -> list[dict[str, Any]]:
    """The leak findings, each with the stretch of the shown challenger that it marks, in UTF-16 units."""
    return [
        {
            "kind": shorten(leak.kind, 40),
            "value": shorten(leak.value, 300),
            "source": shorten(" ".join(str(leak.pr_place.get(key) or "") for key in ("part", "path")), 200).strip(),
            "line": line if isinstance(line := leak.pr_place.get("line"), int) else None,
            "weight": leak.weight,
            "mark": _mark(judged.answer.challenger, leak, shown),
        }
        for leak in (judged.audit.leaks[:50] if judged.audit else ())
    ]


def _mark(reply: str, leak: Leak, shown: Text) -> list[int] | None:
    """[start, end] in the shown text, or None where the place was cut out or is not known."""
    value, offset = leak.value, leak.place.get("offset")
    start = offset if isinstance(offset, int) and reply[offset : offset + len(value)] == value else reply.find(value)
    end = start + len(value)
    if not value or start < 0 or end > len(shown if isinstance(shown, str) else shown[0]):
        return None
    return [len(reply[:place].encode("utf-16-le", "surrogatepass")) // 2 for place in (start, end)]
