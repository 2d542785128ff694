"""Ask the auditor about the most suspicious turns: what does a challenger claim that follows from nothing it was shown?

A part of `duel audit`, for workspaces whose `[audit] auditor` names a model. It reads the audits that were just made
and adds its findings to them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from duel import calls, fence, placement, prompts, pull
from duel.audit import auditor
from duel.audit.leak_findings import LeakFinding
from duel.errors import ItemError
from duel.history import estimate_tokens
from duel.records import Answer, Audit, Commit
from duel.settings import Settings
from duel.stages import asking
from duel.synchronous import synchronous

NAME = "auditor"
MAX_TOKENS = 4096
"""Budget of one reply: a turn makes few claims, but a model that thinks first needs room for it."""
REMINDER = "Answer with the JSON object alone."
SLACK_TOKENS = 256
"""Fence lines and role markers around what is counted."""


@dataclass
class Suspects(asking.AskingStage):
    """One run of the auditor; the lock on answers is held by the audit around it."""

    NAME, COMMAND = NAME, "duel audit"
    most_suspicious: list[str] = field(default_factory=list)

    def total(self) -> int:
        return len(self.most_suspicious)

    def open_turns(self) -> Iterator[Suspect]:
        """The suspicious fifth of what nothing else keeps out, but for turns that this model was asked about."""
        self.finished = 0
        paths = {path.stem: path for path in self.workspace.answer_paths()}
        self.most_suspicious = auditor.chosen(list(self._ranked()))
        for stem in self.most_suspicious:
            answer = self.workspace.read(paths[stem], Answer)
            commit = self.workspace.commit(answer.instance_id)
            audit = answer.audit("challenger") or Audit()
            if audit.auditor == self.settings.audit.auditor and not self.again:
                self.finished += 1
            elif commit is not None:
                asked = request(self.settings, stem, answer, commit, fence.nonce(self.secret, f"auditor {stem}"))
                yield Suspect(self, stem, paths[stem], answer, commit, asked)

    def _ranked(self) -> Iterator[tuple[str, float, bool]]:
        """(file stem, suspicion, whether it was reworded) of each turn that could be kept; its earlier claims aside."""
        for path, answer in self.workspace.answers([]):  # the audit has named what cannot be read
            commit = None
            with contextlib.suppress(ItemError):
                commit = self.workspace.commit(answer.instance_id)
            if commit is None or not answer.challenger:
                continue
            audit = auditor.without_claims(answer.audit("challenger") or Audit(), self.settings)
            if placement.obstacle(audit, self.settings) is None:
                suspicion = auditor.suspicion(answer.challenger, answer.messages, commit, audit.leak_score)
                yield path.stem, suspicion, audit.reworded


@asking.in_rounds
async def ask_async(stage: Suspects, *, budget: float | None = None, offline: bool = False) -> calls.Summary:
    """Ask about every suspicious turn that was not asked about yet. `budget` is in dollars."""
    return await stage.driven(stage.open_turns(), budget, offline)


ask = synchronous(ask_async)
plan = partial(asking.plan, Suspects)


def request(settings: Settings, stem: str, answer: Answer, commit: Commit, mark: str) -> calls.Request:
    """The question about one turn. The history's oldest turns give way where the model's window is too small."""
    fixed = estimate_tokens(prompts.load("auditor").text + answer.challenger) + pull.tokens(commit) + SLACK_TOKENS
    room = settings.generate.max_model_len - MAX_TOKENS - fixed
    messages = auditor.question(answer, commit, mark, room)
    return calls.Request(
        stage=NAME,
        item=stem,
        model=settings.audit.auditor,
        messages=[message.model_dump() for message in messages],
        max_tokens=MAX_TOKENS,
    )


@dataclass
class Suspect:
    """One turn that waits for the auditor."""

    stage: Suspects
    item: str
    path: Path
    answer: Answer
    commit: Commit
    request: calls.Request

    def requests(self) -> list[calls.Request]:
        """The one question that is asked for sure."""
        return [self.request]

    async def work(self, ask: calls.Ask) -> None:
        """Ask until the reply is a list of claims, then add those without a true quote to the turn's audit."""
        findings = await self.findings(ask)
        settings, before = self.stage.settings, self.answer.audit("challenger") or Audit()
        self.answer.examine("challenger", auditor.with_claims(before, findings, settings))
        self.stage.workspace.save(self.path, self.answer)

    async def findings(self, ask: calls.Ask, attempt: int = 0) -> list[LeakFinding]:
        """What the first readable reply comes to. Raises ItemError where `format_retries` more askings bring none."""
        reply = await ask(self.request.again(attempt, REMINDER if attempt else ""))
        try:
            return auditor.findings(reply.text, self.answer, self.commit)
        except ItemError as error:
            ask.reject(reply, error.reason)
            if attempt >= self.stage.settings.generate.format_retries:
                raise
        return await self.findings(ask, attempt + 1)
