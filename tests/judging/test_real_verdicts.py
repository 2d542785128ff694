"""Published figures of real judges, reproduced from their verdicts."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from duel.judging import known_truth
from duel.judging.statistics import Clusters, effective_votes, mean_correlation, pair_correlations


def llmbar(shared: Path) -> dict[str, list[dict[str, str]]]:
    rows = defaultdict(list)
    with gzip.open(shared / "judgments/llmbar/verdicts.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            rows[f"{row['subset']}|{row['judge']}|{row['strategy']}"].append(row)
    return rows


def test_the_published_accuracies_of_every_judge_and_prompt_are_reproduced_exactly(shared: Path) -> None:
    published = json.loads((shared / "judgments/llmbar/statistics.json").read_text("utf-8"))
    pairs, said = known_truth.read_labels(shared / "judgments/llmbar/verdicts.csv.gz")
    kinds, by_judge = {pair.id: pair.kind for pair in pairs}, defaultdict(list)
    for (judge, item), orders in said.items():
        by_judge[f"{kinds[item]}|{judge}"].append(orders)
    assert by_judge.keys() == {" ".join(name.rsplit("|", 1)).strip() for name in published}
    for name, figures in published.items():
        orders = np.array(by_judge[" ".join(name.rsplit("|", 1)).strip()]) == 1.0
        counts = {"correct_False": orders[:, 0], "correct_True": orders[:, 1], "correct_both": orders.all(1)}
        for key, right in counts.items():
            whole = re.fullmatch(r"(\d+) / (\d+) = .*", figures[key])
            assert whole is not None
            assert (right.sum(), len(right)) == (int(whole[1]), int(whole[2])), (name, key)
        assert 100 * orders.mean() == pytest.approx(float(figures["correct_average"].rstrip("%")), abs=1e-9)


def test_six_real_judges_are_worth_about_two_independent_votes(shared: Path) -> None:
    by_prompt: dict[str, list[tuple[str, dict[str, str]]]] = defaultdict(list)
    for name, group in llmbar(shared).items():
        subset, judge, prompt = name.split("|")
        if subset.startswith("LLMBar"):
            by_prompt[prompt] += [(judge, row) for row in group]
    worth = {}
    for prompt, cast in by_prompt.items():
        judges = sorted({judge for judge, _ in cast})
        items = sorted({(row["subset"], row["item"]) for _, row in cast})
        wrong = np.full((len(items), len(judges)), np.nan)
        places = {item: place for place, item in enumerate(items)}
        for judge, row in cast:
            choices = [row["winner_unswapped"], row["winner_swapped"]]
            share = np.mean([{row["label"]: 0.0, "": 0.5}.get(choice, 1.0) for choice in choices])
            wrong[places[row["subset"], row["item"]], judges.index(judge)] = share
        if len(judges) >= 5:
            worth[prompt] = effective_votes(len(judges), mean_correlation(pair_correlations(wrong)))
    assert len(worth) == 10
    assert all(1.8 <= votes <= 2.35 for votes in worth.values()), worth


def cohen_kappa(first: list[str], second: list[str]) -> float:
    """Unweighted, of two raters' labels."""
    one, two = np.array(first), np.array(second)
    chance = sum(float((one == label).mean() * (two == label).mean()) for label in {*first, *second})
    return (float((one == two).mean()) - chance) / (1 - chance)


def test_the_three_kappas_of_human_annotators_are_reproduced(shared: Path) -> None:
    with (shared / "judgments/pandalm/labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    people = [[row[f"annotator{number}"] for row in rows] for number in (1, 2, 3)]
    kappas = sorted(round(cohen_kappa(people[a], people[b]), 2) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert kappas == [0.85, 0.86, 0.88]


def test_battles_over_the_same_questions_are_not_independent(shared: Path) -> None:
    values = {"model_a": 1.0, "model_b": 0.0}
    lines = (shared / "judgments/arena_hard/arena_hard_battles.jsonl").read_text("utf-8").splitlines()
    battles = [json.loads(line) for line in lines]
    ratios = {}
    for other in sorted({battle["model_b"] for battle in battles}):
        group = [battle for battle in battles if battle["model_b"] == other]
        won = np.array([values.get(battle["winner"], 0.5) for battle in group])
        clusters = Clusters.of(won, [battle["question_id"] for battle in group])
        ratios[other] = float(clusters.errors()[0]) / float(won.std(ddof=1) / np.sqrt(len(won)))
    assert all(1.8 <= ratio <= 2.1 for ratio in ratios.values()), ratios
