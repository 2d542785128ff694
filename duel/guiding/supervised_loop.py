"""One task under an overseer: the agent proposes, the overseer rules, the sandbox runs what stands.

What the overseer says is an aside: the agent reads it before its next proposal and never again, so the conversation
that is kept is the one that the agent will have alone. An action's outcome is saved before anything is asked about it:
a rerun replays the commands, shows what was shown before, and every question of before is answered from the ledger.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from duel import calls, chat_tokens, fence, prompts, turn
from duel.calls import Request
from duel.candidates import SLACK_TOKENS, writer_request
from duel.errors import ItemError
from duel.execution.executor import ExecutionError, State
from duel.execution.harness import Harness, submits
from duel.history import estimate_tokens, fit
from duel.records import Guided, GuidedStep, Message, Ran
from duel.settings import Settings
from duel.sources.sampling import loops

STAGE = "guide"
KINDS = ("loop", "redundant", "ungrounded", "wrong-file", "unsafe", "protocol", "stuck", "done", "other")
MAX_TOKENS = 4096  # of a ruling: short, but it may hold a whole turn, and a model that thinks first needs room for it
MOST_REASON = 2000  # characters of a reason that are kept
MOST_REJECTIONS = 2  # of one action, after which the overseer must write it
LOOKED_AT = 6  # last commands that are looked at for circles
REMINDER = "Answer with the JSON object that is asked for, and the turn below it where you write one."
_TASKS = {"rule": ("approve", "reject", "replace"), "write": ("replace",), "suggest": ("suggest",)}
_RULING = re.compile(r"\{\s*\"ruling\"\s*:")
_NOT_RUN = frozenset({"no-command", "several-blocks", "not-a-command"})
# What SWE-ZERO's generator says to a reply without a block.
_REFUSAL = "Please always provide EXACTLY ONE action in triple backticks."


def prompt_hash() -> str:
    names = ("agent_aside", "overseer", *(f"overseer_{task}" for task in _TASKS))
    return hashlib.sha256("".join(prompts.load(name).hash for name in names).encode()).hexdigest()[:16]


def problem(text: str, finish_reason: str = "stop", *, after_aside: bool = True) -> str:
    """Why a turn can neither run nor be trained on, as a slug with its detail; "" where it can."""
    said = turn.aside(turn.thought(text), "overseer") if after_aside else ""
    return turn.format_problem(text, finish_reason) or (f"aside: {said}" if said else "")


def overseer_question(
    settings: Settings, item: str, mark: str, task: str, messages: Sequence[Message], proposals: Sequence[str]
) -> Request:
    """What the overseer is asked: `task` is "rule", "write" or "suggest", `proposals` what has not run."""
    asked = prompts.load(f"overseer_{task}").text
    fixed = estimate_tokens(prompts.load("overseer").text + asked + "".join(proposals)) + 2 * SLACK_TOKENS
    shown = fit(messages, settings.generate.max_model_len - MAX_TOKENS - fixed)
    history = "\n\n".join(f"[{message.role}]\n{chat_tokens.broken(message.content)}" for message in shown)
    content = prompts.load("overseer").render(
        mark=mark,
        conversation=fence.fence("CONVERSATION", history, mark),
        proposal="\n\n".join(fence.fence("PROPOSAL", chat_tokens.broken(text), mark) for text in proposals),
        task=asked,
    )
    asked_of_it, parameters = [{"role": "user", "content": content}], settings.judge.parameters
    return Request(STAGE, item, settings.overseer_model, asked_of_it, MAX_TOKENS, parameters=parameters)


def read_ruling(reply: str, task: str) -> GuidedStep:
    """The last ruling in a reply that `task` allows. Raises ItemError (`unparsable`) where there is none.

    One that replaces has an action that can run, one that rejects a reason; what it suggests is no ruling on anything.
    """
    for start in reversed([match.start() for match in _RULING.finditer(reply)][-20:]):
        try:
            told, end = json.JSONDecoder(strict=False).raw_decode(reply, start)
        except ValueError:
            continue
        word, kind, reason = (str(told.get(name) or "").strip() for name in ("ruling", "kind", "reason"))
        if word not in _TASKS[task]:
            continue
        if word in ("reject", "suggest") and not reason:
            raise ItemError("unparsable", "the overseer gives no reason")
        written = reply[end:].strip() if word == "replace" else ""
        if word == "replace" and (wrong := problem(written)):
            raise ItemError("unparsable", f"the overseer's turn cannot be taken: {wrong}", value=written[:200])
        if word == "suggest":
            return GuidedStep(suggestion=reason[:MOST_REASON])
        kind = "" if word == "approve" else kind if kind in KINDS else "other"
        found = {"ruling": word, "kind": kind, "reason": reason[:MOST_REASON], "action": written}
        return GuidedStep.model_validate(found)
    raise ItemError("unparsable", f"the overseer's reply holds no ruling ({task})", value=reply[:200])


@dataclass
class Episode:
    """One run in one sandboxed state; `messages` is what the agent is shown."""

    state: State
    harness: Harness
    messages: list[Message]
    room: asyncio.Semaphore  # commands that run at a time, over all episodes

    async def act(self, action: str, known: Ran | None = None) -> Ran:
        """Run an action and show what came of it. What an earlier run showed, `known`, stands: dates differ."""
        try:
            command = self.harness.command(action)
            async with self.room:
                done = await self.state.run(command, merged=self.harness.merged)
            ran = Ran(exit=done.exit, ended_by=done.ended_by, shown=self.harness.show(done), submits=submits(done))
        except ExecutionError as error:
            if error.reason not in _NOT_RUN:
                raise
            ran = Ran(shown=_REFUSAL)
        self.messages += said(action, known or ran)
        return known or ran


@dataclass
class Supervision:
    record: Guided
    settings: Settings
    mark: str  # the nonce of its fences
    ask: calls.Ask
    save: Callable[[], None]

    async def run(self, overseen: bool, episode: Episode) -> str:
        """The agent under the overseer, or alone, from where an earlier run stopped; returns how it ended."""
        steps = self.record.steps if overseen else self.record.solo_steps
        for step in [step for step in steps if step.action]:
            await episode.act(step.action, step.outcome)
        while not (outcome := ended(steps, self.settings)):
            if overseen:
                decided = await self.decide(episode.messages, [step.action for step in steps if step.action])
            else:
                decided = [GuidedStep(by="nobody", action=(await self._agent(episode.messages)).text)]
            decided[-1].outcome = await episode.act(decided[-1].action)
            steps += decided
            self.save()
        return outcome

    async def decide(self, messages: Sequence[Message], before: Sequence[str]) -> list[GuidedStep]:
        """The proposals for one action with their rulings; the last one says what is to run."""
        found: list[GuidedStep] = []
        shown, suggestion = list(messages), ""
        if loops([turn.command(action) for action in before[-LOOKED_AT:]]):
            suggestion = (await self._overseer("suggest", messages)).suggestion
            hint = f"{shown[-1].content}\n\n{_aside(suggestion)}"
            shown[-1] = shown[-1].model_copy(update={"content": hint})
        while len(found) < MOST_REJECTIONS:
            reply = await self._agent(shown)
            wrong = problem(reply.text, reply.finish_reason, after_aside=bool(found or suggestion))
            if wrong:
                why = f"the turn cannot be taken ({wrong})"
                step = GuidedStep(ruling="reject", kind="protocol", reason=why, by="rule")
            else:
                step = await self._overseer("rule", messages, reply.text)
            step.proposal, step.suggestion = reply.text, "" if found else suggestion
            step.action = reply.text if step.ruling == "approve" else step.action
            found.append(step)
            if step.action:
                return found
            shown.append(Message(role="assistant", content=reply.text or "(nothing)"))
            shown.append(Message(role="user", content=_aside(f"this turn was not run. {step.reason}")))
        return [*found, await self._overseer("write", messages, *(step.proposal for step in found))]

    async def _agent(self, messages: Sequence[Message]) -> calls.Reply:
        generate = self.settings.generate
        shown = fit(messages, generate.max_model_len - generate.max_tokens - SLACK_TOKENS)
        return await self.ask(question(self.settings, self.record, shown))

    async def _overseer(self, task: str, messages: Sequence[Message], *proposals: str) -> GuidedStep:
        """A ruling that can be read. Raises ItemError where `format_retries` more askings bring none."""
        asked = overseer_question(self.settings, self.record.task, self.mark, task, messages, proposals)
        asked, read = asked.again(0, occurrence=self.record.round - 1), partial(read_ruling, task=task)
        return await calls.readable(self.ask, asked, read, self.settings.generate.format_retries, REMINDER)


def question(settings: Settings, record: Guided, messages: Sequence[Message]) -> Request:
    """What the agent is asked; with the round as the occurrence, a checkpoint under an old name is asked anew."""
    asked = writer_request(settings, STAGE, record.task, settings.agent_model, messages)
    return asked.again(0, occurrence=record.round - 1)


def ended(steps: Sequence[GuidedStep], settings: Settings) -> str:
    """How a run ended with its last action; "" where it goes on."""
    guide, marks = settings.guide, touched(steps)
    if steps and (last := steps[-1].outcome) and last.submits:
        return "submitted"
    if sum(marks) >= guide.max_interventions:
        return "max-interventions"
    return "max-steps" if len(marks) >= guide.max_steps else ""


def actions_of(steps: Sequence[GuidedStep]) -> list[list[GuidedStep]]:
    """The steps of each action that ran: its proposals in order, the last of which says what ran."""
    groups: list[list[GuidedStep]] = [[]]
    for step in steps:
        groups[-1].append(step)
        if step.outcome is not None:
            groups.append([])
    return groups[:-1]


def touched(steps: Sequence[GuidedStep]) -> list[bool]:
    """For each action whether it came with an intervention: a rejection, a replacement, a suggestion."""
    return [any(step.ruling != "approve" or step.suggestion for step in action) for action in actions_of(steps)]


def said(action: str, ran: Ran) -> list[Message]:
    """An action and what was shown of it; no submission of the dataset's ends with an observation."""
    turns = [Message(role="assistant", content=action)]
    return turns if ran.submits else [*turns, Message(role="user", content=ran.shown)]


def _aside(reason: str) -> str:
    return prompts.load("agent_aside").render(reason=reason).rstrip("\n")
