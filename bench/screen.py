"""What the screen saves and what it misses, by the mean of the challenger.

    python -m bench.screen [--turns 3000]

Three judges, both orders, the default thresholds. `lean` is how far a judge moves towards the reply it sees first,
`spread` how much turns differ, `noise` how much judges do. Prints the share of votes not asked, the share of the full
panel's final and refined turns that are asked in full, and how many times fewer votes the gate needs for the same
standard error. A turn that is asked in full and gets another score than the full panel's ends the program.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from duel.judging.rubric import next_votes
from duel.judging.scoring import Columns, VoteTable, settle
from duel.records import Score, Vote
from duel.settings import Settings
from tests.judging.panels import challengers, score_of

FULL = Settings()
SCREEN = Settings.model_validate({"judge": {"strategy": "screen"}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3000)
    turns = parser.parse_args().turns
    print("lean  spread  noise  mean    saved   final  refined   gate")
    for lean, spread, noise in [(0.0, 0.3, 0.2), (0.1, 0.3, 0.2), (0.1, 0.2, 0.3), (0.2, 0.3, 0.2)]:
        for mean in (40, 60, 80):
            votes = challengers(mean, turns, seed=5, lean=lean, spread=spread, noise=noise)
            whole = [score_of(f"p_1_{turn}", table, FULL) for turn, table in enumerate(votes)]
            short = [screened(score) for score in whole]
            points = np.array([score.score for score in whole], dtype=float)
            asked = np.array([len(score.votes) == 6 for score in short])
            saved = 1 - sum(len(score.votes) for score in short) / (6 * len(whole))
            final, refined = points >= 80, (points >= 66) & (points < 80)
            table = VoteTable(Columns.of(whole, FULL.judge.models), SCREEN, screened=True)
            gain = 6 * (points.std() / 100) ** 2 / table.deltas.std() ** 2
            shares = f"{100 * saved:6.1f} % {100 * asked[final].mean():5.1f} % {100 * asked[refined].mean():5.1f} %"
            print(f"{lean:4.1f}  {spread:6.1f}  {noise:5.1f}  {points.mean():4.1f}  {shares} {gain:5.2f} x", flush=True)


def screened(full: Score) -> Score:
    said = {(vote.judge, vote.order): vote for vote in full.votes}
    votes: list[Vote] = []
    while wanted := next_votes(full.file, votes, SCREEN):
        votes += [said[key] for key in wanted]
    short = settle(full.model_copy(update={"votes": votes}), SCREEN)
    if len(votes) == 6 and short.score != full.score:
        raise SystemExit(f"{full.file}: {short.score} instead of {full.score}")
    return short


if __name__ == "__main__":
    main()
