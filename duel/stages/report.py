"""Write the report of a judged run, and sort its turns into final, refined and defeat.

reads   score/*.json, score/_duel.json, answer_*/*.json
writes  report/report.md, report/index.html, report/*.svg, final/*.json, refined/*.json, defeat/*.json; again after
        every change of a threshold, it costs nothing
"""

import sys
import webbrowser
from argparse import Namespace
from collections import Counter
from typing import Any

import orjson

from duel import standing
from duel.bookkeeping import Result
from duel.command import say
from duel.errors import EXIT_FINISHED, EXIT_OPEN, ItemError, UserError, printable
from duel.placement import Representatives
from duel.refining import rewrites
from duel.reporting import charts, markdown, report_sections
from duel.reporting.page import Page
from duel.reporting.portions import Shelves, best_first, portions
from duel.reporting.tally import Tally, last_reply
from duel.settings import Settings
from duel.workspace import BUCKETS, Workspace

PAGES = ("*.html", "*.md", "*.svg", "turns/*.js")


def run(workspace: Workspace, settings: Settings) -> Result:
    """Write the report and sort the turns, unless nothing has changed since; `found` is what `--json` prints."""
    with workspace.lock("report", "report.py"):
        files = standing.Snapshot.take(workspace, "commit", "answer", "score", *BUCKETS)
        known = standing.recall(workspace, "report", _rests_on(workspace, settings), files)
        if known is None:
            known = _write(workspace, settings)
            if known["whole"]:
                standing.keep(workspace, "report", _rests_on(workspace, settings), files, known)
    pages = [f"the report: {workspace.report / 'report.md'}", f"the page:   {workspace.report / 'index.html'}"]
    for line in known["told"] + pages:  # the pages as they lie today
        say(line)
    return Result("report", EXIT_FINISHED if known["whole"] else EXIT_OPEN, known["summary"])


def _rests_on(workspace: Workspace, settings: Settings) -> str:
    """The fingerprint of whatever the report shows besides the files of turns, and of the pages as they are."""
    shown = [path for pattern in PAGES for path in workspace.report.glob(pattern)]
    pages = sorted((path.name, found.st_size, found.st_mtime_ns) for path in shown for found in [path.stat()])
    told = [path.read_bytes() for path in [workspace.duel, *sorted(workspace.report.glob("*.json"))] if path.is_file()]
    dropped = [row for row in workspace.dropped() if row.get("stage") != "report"]
    return standing.ground(settings, pages, told, dropped, last_reply(workspace))


def _write(workspace: Workspace, settings: Settings) -> dict[str, Any]:
    duel = workspace.verdict()
    scored = best_first(workspace)
    if not scored:
        raise UserError("there are no scores to report", where=workspace.root / "score", hint="run validate.py first")

    shelves, finals, refined = Shelves(workspace), Representatives(), list[rewrites.Refined]()
    tally, page, listed = Tally(), Page(workspace, len(scored)), markdown.Listed()
    kept, dropped, missing, damage = set[str](), list[dict[str, Any]](), list[dict[str, Any]](), list[ItemError]()
    for portion in portions(workspace, settings, duel, scored):
        for turn in portion.turns:
            turn.settle(finals)
            if turn.bucket == "final":
                turn.kept = shelves.put("final", turn.file, portion.finals[turn.file])
            if turn.bucket is None:
                dropped.append(turn.dropped())
            else:
                kept.add(turn.kept)
            tally.add(turn)
            listed.add(turn)
        refined += portion.trials
        page.add(portion.turns, portion.blocks, portion.texts)
        missing += portion.missing
        damage += portion.damage
        shelves.in_the_way += portion.in_the_way
    removed = shelves.tidy(tally.sources.keys(), kept)
    workspace.save_dropped("report", [*dropped, *missing])

    summary = tally.summary(duel, workspace, settings, rewrites.summary(refined, settings))
    costs = tally.yields(workspace)
    summary["yield"] = {name: vars(one) for name, one in costs.items()}
    tables = report_sections.sections(duel, summary, costs)
    drawings = charts.draw(duel, tally, settings, costs)
    for name, drawing in drawings.items():
        workspace.save(workspace.report / f"{name}.svg", drawing.file().encode())
    page.write(duel, summary, tables, drawings)
    workspace.save(workspace.report / "report.md", markdown.write(duel, summary, tables, drawings, listed).encode())
    if removed:
        say(f"{removed:,} turns have left their bucket")
    told = _told(summary, missing, damage)
    told += [f"left as it is, because it is not ours: {name}" for name in shelves.in_the_way]
    return {"summary": summary, "told": told, "whole": not damage}


def _told(summary: dict[str, Any], missing: list[dict[str, Any]], damage: list[ItemError]) -> list[str]:
    """What the run says at its end: the decision, where the turns went, and what was left out."""
    stand_in = "OFFLINE STAND-IN: rules wrote and judged these turns; the figures mean nothing"
    told = [stand_in] if summary["offline"] else []
    told.append(f"{printable(summary['verdict']['decision'])}: {summary['turns']['judged']:,} judged turns")
    told.append(", ".join(f"{row['turns']:,} {row['bucket']}" for row in summary["buckets"]))
    told += [f"{items:,} left out: {why}" for why, items in sorted(Counter(one["reason"] for one in missing).items())]
    return told + [f"damaged and left out: {error}" for error in damage]


def show(summary: dict[str, Any], arguments: Namespace) -> None:
    if arguments.json:
        sys.stdout.buffer.write(orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    if arguments.open:
        webbrowser.open((Workspace(arguments.workspace).report / "index.html").as_uri())
