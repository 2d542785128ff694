"""index.html: one file that needs nothing else. The rows are read first, the details of a turn when it is opened.

Everything that comes from outside travels as compressed JSON in base64, so no text of it can meet the HTML parser, and
the page's script puts it on the screen as text nodes only. A content security policy forbids every load, so that even
a mistake could not fetch or run anything.

Above `BESIDE_TURNS` turns all of it lies in script files beside the page, which loads those that it needs: scripts are
all that a page from disk may load. The policy then lets the page's own script add further ones, and nothing else.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from duel.records import DIMENSIONS, Verdict
from duel.reporting import page_file, report_sections, svg
from duel.reporting.details import CHUNK_TURNS, PORTION_TURNS, REASON_CHARACTERS, packed
from duel.reporting.listed_turns import ListedTurn
from duel.reporting.markdown import OFFLINE_TITLE
from duel.reporting.parts import ReportPart
from duel.reporting.portions import Portion
from duel.reporting.svg import Drawing
from duel.reporting.text import script_json, shorten, xml
from duel.workspace import Workspace

BESIDE_TURNS = 20_000
PART_TURNS = 5_000
"""Turns whose rows are read at a time, best first: the first of them show the page."""
SCRIPTS = (
    *("text.js", "glossary.js", "data.js", "bash.js", "diff.js", "reply.js", "overview.js", "list.js", "save.js"),
    *("issue.js", "turn.js", "app.js"),
)


@dataclass
class Page:
    """Takes in the portions as they come, then writes the page."""

    workspace: Workspace
    turns: int
    _rows: list[ListedTurn] = field(default_factory=list)
    _blocks: list[tuple[str, bytes]] = field(default_factory=list)
    """(id of the block, its bytes), where they lie in the page itself."""
    _plain: list[str] = field(default_factory=list)
    _portions: int = 0
    _parts: int = 0

    def __post_init__(self) -> None:
        self.beside = self.turns > BESIDE_TURNS
        for old in (self.workspace.report / "turns").glob("*.js"):
            old.unlink()

    def add(self, portion: Portion) -> None:
        self._put(str(self._portions), portion.blocks)
        name = f"texts-{self._portions}"
        self._put(name, {name: portion.texts})
        self._portions += 1
        self._rows += portion.turns
        self._plain += [plain_row(turn) for turn in portion.turns if not self.beside]
        while len(self._rows) >= PART_TURNS:
            self._put_rows()

    def _put_rows(self) -> None:
        name = f"rows-{self._parts}"
        self._put(name, {name: packed(columns(self._rows[:PART_TURNS]))})
        self._parts, self._rows = self._parts + 1, self._rows[PART_TURNS:]

    def _put(self, file: str, blocks: Mapping[str, bytes]) -> None:
        if not self.beside:
            self._blocks += blocks.items()
            return
        told = b",\n".join(b'"%s": "%s"' % (name.encode(), block) for name, block in blocks.items())
        self.workspace.save(self.workspace.report / "turns" / f"{file}.js", b"duelBlocks({\n" + told + b"\n});\n")

    def write(
        self, verdict: Verdict, summary: dict[str, Any], shown: Sequence[ReportPart], charts: dict[str, Drawing]
    ) -> None:
        """The page over all turns that were added."""
        if self._rows or not self._parts:
            self._put_rows()
        style = svg.page_colours() + svg.page_style() + page_file("page.css")
        script = "(() => {\n'use strict';\n" + "".join(map(page_file, SCRIPTS)) + "})();\n"
        data = {
            "folder": "turns" if self.beside else None,
            "parts": self._parts,
            "portions": self._portions,
            "portion_turns": PORTION_TURNS,
            "chunk_turns": CHUNK_TURNS,
        }
        fields = {
            "title": "Duel report" + OFFLINE_TITLE * summary["offline"],
            "policy": policy(style, script, self.beside),
            "style": style,
            "script": script,
            "charts": "".join(
                f'<figure id="chart-{name}"><figcaption>{chart.title}</figcaption>{chart.inline()}</figure>\n'
                for name, chart in charts.items()
            ),
            "plain": "\n".join(["<tr><th>score<th>bucket<th>turn<th>issue<th>repository", *self._plain]),
            "summary": script_json(_summary(verdict, summary, shown) | {"data": data}),
        }
        # The place is found before the fields are filled: a title may say `{{blocks}}` too.
        before, _, after = page_file("page.html").partition("{{blocks}}")
        pieces = [_filled(before, fields).encode()]
        for name, block in self._blocks:
            pieces += [
                b'<script type="application/octet-stream" id="data-%s">' % name.encode(),
                block,
                b"</script>\n",
            ]
        self.workspace.save(self.workspace.report / "index.html", b"".join([*pieces, _filled(after, fields).encode()]))


def columns(turns: Sequence[ListedTurn]) -> dict[str, Any]:
    """The rows of the list, column by column; what repeats is named once."""
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
    for place, metric in enumerate(DIMENSIONS):
        table[metric] = [_rounded(turn.metrics[place]) for turn in turns]
    table["length"] = [_rounded(turn.length_difference, 3) for turn in turns]
    return table


def plain_row(turn: ListedTurn) -> str:
    """The turn as a row of plain HTML, for a reader without script."""
    score = "–" if turn.score is None else f"{turn.score:.1f}"
    return "<td>".join([f"<tr><td>{score}", *map(xml, (turn.bucket or turn.reason, turn.file, turn.title, turn.repo))])


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)


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
        "level": report_sections.confidence(verdict),
        "turns": summary["turns"]["judged"],
        "judges": [judge.judge for judge in verdict.judges],
        "next": next_step(verdict.decision, summary),
        "gates": ReportPart("Gates", [report_sections.gates(verdict)]).plain(),
        "held": [gate.held for gate in verdict.gates],
        "sections": [section.plain() for section in shown],
        "styles": sorted(group["name"] for group in summary["groups"]["style"]),
        "repositories": sorted(group["name"] for group in summary["groups"]["repo"]),
        "dimensions": DIMENSIONS,
    }


def next_step(decision: str, summary: Mapping[str, Any]) -> list[str]:
    """[what a reader may do now, the command for it]."""
    if summary["offline"]:
        return ["This was the bundled sample. What would the real thing cost?", "duel run --plan"]
    if decision == "accepted":
        return ["Write training sets of the kept turns:", "duel export --format sft-completion,dpo --split 90/10"]
    if decision == "undecided":
        return ["Too little was judged to decide. Raise `[sample] n` and go on; what is there is kept:", "duel run"]
    return ["Read the worst turns below. Single turns of `final/` can be trained on all the same:", "duel export"]


def _filled(template: str, fields: dict[str, str]) -> str:
    """The template with its fields; what a field holds is not searched for further fields."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: fields.get(found[1], found[0]), template)
