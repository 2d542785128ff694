"""Writing the candidates of a turn: what king and challenger are asked, and when a reply is taken."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from duel import calls, chat_tokens, fence, prompts, pull
from duel.calls import Occurrences, Reply, Request
from duel.errors import EndpointError, ItemError
from duel.history import estimate_tokens, fit
from duel.records import Commit, Made, Message, Side
from duel.settings import Settings
from duel.turn import format_problem

SLACK_TOKENS = 128  # fence lines, role markers and the like around what is counted
NO_MARK = "0" * 16
SECOND_WRITER = 2_000_000  # sets its reply apart from the king's in the ledger, where both are asked the very same
# A model of which fewer than one reply in FORM_SHARE can be used, after FORM_REPLIES of them, is not worth its price.
FORM_REPLIES, FORM_SHARE = 20, 5


@dataclass
class FormKept:
    """How many replies of one writer kept the form so far."""

    replies: int = 0
    usable: int = 0
    telling: int = 0  # Without unusable ones that were rejected in an earlier round or run, or answer a second asking

    def count(self, reply: Reply, problem: str, *, again: bool = False) -> None:
        """Count a reply. Raises EndpointError, which ends the run, once the model has shown that it cannot do it."""
        self.replies += 1
        self.usable += not problem
        self.telling += not problem or not (again or reply.rejected)
        if self.telling >= FORM_REPLIES and self.usable * FORM_SHARE < self.telling:
            told = f"{self.usable} of {self.telling} replies could be used"
            what = f"{told}: the model does not keep the form ({problem})"
            hint = "a THOUGHT and one bash block are asked for; try another [generate] model, more `max_tokens` or"
            hint += " `thinking = false`. What was paid for is kept"
            raise EndpointError(what, where=reply.model, value=reply.text, hint=hint)


class Refused(ItemError):
    """No reply was well-formed within `format_retries`: the turn is dropped with `reason`."""


@dataclass(frozen=True)
class Question:
    """What one side of one turn is asked."""

    request: Request
    plan: str  # what a rerun compares: the question's key without the workspace's nonce, so that records do not hold it
    retries: int  # how often it is asked once more where no reply is well-formed


@dataclass
class Numbered:
    """The questions of one stage, numbered so that deliberate duplicates each get a reply."""

    settings: Settings
    _occurrences: Occurrences = field(default_factory=Occurrences)

    def of(
        self, side: Side, stem: str, history: Sequence[Message], commit: Commit | None = None, mark: str = NO_MARK
    ) -> list[Question]:
        """What each candidate of one side is asked: a king the history alone, a challenger with the pull request in
        hand and the rule to act as if it were not. A challenger of a turn without one is a second blind writer.
        """
        shown = [history]
        if side == "challenger" and commit is not None:
            shown = [informed(history, commit, nonce) for nonce in (mark, NO_MARK)]
        apart = SECOND_WRITER if side == "challenger" and commit is None else 0
        told: Counter[str] = Counter()
        questions = []
        for model in self.settings.writers(side):
            number = told[model]
            same = [writer_request(self.settings, side, stem, model, messages, number) for messages in shown]
            told[model] += 1
            occurrence = self._occurrences.number(same[0]).occurrence + apart
            asked, unmarked = (same[place].again(0, "", occurrence) for place in (0, -1))
            questions.append(Question(asked, unmarked.key, self.settings.generate.format_retries))
        return questions


def writer_request(
    settings: Settings, stage: str, stem: str, model: str, messages: Sequence[Message], number: int = 0
) -> Request:
    """A question to a writer with the parameters of `[generate]`; control tokens of chat templates are broken in it.

    `number` counts the candidates that the same model wrote before: each has a seed of its own, because an endpoint may
    give the same reply to the same question.
    """
    generate = settings.generate
    seed = generate.parameters.get("seed", 0)
    own_seed = {"seed": seed + number} if number and isinstance(seed, int) else {}
    return Request(
        stage=stage,
        item=stem,
        model=model,
        messages=[message.model_dump() | {"content": chat_tokens.broken(message.content)} for message in messages],
        max_tokens=generate.max_tokens,
        temperature=generate.temperature,
        thinking=generate.thinking,
        parameters={**generate.parameters, **own_seed},
    )


def room_for_history(settings: Settings, commit: Commit | None) -> int:
    """Tokens for the history of this turn: all sides see the same, and the challenger has the most before it."""
    rules = estimate_tokens(prompts.load("challenger").text) + SLACK_TOKENS
    hidden = pull.tokens(commit) if commit is not None else 0
    return settings.generate.max_model_len - settings.generate.max_tokens - rules - hidden


def fitted_history(messages: Sequence[Message], settings: Settings, commit: Commit | None) -> list[Message]:
    return fit(messages, room_for_history(settings, commit))


def informed(history: Sequence[Message], commit: Commit, mark: str) -> list[Message]:
    """What the challenger is shown: rules, pull request and the agent's instructions first, then the conversation."""
    own, rest = (history[0].content, history[1:]) if history[0].role == "system" else ("", history)
    hidden = fence.fence("HIDDEN PULL REQUEST", pull.render(commit), mark)
    system = fence.fence("AGENT SYSTEM PROMPT", own, mark)
    rules = prompts.load("challenger").render(mark=mark, pull=hidden, system=system)
    return [Message(role="system", content=rules), *rest]


def asked_again(question: Question, reply: Reply, findings: Sequence[str]) -> Question:
    """The follow-up to a reply that tells what the agent cannot know, with the findings named."""
    rebuke = prompts.load("challenger_again").render(findings="\n".join(f"- {finding}" for finding in findings))
    talk = (("assistant", reply.text), ("user", rebuke))
    said = [{"role": role, "content": chat_tokens.broken(text)} for role, text in talk]
    return replace(question, request=replace(question.request, messages=[*question.request.messages, *said]))


async def ask_for_turn(ask: calls.Ask, question: Question, form: FormKept | None = None) -> tuple[Reply, Made]:
    """One well-formed turn, and what tells later whether it is still what is asked for.

    Raises Refused where no asking brings one, another ItemError where the call fails.
    """
    problem = ""
    for attempt in range(question.retries + 1):
        asked = question.request.again(attempt)
        reply = await ask(asked)
        problem = format_problem(reply.text, reply.finish_reason)
        if form is not None:
            form.count(reply, problem, again=attempt > 0)
        if not problem:
            return reply, Made(
                model=reply.model or asked.model,
                plan=question.plan,
                question_hash=question.plan.split("-")[0],
                template_hash=prompts.load("challenger").hash if asked.stage == "challenger" else "",
                attempt=asked.attempt,
                usage=dict(reply.usage),
                finish_reason=reply.finish_reason,
                at=reply.at,
            )
        ask.reject(reply, problem)
    raise Refused(problem, "no reply was well-formed")
