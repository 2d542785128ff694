"""Audit the answers: the blind rule, the protocol, near-duplicates, secrets, contamination and licenses.

    duel audit --side king     the same of the turns whose author has seen nothing: how often is the alarm false?

reads   answer_<k>/, commit/, and the lists of benchmark instances that [audit] decontaminate names
writes  the `audit` field of each answer, in place; report/audit.json; what cannot enter final/ in report/dropped.jsonl

No call is made unless `[audit] auditor` names a model: it is shown the most suspicious fifth of the challengers and
must quote, for each claim, the line of the conversation from which it follows.
"""

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from duel import calls, fence, placement, standing
from duel.audit import auditor, workspace_audit
from duel.audit.contamination import Benchmarks
from duel.bookkeeping import Result
from duel.command import say, say_error
from duel.errors import EXIT_FINISHED, EXIT_OPEN, WorkspaceError
from duel.records import Answer, Audit, Commit, Side
from duel.settings import Settings
from duel.stages.asking import AskingStage, faces
from duel.workspace import Workspace

REMINDER = "Answer with the JSON object alone."


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

    def save(found: dict[str, Any], dropped: list[Any]) -> None:
        workspace.save_page(workspace.report / "audit.json", found)
        if side == "challenger":
            workspace.save_dropped("audit", dropped)

    if not workspace.answer_folders():
        raise WorkspaceError("there are no answers to audit", where=workspace.root, hint="run king.py first")
    with workspace.lock("answer", "duel audit"):
        say("reading lists of benchmarks …")
        benchmarks = Benchmarks.load(settings, workspace, offline)
        say(f"auditing the {side} of each answer …")
        files, name = standing.Snapshot.take(workspace, "prompt", "commit", "answer"), f"audit {side}"
        on = workspace_audit.ground(settings, benchmarks).hex()
        if not again and (known := standing.recall(workspace, name, on, files)) is not None:
            save(known["summary"], known["dropped"])
            return Result("audit", found=known["summary"])
        examiner = workspace_audit.Examiner.of(workspace, settings, side, benchmarks)
        tally, duplicates = workspace_audit.audit_answers(examiner)
        asked, asks = Result(auditor.STAGE), bool(settings.audit.auditor) and side == "challenger"
        try:
            if asks:
                asked = ask_auditor(workspace, settings, again=again, budget=budget, offline=offline)
        finally:
            if asks:
                tally = examiner.counted_again(tally)
            found = workspace_audit.summary(tally, settings, side, benchmarks, duplicates)
            save(found, tally.dropped)
            standing.carry(workspace, ("king", "challenger"), files)
        if asked.exit_code == EXIT_FINISHED and not tally.damage:
            standing.keep(workspace, name, on, files, {"summary": found, "dropped": tally.dropped})
    for problem in tally.damage.values():
        say_error(problem)
    return Result("audit", asked.exit_code or (EXIT_OPEN if tally.damage else EXIT_FINISHED), found, asked.calls)


@dataclass
class Suspects(AskingStage):
    """What does a suspicious challenger claim that follows from nothing it was shown? The audit holds the answers."""

    NAME, COMMAND, LOCK = auditor.STAGE, "duel audit", auditor.STAGE

    def open_turns(self) -> Iterator[calls.OpenTurn]:
        """The suspicious fifth of what nothing else keeps out, but for turns that this model was asked about."""
        settings, paths, ranked = self.settings, dict[str, Path](), list[tuple[str, float, bool]]()
        if not settings.audit.auditor:
            return
        for path, answer in self.workspace.answers([]):  # the audit has named what cannot be read
            commit = self.workspace.readable_commit(answer.instance_id)
            if commit is None or not answer.challenger:
                continue
            audit = auditor.with_claims(answer.audit("challenger") or Audit(), [], settings, "")
            if placement.obstacle(audit, settings) is None:
                suspicion = auditor.suspicion(answer.challenger, answer.messages, commit, audit.leak_score)
                ranked.append((path.stem, suspicion, audit.reworded))
                paths[path.stem] = path
        most_suspicious = auditor.chosen(ranked)
        self.total = len(most_suspicious)
        for stem in most_suspicious:
            answer = self.workspace.read(paths[stem], Answer)
            commit = self.workspace.commit(answer.instance_id)
            if (answer.audit("challenger") or Audit()).auditor == settings.audit.auditor and not self.again:
                self.finished += 1
            elif commit is not None:
                asked = auditor.question(settings, stem, answer, commit, fence.nonce(self.secret, f"auditor {stem}"))
                work = partial(self.examined, paths[stem], answer, commit, asked)
                yield calls.OpenTurn(stem, partial(list, [asked]), work)

    async def examined(self, path: Path, answer: Answer, commit: Commit, asked: calls.Request, ask: calls.Ask) -> None:
        """Ask until the reply is a list of claims; those without a true quote go into the turn's audit."""
        read = partial(auditor.findings, answer=answer, commit=commit)
        findings = await calls.readable(ask, asked, read, self.settings.generate.format_retries, REMINDER)
        before = answer.audit("challenger") or Audit()
        answer.examine("challenger", auditor.with_claims(before, findings, self.settings, asked.model))
        self.workspace.save(path, answer)


_, ask_auditor, plan_of_auditor = faces(Suspects)


def plan(
    workspace: Workspace, settings: Settings, *, side: Side = "challenger", again: bool = False, offline: bool = False
) -> calls.Plan:
    """What the auditor would be asked, which is about challengers alone, and at most cost."""
    asked = settings if side == "challenger" else settings.with_keys(audit={"auditor": ""})
    return plan_of_auditor(workspace, asked, again=again, offline=offline)


def show(found: dict[str, Any], _: Namespace) -> None:
    print(workspace_audit.table(found))
