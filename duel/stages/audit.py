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

from typing import TYPE_CHECKING, Any

from duel import calls, standing
from duel.bookkeeping import Result
from duel.command import Parser, say, say_error
from duel.errors import EXIT_FINISHED, EXIT_OPEN, WorkspaceError
from duel.file_sums import Snapshot
from duel.records import Side
from duel.settings import Settings
from duel.stages import command_line
from duel.workspace import Workspace

if TYPE_CHECKING:
    from duel.audit.audit_summary import AuditFindings
    from duel.audit.workspace_audit import Audited, Examiner


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
            found = audit_summary.AuditFindings(known["summary"], known["dropped"])
            save(workspace, found, side)
            return Result("audit", found=found.summary)
        examiner = workspace_audit.Examiner.of(workspace, settings, side, benchmarks)
        audited = workspace_audit.audit_answers(examiner)
        try:
            asked = ask_auditor(examiner, audited, again=again, budget=budget, offline=offline)
        finally:
            found = audit_summary.findings(audited, examiner)
            save(workspace, found, side)
            standing.carry(workspace, ("king", "challenger"), files)
        if asked.exit_code == EXIT_FINISHED and not found.damage:
            standing.keep(workspace, name, on, files, {"summary": found.summary, "dropped": found.dropped})
    for problem in found.damage:
        say_error(problem)
    code = asked.exit_code or (EXIT_OPEN if found.damage else EXIT_FINISHED)
    return Result("audit", code, found.summary, asked.calls)


def ask_auditor(examiner: Examiner, audited: Audited, *, again: bool, **paid: Any) -> Result:
    """Where the settings name an auditor, ask it, and take its findings into `audited`."""
    if not examiner.settings.audit.auditor or examiner.side != "challenger":
        return Result("auditor")
    from duel.stages import suspects

    stage = suspects.Suspects(suspects.NAME, examiner.workspace, examiner.settings, again=again)
    try:
        return stage.finish(suspects.ask(stage, **paid))
    finally:
        for turn in audited.turns:
            turn.found = stage.audits.get(turn.path.stem, turn.found)


def save(workspace: Workspace, found: AuditFindings, side: Side) -> None:
    workspace.save_page(workspace.report / "audit.json", found.summary)
    if side == "challenger":
        workspace.save_dropped("audit", found.dropped)


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
