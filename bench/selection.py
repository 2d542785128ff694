"""Best of n with planted qualities: what a knockout finds, and whose figure of the duel can be believed.

    python -m bench.selection [--turns 1000]

Each turn has a king and n challengers whose quality is drawn (standard deviation 1). Judges see it with a taste of
their own for each reply (`bench.planted`). `duel.stages.choose` itself chooses, its panel and its rubric
ask every question; only the wire is left out. Printed: quality gained over one candidate, share of the best possible
gain, duels and calls a turn, and the score of the chosen against the king: the truth, by three other judges, by those
who chose.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import planted
from duel import calls
from duel.bookkeeping import Stage
from duel.judging import rubric
from duel.judging.contests import DUEL
from duel.judging.panel import OpenPair, Panel
from duel.records import Answer, Candidate, Made, Message
from duel.settings import Settings
from duel.stages.choose import Choosing
from duel.workspace import Workspace

OTHERS = tuple(f"planted-0.3-other-{letter}" for letter in "abc")
CHOOSERS = {
    "three of 0.6": tuple(f"planted-0.6-{letter}" for letter in "xyz"),
    "one of 0.6": ("planted-0.6-x",),
    "one of 1.0": ("planted-1.0-x",),
}
POINTS = {0: 50.0, 1: 0.0, 2: 100.0}
"""Of the challenger, by which of king and challenger is the better one."""


class Rules:
    """Judges of planted quality, without a wire; counts what is asked."""

    stopped = False

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, request: calls.Request) -> calls.Reply:
        self.asked += 1
        return calls.Reply(planted.verdict(request.messages, request.model))

    def reject(self, reply: calls.Reply, reason: str) -> None:
        raise AssertionError(reason)


@dataclass(frozen=True)
class Trial:
    """What came of one way of choosing. Qualities in standard deviations, scores in points."""

    gain: float
    possible: float
    duels: float
    calls: float
    true: float
    by_others: float
    by_choosers: float

    @property
    def share(self) -> float:
        return self.gain / self.possible if self.possible else 1.0


def planted_answer(number: int, count: int) -> Answer:
    """One turn with a king and `count` challengers of planted quality, the first of them chosen."""
    history = [Message(role="system", content="rules"), Message(role="user", content=f"issue {number}")]
    shown = [message.model_dump() for message in history]
    answer = Answer(instance_id=f"owner__repo-{number}", king="", messages=history)
    texts = [planted.turn(shown, "planted-king", 0), *(planted.turn(shown, "planted", k) for k in range(count))]
    for place, text in enumerate(texts):
        side = "challenger" if place else "king"
        one = Candidate(id=f"{side}-{place or 1}", side=side, text=text, made=Made(plan=f"{number}-{place}"))
        answer.choose(one, text) if answer.chosen(one.side) is None else answer.put(one)
    return answer


def trial(workspace: Workspace, count: int, turns: int, choosers: Sequence[str]) -> Trial:
    """Choose one of `count` challengers on each of `turns` turns, then judge it against the king."""
    ask = Rules()
    settings = Settings.model_validate(
        {
            "generate": {"challengers": count, "select_model": list(choosers)},
            "judge": {"models": list(OTHERS), "thinking_models": []},
        }
    )
    stage = Choosing("choose", workspace, settings)
    answers = [planted_answer(number, count) for number in range(turns)]
    first, best = (
        [pick(planted.quality(answer.text_of(one)) for one in answer.of_side("challenger")) for answer in answers]
        for pick in (next, max)
    )
    with asyncio.Runner() as runner:
        for number, answer in enumerate(answers if count > 1 else ()):
            runner.run(stage.choose(workspace.root / f"{number}.json", answer, ["challenger"], ask))
    asked = ask.asked
    chosen = [planted.quality(answer.challenger) for answer in answers]
    selections = [one.selection for answer in answers if (one := answer.chosen("challenger")) and one.selection]
    return Trial(
        gain=mean(chosen) - mean(first),
        possible=mean(best) - mean(first),
        duels=sum(one.duels or 0 for one in selections) / turns,
        calls=asked / turns,
        true=mean([POINTS[planted.better(answer.king, answer.challenger, "planted")] for answer in answers]),
        by_others=score(workspace, settings, OTHERS, answers),
        by_choosers=score(workspace, settings, choosers, answers),
    )


def score(workspace: Workspace, settings: Settings, judges: Sequence[str], answers: Sequence[Answer]) -> float:
    """The mean score of the chosen against the king by `judges`, through the panel."""
    judge = settings.judge.model_copy(update={"models": list(judges)})
    panel = Panel(Stage("validate", workspace, settings.model_copy(update={"judge": judge})), DUEL)
    pairs = [rubric.pair_of(str(number), answer, 2) for number, answer in enumerate(answers)]
    found = (OpenPair(panel, pair, answer, None).score(Rules()) for pair, answer in zip(pairs, answers, strict=True))
    with asyncio.Runner() as runner:
        return mean([runner.run(one).score or 0.0 for one in found])


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--turns", type=int, default=1000)
    turns = parser.parse_args().turns
    print("choosers       n   gain  of possible  duels  calls   true  by others  by choosers")
    with tempfile.TemporaryDirectory() as folder:
        for name, choosers in CHOOSERS.items():
            for count in (1, 2, 4, 8):
                t = trial(Workspace(Path(folder)), count, turns, choosers)
                print(
                    f"{name:12} {count:3} {t.gain:+6.2f} {100 * t.share:10.0f} %  {t.duels:5.1f}  {t.calls:5.1f}"
                    f" {t.true:6.1f} {t.by_others:10.1f} {t.by_choosers:12.1f}"
                )


if __name__ == "__main__":
    main()
