"""What an adaptive panel saves: the share of calls not asked, by the mean of the challenger and by the order of asking.

    python bench/adaptive.py [--turns 2000]

Three judges, both orders, the default thresholds. `lean` is how far a judge moves towards the reply it sees first,
`spread` how much turns differ, `noise` how much judges do. "in turn" asks judge by judge with the same stopping rule.
Every bucket is compared with the full panel's; a difference ends the program.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from duel.judging.buckets import bucket_of

from duel.judging import adaptive
from duel.judging.scoring import owed_votes, settle, standings
from duel.records import Score, Vote
from duel.settings import Settings
from tests.judging.panels import challengers, score_of

SETTINGS = Settings.model_validate({"judge": {"strategy": "adaptive"}})
Policy = Callable[[str, Sequence[Vote], Settings], list[tuple[str, str]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=2000)
    turns = parser.parse_args().turns
    print("lean  spread  noise  mean   in turn  adaptive")
    for lean, spread, noise in [(0.0, 0.3, 0.2), (0.1, 0.3, 0.2), (0.1, 0.2, 0.3), (0.2, 0.3, 0.2)]:
        for mean in (40, 60, 80):
            votes = challengers(mean, turns, seed=5, lean=lean, spread=spread, noise=noise)
            scores = [score_of(f"p_1_{turn}", table, SETTINGS) for turn, table in enumerate(votes)]
            saved = [share_saved(scores, policy) for policy in (in_turn, adaptive.next_votes)]
            real = np.mean([score.score for score in scores if score.score is not None])
            shares = "  ".join(f"{100 * share:6.1f} %" for share in saved)
            print(f"{lean:4.1f}  {spread:6.1f}  {noise:5.1f}  {real:4.1f}  {shares}")


def share_saved(scores: Sequence[Score], policy: Policy) -> float:
    asked = 0
    for score in scores:
        said = {(vote.judge, vote.order): vote for vote in score.votes}
        votes: list[Vote] = []
        while wanted := policy(score.file, votes, SETTINGS):
            votes += [said[key] for key in wanted]
        short = settle(score.model_copy(update={"votes": votes}), SETTINGS)
        bucket, other = bucket_of(short.score, SETTINGS)[0], bucket_of(score.score, SETTINGS)[0]
        if bucket != other:
            raise SystemExit(f"{score.file}: {bucket} instead of {other}")
        asked += len(votes)
    return 1 - asked / sum(len(score.votes) for score in scores)


def in_turn(item: str, votes: Sequence[Vote], settings: Settings) -> list[tuple[str, str]]:
    if adaptive.is_decided(standings(item, votes, settings), settings):
        return []
    asked = {(vote.judge, vote.order) for vote in votes}
    return [key for key in owed_votes(item, settings) if key not in asked][:1]


if __name__ == "__main__":
    main()
