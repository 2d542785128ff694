"""index.html: one file that needs nothing else. The rows are read at once, the details of a turn when it is opened.

Everything that comes from outside travels as compressed JSON in base64, so no text of it can meet the HTML parser, and
the page's script puts it on the screen as text nodes only. A content security policy forbids every load, so that even
a mistake could not fetch or run anything.
"""

import base64
import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import orjson

from duel.records import DIMENSIONS, Verdict
from duel.reporting import report_sections, svg, trust
from duel.reporting.details import Details, budget
from duel.reporting.listed_turns import Judged, ListedTurn
from duel.reporting.markdown import OFFLINE_TITLE
from duel.reporting.parts import ReportPart
from duel.reporting.svg import Drawing
from duel.reporting.text import script_json, xml

# Opening one turn reads one chunk: 16 turns are about 160 KB of JSON, which a browser unpacks in a few milliseconds.
CHUNK_TURNS = 16
# Level 1 packs these texts at 110 MB/s to 29 %, level 6 at 35 MB/s to 23 %: the report has to be quick.
LEVEL = 1
SCRIPTS = (
    *("text.js", "glossary.js", "data.js", "bash.js", "diff.js", "reply.js", "overview.js", "list.js", "save.js"),
    *("issue.js", "turn.js", "app.js"),
)


@dataclass
class Page:
    """Collects the details of the turns as they come and packs them beside; then writes the page."""

    turns: int
    _details: Details = field(init=False)
    _open: list[dict[str, Any]] = field(default_factory=list)
    _packed: list[Future[bytes]] = field(default_factory=list)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def __post_init__(self) -> None:
        self._details = Details(budget(self.turns))

    def add(self, judged: Judged) -> None:
        """Take in the details of the next turn."""
        self._open.append(self._details.of(judged))
        if len(self._open) == CHUNK_TURNS:
            self._close_chunk()

    def _close_chunk(self) -> None:
        if self._open:
            self._packed.append(self._pool.submit(pack, self._open))
            self._open = []

    def html(
        self,
        verdict: Verdict,
        summary: dict[str, Any],
        shown: Sequence[ReportPart],
        charts: dict[str, Drawing],
        turns: Sequence[ListedTurn],
    ) -> bytes:
        """The page. `turns` are those that were added, in the same order."""
        self._close_chunk()
        self._pool.shutdown()
        style = svg.page_colours() + svg.page_style() + _part("page.css")
        script = "(() => {\n'use strict';\n" + "".join(map(_part, SCRIPTS)) + "})();\n"
        fields = {
            "title": "Duel report" + OFFLINE_TITLE * summary["offline"],
            "policy": policy(style, script),
            "style": style,
            "script": script,
            "charts": "".join(_figure(name, chart) for name, chart in charts.items()),
            "plain": plain_table(turns),
            "summary": script_json(_summary(verdict, summary, shown)),
        }
        blocks = [("rows", pack(columns(turns))), ("systems", pack(self._details.systems))]
        blocks += [(str(number), packed.result()) for number, packed in enumerate(self._packed)]
        before, _, after = _filled(_part("page.html"), fields).partition("{{blocks}}")
        return b"".join([before.encode(), *_elements(blocks), after.encode()])


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
    for name in ("file", "score", "flips", "leaking", "bucket", "position", "path", "title"):
        table[name] = [getattr(turn, name) for turn in turns]
    table["theirs"], table["ours"] = ([turn.commands[side] for turn in turns] for side in (0, 1))
    for place, metric in enumerate(DIMENSIONS):
        table[metric] = [_rounded(turn.metrics[place]) for turn in turns]
    table["length"] = [_rounded(turn.length_difference, 3) for turn in turns]
    return table


def plain_table(turns: Sequence[ListedTurn]) -> str:
    """Every turn as a row of plain HTML, for a reader without script."""
    rows = (
        f"<tr><td>{'–' if turn.score is None else f'{turn.score:.1f}'}<td>{xml(turn.bucket or turn.reason)}"
        f"<td>{xml(turn.file)}<td>{xml(turn.title)}<td>{xml(turn.repo)}"
        for turn in turns
    )
    return "<tr><th>score<th>bucket<th>turn<th>issue<th>repository\n" + "\n".join(rows)


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)


def policy(style: str, script: str) -> str:
    """The content security policy: nothing is loaded, and only this very style and script count."""
    parts = ("default-src 'none'", f"style-src '{_digest(style)}'", f"script-src '{_digest(script)}'")
    return "; ".join((*parts, "base-uri 'none'", "form-action 'none'"))


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _summary(verdict: Verdict, summary: dict[str, Any], shown: Sequence[ReportPart]) -> dict[str, Any]:
    return {
        "offline": summary["offline"],
        "decision": verdict.decision,
        "opponent": verdict.opponent_name,
        "mode": verdict.mode,
        "margin": verdict.margin,
        "lcb": None if verdict.lcb is None else 200 * verdict.lcb,
        "level": trust.confidence(verdict),
        "challenger_score": verdict.challenger_score,
        "king_score": verdict.king_score,
        "parsed": verdict.parsed,
        "turns": summary["turns"]["judged"],
        "clusters": verdict.clusters,
        "cost": verdict.cost,
        "calls": verdict.calls,
        "why": verdict.why,
        "writers": verdict.writers,
        "judges": [judge.judge for judge in verdict.judges],
        "next": next_step(verdict.decision, summary),
        "buckets": summary["buckets"],
        "thresholds": summary["thresholds"],
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


def _figure(name: str, chart: Drawing) -> str:
    return f'<figure id="chart-{name}"><figcaption>{chart.title}</figcaption>{chart.inline()}</figure>\n'


def _elements(blocks: Iterable[tuple[str, bytes]]) -> Iterable[bytes]:
    for name, payload in blocks:
        yield b'<script type="application/octet-stream" id="data-' + name.encode() + b'">'
        yield payload
        yield b"</script>\n"


def _filled(template: str, fields: dict[str, str]) -> str:
    """The template with its fields; what a field holds is not searched for further fields."""
    pieces = template.split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        filled += [fields.get(name, "{{" + name + "}}"), rest]
    return "".join(filled)


def _part(name: str) -> str:
    return (resources.files("duel.reporting") / "page" / name).read_text(encoding="utf-8")
