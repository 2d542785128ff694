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
from typing import Any

from duel.records import DIMENSIONS, Verdict
from duel.reporting import page_file, svg
from duel.reporting.details import CHUNK_TURNS, PORTION_TURNS, REASON_CHARACTERS, packed
from duel.reporting.listed_turns import ListedTurn
from duel.reporting.markdown import OFFLINE_TITLE
from duel.reporting.parts import ReportPart
from duel.reporting.portions import Portion
from duel.reporting.report_sections import confidence, gates
from duel.reporting.svg import Drawing
from duel.reporting.wording import script_json, shorten, xml
from duel.workspace import Workspace

BESIDE_TURNS = 20_000
PART_TURNS = 5_000  # turns whose rows are read at a time, best first: the first of them show the page
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

    def add(self, portion: Portion) -> None:
        self._put(str(self._portions), portion.blocks)
        name = f"texts-{self._portions}"
        self._put(name, {name: portion.texts})
        self._portions += 1
        self._rows += portion.turns
        for turn in () if self.beside else portion.turns:  # as plain HTML, for a reader without script
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
        style = svg.page_colours() + drawn + page_file("page.css")
        script = "(() => {\n'use strict';\n" + "".join(page_file(f"{name}.js") for name in SCRIPTS) + "})();\n"
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
            "plain": "\n".join(self._plain),
            "summary": script_json(_summary(verdict, summary, shown) | {"data": data}),
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
    for place, metric in enumerate(DIMENSIONS):
        table[metric] = [rounded(turn.metrics[place]) for turn in turns]
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
        "next": next_step(verdict.decision, summary),
        "gates": ReportPart("Gates", [gates(verdict)]).plain(),
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
