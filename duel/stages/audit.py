"""Audit the answers: the blind rule, the protocol, near-duplicates, secrets, contamination and licences. No call.

    duel audit                 audit the challengers, print a table
    duel audit --side king     the same of the turns whose author has seen nothing: how often is the alarm false?

reads   answer_<k>/, commit/, and the lists of benchmark instances that [audit] decontaminate names
writes  the `audit` field of each answer, in place; report/audit.json; what cannot enter final/ in report/dropped.jsonl
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from duel.bookkeeping import Result
from duel.command import Parser, say, say_error
from duel.errors import EXIT_FINISHED, EXIT_OPEN, WorkspaceError
from duel.records import Side
from duel.settings import Settings
from duel.stages import opened
from duel.workspace import Workspace


def run(workspace: Workspace, settings: Settings, *, side: Side = "challenger", offline: bool = False) -> Result:
    """Audit one side of every answer in place; `found` is what report/audit.json holds."""
    # Reading numpy and the parsers takes 0.3 s: not for `--help`.
    from duel.audit.contamination import Benchmarks
    from duel.audit.turns import audit_workspace

    if not workspace.answer_folders():
        raise WorkspaceError("there are no answers to audit", where=workspace.root, hint="run king.py first")
    with workspace.lock("answer", "duel audit"):
        say("reading lists of benchmarks …")
        benchmarks = Benchmarks.load(settings, workspace, offline)
        say(f"auditing the {side} of each answer …")
        found = audit_workspace(workspace, settings, side, benchmarks)
        save(workspace, found.summary)
        if side == "challenger":
            workspace.save_dropped("audit", found.dropped)
    for problem in found.damage:
        say_error(problem)
    return Result("audit", EXIT_OPEN if found.damage else EXIT_FINISHED, found.summary)


def save(workspace: Workspace, summary: dict[str, Any]) -> None:
    import orjson

    data = orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    workspace.save(workspace.report / "audit.json", data)


def add_arguments(parser: Parser) -> None:
    parser.with_offline()
    parser.add_argument(
        "--side",
        choices=["king", "challenger", "assistant"],
        default="challenger",
        help="whose turns are audited (default: challenger, whose audit decides on `final/`)",
    )


def main(arguments: Namespace) -> int:
    from duel.audit.table import table

    workspace, settings = opened(arguments)
    result = run(workspace, settings, side=arguments.side, offline=arguments.offline)
    print(table(result.found))
    return result.exit_code
