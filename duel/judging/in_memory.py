"""Judging pairs in memory by plain Python functions; their votes count like those of any other judge."""

from collections.abc import Mapping, Sequence
from typing import Any

from duel.judging import gate, rubric
from duel.judging.gate import Case
from duel.judging.panel import PairJudge, cast_vote
from duel.judging.scoring import Columns, settle
from duel.records import Answer, Message, Score, Verdict
from duel.settings import Settings


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
        votes = [cast_vote(judge, judges[judge], pair, order) for judge, order in rubric.owed_votes(name, settings)]
        lengths = {"opponent": len(pair.opponent), "challenger": len(pair.challenger)}
        score = Score(file=name, instance_id=answer.instance_id, mode=mode, votes=votes, lengths=lengths)
        scores.append(settle(score, settings))
    return scores


def verdict(scores: Sequence[Score], settings: Settings | None = None) -> Verdict:
    """What the votes of `scores` add up to, how sure that is, and whether the challenger is accepted."""
    judges = dict.fromkeys(vote.judge for score in scores for vote in score.votes)
    chosen = panel_of(judges, settings)
    return gate.decide(Case(Columns.of(scores, chosen.judge.models), chosen, chosen.duel.mode))


def panel_of(judges: Mapping[str, Any], settings: Settings | None = None) -> Settings:
    """`settings` with these judges as the panel, each asked in full."""
    settings = settings or Settings()
    return settings.with_keys(judge={"models": list(judges), "thinking_models": [], "strategy": "full"})
