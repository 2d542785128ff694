"""Does it help to train on what the duel kept? A small experiment, from scratch, within ten minutes on two cores.

    python -m recipes.ablation --workspace RUN --runs 'runs/*.parquet'

reads    final/ and defeat/ of a finished duel; the recorded runs that its turns were drawn from
writes   the table; with --save FOLDER the model of the first seed before any fine-tuning, for recipes.lora_sweep

For each seed a part of the repositories is held out. A small transformer learns the recorded runs of the others, and is
then fine-tuned on equally many of their turns: of final/, of the same turns' kings, of defeat/ (the challenger that
lost), and of the recorded runs, at random. Two yardsticks, both of held-out repositories: the accepted turns of final/,
whose writer is the one of the rows `final` and `defeat`, and recorded turns, whose writer is the one of `random`.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch

from duel.exports import trajectories
from duel.exports.example import Example, each_turn
from duel.records import Bucket, Kept
from duel.workspace import Workspace
from recipes import small_model
from recipes.small_model import Message, Sample

HELD_OUT = 0.4
"""Share of the repositories that no model of a seed has seen."""
RECORDED = 96
"""Recorded turns of the second yardstick."""
EPOCHS = 3
PRETRAINING_RATE, FINE_TUNING_RATE = 3e-3, 5e-4


@dataclass(frozen=True)
class Turn:
    repo: str
    history: Sequence[Message]
    text: str


@dataclass(frozen=True)
class Losses:
    """Nats a token, before fine-tuning or after it."""

    accepted: float
    recorded: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", default=".", help="of a duel that has its report")
    parser.add_argument("--runs", required=True, help="a trajectory file, folder or glob")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300, help="of pretraining (default: 300)")
    parser.add_argument("--save", type=Path, metavar="FOLDER")
    asked = parser.parse_args()
    runs = [run for part in trajectories.load(asked.runs, Path.cwd()) for run in part.examples]
    sets = turn_sets(Workspace(asked.workspace), runs)
    print(", ".join(f"{name} {len(turns):,} turns" for name, turns in sets.items()), f"of {len(runs):,} runs")
    results = [one_seed(seed, runs, sets, asked.steps, None if seed else asked.save) for seed in range(asked.seeds)]
    print("\n".join(table(results)))
    print(f"\n{asked.seeds} seeds, {time.process_time() / 60:.1f} minutes of processor time, on {small_model.DEVICE}")


def turn_sets(workspace: Workspace, runs: Sequence[Example]) -> dict[str, list[Turn]]:
    """The four kinds of turns that are compared, of all repositories."""

    def kept(bucket: Bucket, text: Callable[[Kept], str]) -> list[Turn]:
        turns = [workspace.read(path, Kept) for path in workspace.kept_paths(bucket)]
        return [Turn(turn.repo, _plain(turn.messages), text(turn)) for turn in turns]

    single = [turn for run in runs for turn in each_turn(run, cap=len(run.messages))]
    return {
        "final": kept("final", lambda turn: turn.challenger),
        "king": kept("final", lambda turn: turn.king),
        "defeat": kept("defeat", lambda turn: turn.challenger),
        "random": [Turn(turn.repo, _plain(turn.prompt), turn.accepted) for turn in single],
    }


def one_seed(
    seed: int, runs: Sequence[Example], sets: dict[str, list[Turn]], steps: int, save: Path | None
) -> dict[str, Losses]:
    """Losses on held-out repositories, without fine-tuning and after each."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    repos = sorted({turn.repo for turn in sets["final"]})
    held_out = set(draw.sample(repos, max(1, round(HELD_OUT * len(repos)))))
    texts = [small_model.rendered(_plain(run.messages)) for run in runs if run.repo not in held_out]
    tokenizer = small_model.trained_tokenizer(texts)

    def samples(turns: Sequence[Turn], count: int) -> list[Sample]:
        chosen = draw.sample(list(turns), min(count, len(turns)))
        return [small_model.turn_sample(tokenizer, turn.history, turn.text) for turn in chosen]

    seen = {name: [turn for turn in turns if turn.repo not in held_out] for name, turns in sets.items()}
    equal = min(map(len, seen.values()))
    if not equal:
        raise SystemExit(f"error: a set has no turn outside of {', '.join(sorted(held_out))}")
    unseen = {name: [turn for turn in turns if turn.repo in held_out] for name, turns in sets.items()}
    yardsticks = samples(unseen["final"], len(unseen["final"])), samples(unseen["random"], RECORDED)

    model = small_model.random_model(tokenizer)
    small_model.train(model, small_model.windows(tokenizer, texts), steps, PRETRAINING_RATE, seed)
    if save:
        small_model.save(model, tokenizer, save)
    found = {"none": Losses(*(small_model.mean_loss(model, yardstick) for yardstick in yardsticks))}
    for name, turns in seen.items():
        tuned = deepcopy(model)
        training = samples(turns, equal)
        small_model.train(tuned, training, EPOCHS * len(training) // small_model.BATCH + 1, FINE_TUNING_RATE, seed)
        found[name] = Losses(*(small_model.mean_loss(tuned, yardstick) for yardstick in yardsticks))
    print(
        f"seed {seed}: held out {', '.join(sorted(held_out))}; {equal} turns a set,"
        f" measured on {len(yardsticks[0])} accepted and {len(yardsticks[1])} recorded turns",
        flush=True,
    )
    return found


def table(results: Sequence[dict[str, Losses]]) -> list[str]:
    """A row a set: the loss on both yardsticks, and on the first one the difference to `random` within a seed."""
    lines = ["", "| fine-tuned on | accepted turns | against random | recorded turns |", "|---|---|---|---|"]
    for name in results[0]:
        accepted = figure([losses[name].accepted for losses in results])
        recorded = figure([losses[name].recorded for losses in results])
        apart = figure([losses[name].accepted - losses["random"].accepted for losses in results], sign="+")
        lines.append(f"| {name} | {accepted} | {apart if name != 'random' else ''} | {recorded} |")
    return lines


def figure(values: Sequence[float], sign: str = "") -> str:
    """The mean and its standard error over seeds."""
    error = f" ± {statistics.stdev(values) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.3f}{error}"


def _plain(messages: Sequence[object]) -> list[Message]:
    return [{"role": message.role, "content": message.content} for message in messages]  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
