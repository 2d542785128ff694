"""The panel at work: which pairs are to be judged, one job a pair, its score saved once its votes are in.

A judge is a model, or a plain function: `rule:<name>` in `[judge] models` is a part from outside, and costs nothing.
Its votes count like those of any other judge, so a length rule or a linter may sit beside models; `judge` has plain
functions alone judge pairs in memory.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from duel import shell, turn, untrusted
from duel.bookkeeping import Stage
from duel.calls import Ask
from duel.calls.request import COUNTED_USAGE, Reply, Request
from duel.errors import ItemError
from duel.judging import gate, judge_replies, rubric
from duel.judging.contests import DUEL, Contest
from duel.judging.rubric import JudgedPair, Key, owed_votes, short_hash
from duel.judging.scoring import Columns, settle
from duel.records import DIMENSIONS, RULE, Answer, Message, Order, PairIds, Score, Verdict, Vote
from duel.registry import Registry
from duel.settings import Settings

PairJudge: TypeAlias = Callable[[Sequence[Message], str, str], int | Mapping[str, int]]
"""(history, first reply, second reply) -> 1 for the first, 2 for the second, 0 for a draw, or these by dimension."""

JUDGES: Registry[PairJudge] = Registry("judge")


@dataclass
class Panel:
    """The judges under one set of settings, at work on one contest of a workspace."""

    stage: Stage
    contest: Contest = DUEL
    # Of every turn that came by, by file stem: the fingerprint of its candidates, and that of its rubric, which is
    # another one where judges are shown what the commands did.
    candidates: dict[str, str] = field(default_factory=dict)
    rubrics: dict[str, str] = field(default_factory=dict)
    asked_anew: Counter[str] = field(default_factory=Counter)  # why scores that lie there cannot be used

    def __post_init__(self) -> None:
        self.workspace, self.settings = self.stage.workspace, self.stage.settings
        # What the challenger is judged against; king against king is always mode 2.
        self.mode = self.settings.duel.mode if self.contest.pair is DUEL.pair else 2
        named = [model for model in self.settings.judge.models if model.startswith(RULE)]
        self.rules: dict[str, PairJudge] = {model: JUDGES[model.removeprefix(RULE)] for model in named}

    @cached_property
    def secret(self) -> bytes:
        return self.workspace.secret()

    @cached_property
    def made_with(self) -> dict[str, str]:
        """Fingerprints of the rubric, the panel and the mode: what a score must share to stand beside the others."""
        judge = self.settings.judge
        asked = judge.model_dump(include={"models", "temperature", "orders", "structured_output"})
        asked |= {"thinking_models": sorted(set(judge.thinking_models) & set(judge.models)), "mode": self.mode}
        asked |= {"tokens": [judge.thinking_max_tokens, judge.score_max_tokens, judge.max_tokens]}
        asked |= {"parameters": judge.parameters} if judge.parameters else {}
        return {"rubric": rubric.rubric_hash(judge.dimensions), "panel": short_hash(asked)}

    def open_turns(self, answers: Iterable[tuple[Path, Answer]]) -> "Iterator[OpenPair]":
        """A job for every pair whose votes are not all there, made with the present settings."""
        met: Counter[str] = Counter()
        for path, answer in answers:
            if (pair := self.met(path.stem, answer)) is None:
                continue
            met[content := self.candidates[pair.item]] += 1
            pair.twins = met[content] - 1 + self.contest.twins
            if pair.kept is None or pair.owes(pair.kept):
                yield pair
            else:
                self.stage.finished += 1

    def met(self, item: str, answer: Answer) -> "OpenPair | None":
        """The pair of one turn, with its score where one that can be used lies there; None: it has no such pair."""
        if (pair := self.contest.pair(item, answer, self.settings)) is None:
            return None
        self.candidates[item] = rubric.fingerprint(pair)
        self.rubrics[item] = rubric.rubric_hash(self.settings.judge.dimensions, pair.has_evidence)
        return OpenPair(self, pair, answer, None if self.stage.again else self.kept(item))

    def kept(self, item: str) -> Score | None:
        path = self.contest.path(self.workspace, item)
        if not path.exists():
            return None
        try:
            score = self.workspace.read(path, Score)
        except ItemError as error:
            self.stage.redone.append(error)
            return None
        if difference := self.unlike(score, item):
            self.stage.stale += 1
            self.asked_anew[difference] += 1
            return None
        return score

    def scores(self) -> Iterator[tuple[Path, Score]]:
        """Every score that lies there; what cannot be read is noted as damaged."""
        return self.workspace.read_all(self.contest.paths(self.workspace), Score, self.stage.damage)

    def unlike(self, score: Score, item: str, seen: bool = True) -> str:
        """What keeps the score of `item` from standing beside those made now, as a slug; "" where nothing does.

        `seen` False: no answer came by, so nothing can be said of the candidates.
        """
        told = score.made_with.get("rubric", "")
        present = self.rubrics.get(item) or rubric.rubric_hash(self.settings.judge.dimensions, "+" in told)
        checks = {
            f"mode-{score.mode}": score.mode == self.mode,
            "other-rubric": told == present,
            "other-panel": score.made_with.get("panel") == self.made_with["panel"],
            "no-answer": not seen or item in self.candidates,
            "other-candidates": not seen or score.made_with.get("candidates") == self.candidates.get(item),
        }
        return next((slug for slug, held in checks.items() if not held), "")

    def is_settled(self, vote: Vote) -> bool:
        """True for a verdict, and for a judge that wrote none however often it was asked: only `--again` asks it."""
        unread = vote.error.startswith("unparsed") and vote.asked > self.settings.duel.rescore_passes
        return vote.parsed or unread

    def wanted(self, item: str, votes: Sequence[Vote]) -> list[Key]:
        """The votes to ask for next, given those that are there; [] once there is nothing left to ask."""
        if self.settings.judge.strategy == "screen" and self.contest is DUEL:
            return rubric.next_votes(item, votes, self.settings)
        there = {(vote.judge, vote.order) for vote in votes}
        return [key for key in owed_votes(item, self.settings) if key not in there]


@dataclass
class OpenPair:
    """One pair before the panel."""

    panel: Panel
    pair: JudgedPair
    answer: Answer
    kept: Score | None
    twins: int = 0  # pairs before this one with the very same texts

    def __post_init__(self) -> None:
        self.item = self.pair.item

    def owes(self, score: Score) -> bool:
        """True while a vote is missing that is to be asked for."""
        return bool(self.panel.wanted(self.item, [vote for vote in score.votes if vote.parsed]))

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
        score = await self.score(ask)
        self.panel.workspace.save(self.panel.contest.path(self.panel.workspace, self.item), score)
        self.must_be_whole(score)

    def must_be_whole(self, score: Score) -> None:
        """Raise ItemError where a vote is missing that is still owed."""
        failed = [vote for vote in score.votes if not vote.parsed]
        if failed and self.owes(score):
            raise ItemError(failed[0].error.split(": ")[0], f"{failed[0].judge}: {failed[0].error}")

    async def score(self, ask: Ask) -> Score:
        panel = self.panel
        before = {(vote.judge, vote.order): vote for vote in self.kept.votes} if self.kept else {}
        votes = {key: vote for key, vote in before.items() if panel.is_settled(vote)}
        while wanted := panel.wanted(self.item, list(votes.values())):
            cast = await asyncio.gather(*(self._vote(ask, key, before.get(key)) for key in wanted))
            votes.update(zip(wanted, cast, strict=True))
        ordered = [votes[key] for key in owed_votes(self.item, panel.settings) if key in votes]
        return settle(self._with_votes(ordered), panel.settings)

    def _with_votes(self, votes: list[Vote]) -> Score:
        panel, pair, answer = self.panel, self.pair, self.answer
        chosen, opponent = answer.chosen("challenger"), "king" if panel.mode == 2 else "assistant"
        # Its model, its prompt template and how it was chosen make the challenger this one and no other.
        how = [chosen.selection.method] if chosen and chosen.selection else []
        writer = [chosen.made.model, chosen.made.template_hash, *how] if chosen and chosen.made else []
        sides = {opponent: pair.opponent, "challenger": pair.challenger}
        made = {candidate.id: candidate.made.model for candidate in answer.candidates if candidate.made}
        lengths = {"opponent": len(pair.opponent), "challenger": len(pair.challenger)}
        lengths |= {"history": sum(len(message.content) for message in pair.history)}
        asked = rubric.rubric_hash(panel.settings.judge.dimensions, pair.has_evidence)
        prints = {"rubric": asked, "candidates": rubric.fingerprint(pair)}
        return Score(
            file=pair.item,
            instance_id=answer.instance_id,
            mode=panel.mode,
            pair=PairIds(opponent=pair.ids[0], challenger=pair.ids[1]),
            style=shell.style(turn.command(pair.challenger)),
            attempts=[{"side": side, "kind": kind} for side in sides for kind in untrusted.attempts(sides[side])],
            votes=votes,
            writers={"opponent": made.get(pair.ids[0], ""), "challenger": made.get(pair.ids[1], "")},
            lengths=lengths,
            made_with={**panel.made_with, **prints, "challenger": short_hash(writer)},
            evidence="same" if pair.same else "shown" if pair.has_evidence else pair.unobserved,
        )

    async def _vote(self, ask: Ask, key: Key, before: Vote | None) -> Vote:
        """One judge's vote in one order, asked again while it does not parse, `rescore_passes` times at most.

        Where both commands did the same, correctness is a draw; `said` keeps what the judge said of it.
        """
        (judge, order), dimensions = key, self.panel.settings.judge.dimensions
        vote = before or Vote(judge=judge, order=order)
        if judge in self.panel.rules:
            try:
                vote = cast_vote(judge, self.panel.rules[judge], self.pair, order, dimensions)
            except Exception as error:  # whatever a function raises: one bad rule ends no run
                vote = Vote(judge=judge, order=order, error=f"rule-failed: {type(error).__name__}: {error}"[:300])
        else:
            for number in range(vote.asked, vote.asked + 1 + self.panel.settings.duel.rescore_passes):
                try:
                    reply = await ask(rubric.asking(self.questions[key], number, dimensions))
                    vote = counted(vote, reply)
                    found = judge_replies.parse(reply.text, dimensions)
                except judge_replies.Unparsed as error:
                    ask.reject(reply, f"unparsed: {error.reason}")
                    vote = vote.model_copy(update={"error": f"unparsed: {error.reason}: {error.what}"})
                except ItemError as error:
                    return vote.model_copy(update={"error": f"{error.reason}: {error.what}"})
                else:
                    fields = {**found.for_challenger(order), "reason": found.reason, "error": ""}
                    vote = vote.model_copy(update=fields)
                    break
        if self.pair.same and vote.parsed:
            vote = vote.model_copy(update={"correctness": 0.5, "said": {"correctness": vote.correctness}})
        return vote


def counted(vote: Vote, reply: Reply) -> Vote:
    """`vote` with one more reply on its account: a verdict that does not parse costs its tokens all the same."""
    both = ((name, vote.usage.get(name), reply.usage.get(name)) for name in COUNTED_USAGE)
    usage = {name: (before or 0) + int(new or 0) for name, before, new in both if (before, new) != (None, None)}
    cost = None if reply.cost is None and vote.cost is None else (vote.cost or 0.0) + (reply.cost or 0.0)
    return vote.model_copy(update={"usage": usage, "cost": cost, "model": reply.model, "asked": vote.asked + 1})


def cast_vote(
    name: str, judge: PairJudge, pair: JudgedPair, order: Order, dimensions: Sequence[str] = DIMENSIONS
) -> Vote:
    """The vote of one function on one pair in one order. Raises ValueError for anything but 0, 1 and 2."""
    king_first = order == "king_first"
    said = judge(pair.history, *((pair.opponent, pair.challenger)[:: 1 if king_first else -1]))
    choices = dict.fromkeys(dimensions, said) if isinstance(said, int) else dict(said)
    if choices.keys() != set(dimensions) or not set(choices.values()) <= {0, 1, 2}:
        raise ValueError(f"the judge {name} must give 0, 1 or 2, or one of them for each of {', '.join(dimensions)}")
    return Vote(judge=name, order=order, asked=1, **judge_replies.Choices(choices).for_challenger(order))


def judge(
    pairs: Sequence[Answer | tuple[str, str]], judges: Mapping[str, PairJudge], settings: Settings | None = None
) -> list[Score]:
    """Have every judge compare each pair, (king, challenger) or an Answer, in the orders that the settings ask for.

    The scores are in the order of `pairs`, 0 to 100 from the challenger's side. A pair that is no Answer counts as a
    pull request of its own. Raises ValueError for a judge that gives anything but 0, 1 and 2.
    """
    settings, asked, scores = panel_of(judges, settings), [Message(role="user", content="")], []
    mode = settings.duel.mode
    for number, given in enumerate(pairs, start=1):
        answer, name = given, f"pair_{number}"
        if not isinstance(answer, Answer):
            answer = Answer(instance_id=name, king=answer[0], challenger=answer[1], messages=asked)
        pair = rubric.pair_of(name, answer, mode, settings.judge.observed)
        owed, on = owed_votes(name, settings), settings.judge.dimensions
        votes = [cast_vote(judge, judges[judge], pair, order, on) for judge, order in owed]
        lengths = {"opponent": len(pair.opponent), "challenger": len(pair.challenger)}
        score = Score(file=name, instance_id=answer.instance_id, mode=mode, votes=votes, lengths=lengths)
        scores.append(settle(score, settings))
    return scores


def verdict(scores: Sequence[Score], settings: Settings | None = None) -> Verdict:
    """What the votes of `scores` add up to, how sure that is, and whether the challenger is accepted."""
    chosen = panel_of(dict.fromkeys(vote.judge for score in scores for vote in score.votes), settings)
    return gate.decide(gate.Case(Columns.by_panel(scores, chosen), chosen, chosen.duel.mode))


def panel_of(judges: Mapping[str, Any], settings: Settings | None = None) -> Settings:
    """`settings` with these judges as the panel, each asked in full."""
    settings = settings or Settings()
    return settings.with_keys(judge={"models": list(judges), "thinking_models": [], "strategy": "full"})
