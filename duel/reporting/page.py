"""index.html: one file that needs nothing else. The rows are read at once, the details of a turn when it is opened.

Everything that comes from outside travels as compressed JSON in base64, so no text of it can meet the HTML parser, and
the page's script puts it on the screen as text nodes only. A content security policy forbids every load, so that even
a mistake could not fetch or run anything.

Above `PART_TURNS` turns rows and details lie in script files beside the page, which loads those that it shows: scripts
are all that a page from disk may load. The policy then lets the page's own script add further ones, and nothing else.
"""

import base64
import hashlib
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from duel.records import DIMENSIONS, Verdict
from duel.reporting import page_file, report_sections, svg
from duel.reporting.details import Details, budget
from duel.reporting.listed_turns import Judged, ListedTurn
from duel.reporting.markdown import OFFLINE_TITLE
from duel.reporting.parts import ReportPart
from duel.reporting.svg import Drawing
from duel.reporting.text import script_json, xml

# Opening one turn reads one chunk: 16 turns are about 160 KB of JSON, which a browser unpacks in a few milliseconds.
CHUNK_TURNS = 16
PART_TURNS = 20_000
"""Turns whose rows are on the page at a time, best first."""
FILE_CHUNKS = 25
"""Chunks in one file beside the page: 400 turns, 1 MB."""
BESIDE = "turns"
# Level 1 packs these texts at 110 MB/s to 29 %, level 6 at 35 MB/s to 23 %: the report has to be quick.
LEVEL = 1
SCRIPTS = (
    *("text.js", "glossary.js", "data.js", "bash.js", "diff.js", "reply.js", "overview.js", "list.js", "save.js"),
    *("issue.js", "turn.js", "app.js"),
)


@dataclass
class Page:
    """Takes the turns in as they come and packs them beside; then writes the page."""

    turns: int
    folder: Path
    """The report's, for the files beside the page."""
    save: Callable[[Path, bytes], None]
    _details: Details = field(init=False)
    _open: list[dict[str, Any]] = field(default_factory=list)
    _rows: list[ListedTurn] = field(default_factory=list)
    _packed: list[tuple[str, Future[bytes]]] = field(default_factory=list)
    """(id of the block, its bytes), as far as they are not in a file beside the page."""
    _chunks: int = 0
    _parts: int = 0
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def __post_init__(self) -> None:
        self._details = Details(budget(self.turns))
        for old in (self.folder / BESIDE).glob("*.js"):
            old.unlink()

    @property
    def beside(self) -> bool:
        return self.turns > PART_TURNS

    def add(self, judged: Judged) -> None:
        self._open.append(self._details.of(judged))
        self._rows.append(judged.turn)
        if len(self._open) == CHUNK_TURNS:
            self._close_chunk()
        if self.beside and len(self._packed) == FILE_CHUNKS:
            self._close_file()
        if self.beside and len(self._rows) == PART_TURNS:
            self._close_part()

    def _close_chunk(self) -> None:
        if self._open:
            self._packed.append((str(self._chunks), self._pool.submit(pack, self._open)))
            self._chunks, self._open = self._chunks + 1, []

    def _close_file(self) -> None:
        if self._packed:
            blocks = [(name, packed.result()) for name, packed in self._packed]
            self._write(str(int(blocks[0][0]) // FILE_CHUNKS), blocks)
            self._packed = []

    def _close_part(self) -> None:
        if self._rows:
            name = f"rows-{self._parts}"
            self._write(name, [(name, pack(columns(self._rows)))])
            self._parts, self._rows = self._parts + 1, []

    def _write(self, name: str, blocks: list[tuple[str, bytes]]) -> None:
        told = b",\n".join(b'"%s": "%s"' % (block.encode(), packed) for block, packed in blocks)
        self.save(self.folder / BESIDE / f"{name}.js", b"duelBlocks({\n" + told + b"\n});\n")

    def html(
        self, verdict: Verdict, summary: dict[str, Any], shown: Sequence[ReportPart], charts: dict[str, Drawing]
    ) -> bytes:
        """The page over all turns that were added."""
        self._close_chunk()
        plain = plain_table(self._rows) if not self.beside else ""
        rows = [] if self.beside else [("rows", pack(columns(self._rows)))]
        if self.beside:
            self._close_file()
            self._close_part()
        self._pool.shutdown()
        style = svg.page_colours() + svg.page_style() + page_file("page.css")
        script = "(() => {\n'use strict';\n" + "".join(map(page_file, SCRIPTS)) + "})();\n"
        where = {"folder": BESIDE, "parts": self._parts, "part_turns": PART_TURNS, "file_chunks": FILE_CHUNKS}
        fields = {
            "title": "Duel report" + OFFLINE_TITLE * summary["offline"],
            "policy": policy(style, script, self.beside),
            "style": style,
            "script": script,
            "charts": "".join(
                f'<figure id="chart-{name}"><figcaption>{chart.title}</figcaption>{chart.inline()}</figure>\n'
                for name, chart in charts.items()
            ),
            "plain": plain,
            "summary": script_json(_summary(verdict, summary, shown) | {"beside": where if self.beside else None}),
        }
        blocks = [*rows, ("systems", pack(self._details.systems))]
        blocks += [(name, packed.result()) for name, packed in self._packed]
        before, _, after = _filled(page_file("page.html"), fields).partition("{{blocks}}")
        pieces = [before.encode()]
        for name, payload in blocks:
            pieces += [
                b'<script type="application/octet-stream" id="data-%s">' % name.encode(),
                payload,
                b"</script>\n",
            ]
        return b"".join([*pieces, after.encode()])


def pack(value: Any) -> bytes:
    """`value` as JSON, deflated, in base64: letters, digits, `+`, `/` and `=` only."""
    return base64.b64encode(zlib.compress(orjson.dumps(value), LEVEL))


def columns(turns: Sequence[ListedTurn]) -> dict[str, Any]:
    """The rows of the list, column by column; what repeats is named once."""
    table: dict[str, Any] = {}
    for name in ("instance_id", "repo", "style", "license", "reason"):
        values = [getattr(turn, name) for turn in turns]
        names = sorted(set(values))
        number = {value: position for position, value in enumerate(names)}
        table[name] = {"names": names, "of": [number[value] for value in values]}
    for name in ("file", "score", "flips", "leaking", "bucket", "position", "path", "kept", "title"):
        table[name] = [getattr(turn, name) for turn in turns]
    table["theirs"], table["ours"] = ([turn.commands[side] for turn in turns] for side in (0, 1))
    for place, metric in enumerate(DIMENSIONS):
        table[metric] = [_rounded(turn.metrics[place]) for turn in turns]
    table["length"] = [_rounded(turn.length_difference, 3) for turn in turns]
    return table


def plain_table(turns: Sequence[ListedTurn]) -> str:
    """Every turn as a row of plain HTML, for a reader without script."""
    rows = []
    for turn in turns:
        cells = (turn.bucket or turn.reason, turn.file, turn.title, turn.repo)
        score = "–" if turn.score is None else f"{turn.score:.1f}"
        rows.append("<td>".join([f"<tr><td>{score}", *map(xml, cells)]))
    return "<tr><th>score<th>bucket<th>turn<th>issue<th>repository\n" + "\n".join(rows)


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
        "chunk_turns": CHUNK_TURNS,
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
