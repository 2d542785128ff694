"""The panel at work: which pairs are to be judged, one job a pair, its score saved once its votes are in.

A judge is a model, or a plain function: `rule:<name>` in `[judge] models` is a part from outside, and costs nothing.
Its votes count like those of any other judge, so a length rule or a linter may sit beside models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from duel import shell, turn, untrusted
from duel.bookkeeping import Stage
from duel.calls.request import Reply, Request
from duel.errors import ItemError
from duel.judging import judge_replies, rubric, screen
from duel.judging.contests import DUEL, Contest
from duel.judging.rubric import JudgedPair, Key, owed_votes, short_hash
from duel.records import DIMENSIONS, RULE, Answer, Message, Order, PairIds, Score, Vote
from duel.registry import Registry
from duel.settings import Settings
from duel.workspace import Workspace

if TYPE_CHECKING:
    from duel.calls import Ask

COUNTED_USAGE = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")

PairJudge: TypeAlias = Callable[[Sequence[Message], str, str], int | Mapping[str, int]]
"""(history, first reply, second reply) -> 1 for the first, 2 for the second, 0 for a draw, or these by dimension."""

JUDGES: Registry[PairJudge] = Registry("judge")


@dataclass
class Panel:
    """The judges under one set of settings, at work on one contest of a workspace."""

    stage: Stage
    contest: Contest = DUEL
    # Of every turn that came by, by file stem: the fingerprint of its candidates; and those whose judges are shown what
    # the commands did, because their rubric is another one.
    candidates: dict[str, str] = field(default_factory=dict)
    with_evidence: set[str] = field(default_factory=set)
    asked_anew: Counter[str] = field(default_factory=Counter)  # why scores that lie there cannot be used

    @property
    def workspace(self) -> Workspace:
        return self.stage.workspace

    @property
    def settings(self) -> Settings:
        return self.stage.settings

    @property
    def mode(self) -> int:
        """What the challenger is judged against; king against king is always mode 2."""
        return self.settings.duel.mode if self.contest.pair is DUEL.pair else 2

    @cached_property
    def secret(self) -> bytes:
        return self.workspace.secret()

    @cached_property
    def rules(self) -> dict[str, PairJudge]:
        named = [model for model in self.settings.judge.models if model.startswith(RULE)]
        return {model: JUDGES[model.removeprefix(RULE)] for model in named}

    @cached_property
    def made_with(self) -> dict[str, str]:
        """Fingerprints of the rubric, the panel and the mode: what a score must share to stand beside the others."""
        judge = self.settings.judge
        asked = {
            "models": judge.models,
            "thinking_models": sorted(set(judge.thinking_models) & set(judge.models)),
            "tokens": [judge.thinking_max_tokens, judge.score_max_tokens, judge.max_tokens],
            "temperature": judge.temperature,
            "orders": judge.orders,
            "structured_output": judge.structured_output,
            **({"parameters": judge.parameters} if judge.parameters else {}),
            "mode": self.mode,
        }
        return {"rubric": rubric.rubric_hash(), "panel": short_hash(asked)}

    def open_turns(self, answers: Iterable[tuple[Path, Answer]]) -> Iterator[OpenPair]:
        """A job for every pair whose votes are not all there, made with the present settings."""
        met: Counter[str] = Counter()
        for path, answer in answers:
            pair = self.contest.pair(path.stem, answer, self.settings)
            if pair is None:
                continue
            self.candidates[pair.item] = content = rubric.fingerprint(pair)
            if pair.has_evidence:
                self.with_evidence.add(pair.item)
            twins, met[content] = met[content], met[content] + 1
            kept = None if self.stage.again else self.kept(pair.item)
            if kept is not None and not self.wanted(pair.item, [vote for vote in kept.votes if vote.parsed]):
                self.stage.finished += 1
            else:
                yield OpenPair(self, pair, answer, kept, twins + self.contest.twins)

    def kept(self, item: str) -> Score | None:
        path = self.contest.path(self.workspace, item)
        if not path.exists():
            return None
        try:
            score = self.workspace.read(path, Score)
        except ItemError as error:
            self.stage.redone.append(error)
            return None
        difference = self.unlike(score, item)
        if difference:
            self.stage.stale += 1
            self.asked_anew[difference] += 1
        return None if difference else score

    def scores(self) -> Iterator[tuple[Path, Score]]:
        """Every score that lies there; what cannot be read is noted as damaged."""
        for path in self.contest.paths(self.workspace):
            try:
                yield path, self.workspace.read(path, Score)
            except ItemError as error:
                self.stage.damage.append(error)

    def unlike(self, score: Score, item: str, seen: bool = True) -> str:
        """What keeps the score of `item` from standing beside those made now, as a slug; "" where nothing does.

        `seen` False: no answer came by, so nothing can be said of the candidates.
        """
        if score.mode != self.mode:
            return f"mode-{score.mode}"
        told = score.made_with.get("rubric", "")
        evidence = item in self.with_evidence if item in self.candidates else "+" in told
        if told != rubric.rubric_hash(evidence):
            return "other-rubric"
        if score.made_with.get("panel") != self.made_with["panel"]:
            return "other-panel"
        if seen and item not in self.candidates:
            return "no-answer"
        if seen and score.made_with.get("candidates") != self.candidates[item]:
            return "other-candidates"
        return ""

    def is_settled(self, vote: Vote) -> bool:
        """True for a verdict, and for a judge that wrote none however often it was asked: only `--again` asks it."""
        unread = vote.error.startswith("unparsed") and vote.asked > self.settings.duel.rescore_passes
        return vote.parsed or unread

    def wanted(self, item: str, votes: Sequence[Vote]) -> list[Key]:
        """The votes to ask for next, given those that are there; [] once there is nothing left to ask."""
        if self.settings.judge.strategy == "screen" and self.contest is DUEL:
            return screen.next_votes(item, votes, self.settings)
        there = {(vote.judge, vote.order) for vote in votes}
        return [key for key in owed_votes(item, self.settings) if key not in there]


def blank_score(pair: JudgedPair, answer: Answer, mode: int, made_with: Mapping[str, str]) -> Score:
    """A score without votes: everything that is known of the pair before a judge has seen it."""
    chosen = answer.chosen("challenger")
    written = chosen.made if chosen else None
    # Its model, its prompt template and how it was chosen make the challenger this one and no other.
    how = [chosen.selection.method] if chosen and chosen.selection else []
    writer = short_hash([written.model, written.template_hash, *how] if written else [])
    opponent = "king" if mode == 2 else "assistant"
    sides = {opponent: pair.opponent, "challenger": pair.challenger}
    made = {candidate.id: candidate.made.model for candidate in answer.candidates if candidate.made}
    return Score(
        file=pair.item,
        instance_id=answer.instance_id,
        mode=mode,
        pair=PairIds(opponent=pair.ids[0], challenger=pair.ids[1]),
        style=shell.style(turn.command(pair.challenger)),
        attempts=[{"side": side, "kind": kind} for side, text in sides.items() for kind in untrusted.attempts(text)],
        writers={"opponent": made.get(pair.ids[0], ""), "challenger": made.get(pair.ids[1], "")},
        lengths={
            "opponent": len(pair.opponent),
            "challenger": len(pair.challenger),
            "history": sum(len(message.content) for message in pair.history),
        },
        made_with={
            **made_with,
            "rubric": rubric.rubric_hash(pair.has_evidence),
            "candidates": rubric.fingerprint(pair),
            "challenger": writer,
        },
        evidence="same" if pair.same else "shown" if pair.has_evidence else pair.unobserved,
    )


@dataclass
class OpenPair:
    """One pair before the panel."""

    panel: Panel
    pair: JudgedPair
    answer: Answer
    kept: Score | None
    twins: int = 0  # pairs before this one with the very same texts

    @property
    def item(self) -> str:
        return self.pair.item

    @cached_property
    def questions(self) -> dict[Key, Request]:
        """The request for every vote that may be asked; built when the pair comes up, because it is long."""
        panel = self.panel
        return rubric.requests(self.pair, panel.settings, panel.secret, self.twins, panel.contest.stage)

    def requests(self) -> list[Request]:
        there = [vote for vote in self.kept.votes if self.panel.is_settled(vote)] if self.kept else []
        wanted = self.panel.wanted(self.item, there)
        return [self.questions[key] for key in wanted if key[0] not in self.panel.rules]

    async def work(self, ask: Ask) -> None:
        panel, score = self.panel, await self.score(ask)
        panel.workspace.save(panel.contest.path(panel.workspace, self.item), score)
        self.must_be_whole(score)

    def must_be_whole(self, score: Score) -> None:
        """Raise ItemError where a vote is missing that is still owed."""
        failed = [vote for vote in score.votes if not vote.parsed]
        if failed and self.panel.wanted(self.item, [vote for vote in score.votes if vote.parsed]):
            raise ItemError(failed[0].error.split(": ")[0], f"{failed[0].judge}: {failed[0].error}")

    async def score(self, ask: Ask) -> Score:
        import asyncio

        from duel.judging.scoring import settle

        panel = self.panel
        before = {(vote.judge, vote.order): vote for vote in self.kept.votes} if self.kept else {}
        votes = {key: vote for key, vote in before.items() if panel.is_settled(vote)}
        while wanted := panel.wanted(self.item, list(votes.values())):
            cast = await asyncio.gather(*(self._vote(ask, key, before.get(key)) for key in wanted))
            votes.update(zip(wanted, cast, strict=True))
        blank = blank_score(self.pair, self.answer, panel.mode, panel.made_with)
        ordered = [votes[key] for key in owed_votes(self.item, panel.settings) if key in votes]
        return settle(blank.model_copy(update={"votes": ordered}), panel.settings)

    async def _vote(self, ask: Ask, key: Key, before: Vote | None) -> Vote:
        """One judge's vote in one order, asked again while it does not parse, `rescore_passes` times at most."""
        judge, order = key
        if judge in self.panel.rules:
            return by_rule(attempt(judge, self.panel.rules[judge], self.pair, order), self.pair)
        vote = before or Vote(judge=judge, order=order)
        for number in range(vote.asked, vote.asked + 1 + self.panel.settings.duel.rescore_passes):
            try:
                reply = await ask(rubric.asking(self.questions[key], number))
            except ItemError as error:
                return vote.model_copy(update={"error": f"{error.reason}: {error.what}"})
            vote = counted(vote, reply)
            try:
                found = judge_replies.parse(reply.text)
            except judge_replies.Unparsed as error:
                ask.reject(reply, f"unparsed: {error.reason}")
                vote = vote.model_copy(update={"error": f"unparsed: {error.reason}: {error.what}"})
            else:
                fields = {**found.for_challenger(order), "reason": found.reason, "error": ""}
                return by_rule(vote.model_copy(update=fields), self.pair)
        return vote


def by_rule(vote: Vote, pair: JudgedPair) -> Vote:
    """`vote` with a draw in correctness where both commands did the same; `said` keeps what the judge said."""
    if not pair.same or not vote.parsed:
        return vote
    return vote.model_copy(update={"correctness": 0.5, "said": {"correctness": vote.correctness}})


def counted(vote: Vote, reply: Reply) -> Vote:
    """`vote` with one more reply on its account: a verdict that does not parse costs its tokens all the same."""
    usage = {
        name: vote.usage.get(name, 0) + int(reply.usage.get(name) or 0)
        for name in COUNTED_USAGE
        if name in vote.usage or reply.usage.get(name) is not None
    }
    cost = None if reply.cost is None and vote.cost is None else (vote.cost or 0.0) + (reply.cost or 0.0)
    return vote.model_copy(update={"usage": usage, "cost": cost, "model": reply.model, "asked": vote.asked + 1})


def cast_vote(name: str, judge: PairJudge, pair: JudgedPair, order: Order) -> Vote:
    """The vote of one function on one pair in one order. Raises ValueError for anything but 0, 1 and 2."""
    king_first = order == "king_first"
    first, second = (pair.opponent, pair.challenger) if king_first else (pair.challenger, pair.opponent)
    said = judge(pair.history, first, second)
    choices = dict.fromkeys(DIMENSIONS, said) if isinstance(said, int) else dict(said)
    if choices.keys() != set(DIMENSIONS) or not set(choices.values()) <= {0, 1, 2}:
        raise ValueError(f"the judge {name} must give 0, 1 or 2, or one of them for each of {', '.join(DIMENSIONS)}")
    challenger = 2 if king_first else 1
    values = {key: 0.5 if choice == 0 else float(choice == challenger) for key, choice in choices.items()}
    return Vote(judge=name, order=order, asked=1, **values)


def attempt(name: str, judge: PairJudge, pair: JudgedPair, order: Order) -> Vote:
    """As `cast_vote`; whatever the function raises is the vote's error, so that one bad rule ends no run."""
    try:
        return cast_vote(name, judge, pair, order)
    except Exception as error:
        return Vote(judge=name, order=order, error=f"rule-failed: {type(error).__name__}: {error}"[:300])
