"""Audit the answers: the blind rule, the protocol, near-duplicates, secrets, contamination and licenses.

    duel audit                 audit the challengers, print a table
    duel audit --side king     the same of the turns whose author has seen nothing: how often is the alarm false?
    duel audit --plan          what the auditor would be asked, and at most cost, where [audit] auditor names a model

reads   answer_<k>/, commit/, and the lists of benchmark instances that [audit] decontaminate names
writes  the `audit` field of each answer, in place; report/audit.json; what cannot enter final/ in report/dropped.jsonl

No call is made unless `[audit] auditor` names a model: it is shown the most suspicious fifth of the challengers and
must quote, for each claim, the line of the conversation from which it follows.
"""

from __future__ import annotations

from typing import Any

from duel import calls, standing
from duel.bookkeeping import Result
from duel.command import Parser, say, say_error
from duel.errors import EXIT_FINISHED, EXIT_OPEN, WorkspaceError
from duel.file_sums import Snapshot
from duel.records import Side
from duel.settings import Settings
from duel.stages import command_line
from duel.workspace import Workspace


def run(
    workspace: Workspace,
    settings: Settings,
    *,
    side: Side = "challenger",
    again: bool = False,
    budget: float | None = None,
    offline: bool = False,
) -> Result:
    """Audit one side of every answer in place; `found` is what report/audit.json holds.

    `again`, `budget` (dollars) and `offline` are for the auditor, which is asked about challengers alone.
    """
    # Reading numpy and the parsers takes 0.3 s: not for `--help`.
    from duel.audit import audit_summary, workspace_audit
    from duel.audit.contamination import Benchmarks

    if not workspace.answer_folders():
        raise WorkspaceError("there are no answers to audit", where=workspace.root, hint="run king.py first")
    with workspace.lock("answer", "duel audit"):
        say("reading lists of benchmarks …")
        benchmarks = Benchmarks.load(settings, workspace, offline)
        say(f"auditing the {side} of each answer …")
        files, name = Snapshot.take(workspace, "prompt", "commit", "answer"), f"audit {side}"
        on = workspace_audit.ground(settings, benchmarks).hex()
        known = None if again else standing.recall(workspace, name, on, files)
        if known is not None:
            save(workspace, known["summary"], known["dropped"], side)
            return Result("audit", found=known["summary"])
        examiner = workspace_audit.Examiner.of(workspace, settings, side, benchmarks)
        tally, duplicates = workspace_audit.audit_answers(examiner)
        asked = Result("auditor")
        try:
            if settings.audit.auditor and side == "challenger":
                from duel.stages import suspects

                stage = suspects.Suspects(suspects.NAME, workspace, settings, again=again)
                asked = stage.finish(suspects.ask(stage, budget=budget, offline=offline))
        finally:
            if settings.audit.auditor and side == "challenger":
                tally = examiner.counted_again(tally)
            found = audit_summary.summary(tally, settings, side, benchmarks, duplicates)
            save(workspace, found, tally.dropped, side)
            standing.carry(workspace, ("king", "challenger"), files)
        if asked.exit_code == EXIT_FINISHED and not tally.damage:
            standing.keep(workspace, name, on, files, {"summary": found, "dropped": tally.dropped})
    for problem in tally.damage:
        say_error(problem)
    code = asked.exit_code or (EXIT_OPEN if tally.damage else EXIT_FINISHED)
    return Result("audit", code, found, asked.calls)


def save(workspace: Workspace, found: dict[str, Any], dropped: list[Any], side: Side) -> None:
    workspace.save_page(workspace.report / "audit.json", found)
    if side == "challenger":
        workspace.save_dropped("audit", dropped)


def plan(workspace: Workspace, settings: Settings, *, offline: bool = False) -> calls.Plan:
    """What the auditor would be asked, and at most cost; nothing where the settings name none."""
    from duel.stages import suspects

    if not settings.audit.auditor:
        return calls.Plan(suspects.NAME)
    return suspects.plan(workspace, settings, offline=offline)


def _flags(parser: Parser) -> None:
    parser.add_argument(
        "--side",
        choices=["king", "challenger", "assistant"],
        default="challenger",
        help="whose turns are audited (default: challenger, whose audit decides on `final/`)",
    )


def _show(found: dict[str, Any]) -> None:
    from duel.audit.audit_summary import table

    print(table(found))


add_arguments, main = command_line(run, plan, flags=_flags, show=_show)
