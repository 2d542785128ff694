"""People's votes and the panel's verdict: known figures come back, and the bound keeps its promise."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duel import dimensions
from duel.judging.scoring import settle
from duel.records import DIMENSIONS, Score, Vote
from duel.records.votes import People
from duel.registry import Registry
from duel.review.ballots import chances, sequence
from duel.review.calibration import Labeled, calibrate
from duel.review.estimator import Phases, agreed_thresholds, beta_share, labels_needed, share_lower
from duel.settings import Settings
from tests.review.judged import ORDERS, panel_of, score, vote

Floats = np.ndarray


def duels(seed: int, turns: int, kindness: float = 0.05, skill: float = 0.8) -> tuple[Floats, Floats, Floats]:
    """(panel, people, pull request): correlated deltas on a grid of tenths."""
    draw = np.random.default_rng(seed)
    pulls = np.repeat(np.arange(turns), draw.integers(1, 5, size=turns))[:turns]
    people = np.clip(np.round(0.3 * draw.normal(size=turns), 1), -0.5, 0.5)
    panel = np.clip(np.round(skill * people + kindness + 0.2 * draw.normal(size=turns), 1), -0.5, 0.5)
    return panel, people, pulls


def some(people: Floats, labels: int, seed: int) -> Floats:
    """`people` with all but `labels` of them unknown."""
    told = np.full(len(people), np.nan)
    chosen = np.random.default_rng(seed).choice(len(people), labels, replace=False)
    told[chosen] = people[chosen]
    return told


def test_the_slope_and_the_mean_are_those_of_a_straight_line_through_the_labels() -> None:
    panel, people, pulls = duels(3, 2_000)
    told = some(people, 100, 4)
    phases = Phases.of(panel, told, np.ones(2_000), pulls)
    known = np.isfinite(told)
    slope, start = np.polyfit(panel[known], told[known], 1)
    assert phases.slope() == pytest.approx(slope, abs=1e-9)
    assert phases.people().mean == pytest.approx(start + slope * panel.mean(), abs=1e-9)


def test_another_package_finds_the_same_bound_to_the_third_digit() -> None:
    ppi = pytest.importorskip("ppi_py")
    panel, people, _ = duels(5, 2_000)
    told = some(people, 100, 6)
    known = np.isfinite(told)
    phases = Phases.of(panel, told, np.ones(2_000), np.arange(2_000))
    # The package keeps labeled turns out of the panel's mean and spreads its slope over both; with the slope that ours
    # amounts to there (turns not labeled are 95 % of all) the mean is the same, and the bound to the third digit.
    slope = phases.slope() * 0.95
    low, high = ppi.ppi_mean_ci(people[known], panel[known], panel[~known], alpha=0.1, lam=slope)
    assert phases.people().mean == pytest.approx(float(np.ravel(low + high)[0]) / 2, abs=1e-9)
    assert phases.people().lower(0.05) == pytest.approx(float(np.ravel(low)[0]), abs=6e-4)


def test_sums_of_shards_laid_together_are_the_sums_of_the_whole() -> None:
    panel, people, pulls = duels(7, 400)
    told = some(people, 80, 8)
    whole = Phases.of(panel, told, np.ones(400), pulls)
    first = pulls < 60
    shards = [Phases.of(panel[part], told[part], np.ones(part.sum()), pulls[part]) for part in (first, ~first)]
    joined = Phases(np.vstack([shard.sums for shard in shards]))
    assert joined.people().mean == pytest.approx(whole.people().mean, abs=1e-12)
    assert joined.lower(0.05) == pytest.approx(whole.lower(0.05), abs=1e-12)


def test_a_panel_that_prefers_what_people_refuse_is_not_used_and_costs_nothing() -> None:
    panel, people, pulls = duels(9, 1_000, skill=-0.8)
    phases = Phases.of(panel, some(people, 100, 10), np.ones(1_000), pulls)
    alone = phases.people(0.0)
    assert phases.slope() == 0
    assert phases.people().mean == alone.mean
    assert phases.lower(0.05) == phases.lower(0.05, slope=0.0)


def test_the_bound_is_under_the_truth_as_often_as_it_says_and_the_panel_brings_it_closer() -> None:
    panel, people, pulls = duels(11, 1_500)
    turns = {str(turn): str(pull) for turn, pull in enumerate(pulls)}
    chance = np.array(list(chances(turns, 100).values()))
    truth, held, ratio = people.mean(), [], []
    for seed in range(300):
        told = np.full(len(people), np.nan)
        chosen = [int(name) for name in sequence(turns, seed)[:100]]
        told[chosen] = people[chosen]
        phases = Phases.of(panel, told, chance, pulls)
        held.append(phases.lower(0.05) <= truth)
        ratio.append((phases.people().mean - phases.lower(0.05)) / (phases.people(0.0).mean - phases.lower(0.05, 0.0)))
    assert 0.94 <= np.mean(held) <= 0.985
    assert np.mean(ratio) < 0.85


def test_how_many_labels_a_lead_needs() -> None:
    assert [labels_needed(points) for points in (10, 5, 2.5, 1)] == [45, 181, 723, 4520]


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.sampled_from("abcde"), max_size=30), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_chances_add_up_to_the_sample_and_every_prefix_takes_pull_requests_in_turn(
    turns: dict[str, str], count: int
) -> None:
    order = sequence(turns, 3)
    assert sorted(order) == sorted(turns)
    assert sum(chances(turns, count).values()) == pytest.approx(min(count, len(turns)))
    taken = [sum(turns[name] == pull for name in order[:count]) for pull in set(turns.values())]
    sizes = [sum(own == pull for own in turns.values()) for pull in set(turns.values())]
    most = max(taken, default=0)
    assert all(got >= min(size, most - 1) for got, size in zip(taken, sizes, strict=True))


def test_the_recorded_chances_are_the_shares_of_seeds_that_draw_a_turn() -> None:
    turns = {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "c1": "c", "c2": "c"}
    sequences = [sequence(turns, seed) for seed in range(4_000)]
    for count in (2, 4):
        for name, chance in chances(turns, count).items():
            assert np.mean([name in names[:count] for names in sequences]) == pytest.approx(chance, abs=0.03)


def test_the_exact_bound_of_a_share_is_the_published_one() -> None:
    special = pytest.importorskip("scipy.special")
    stats = pytest.importorskip("scipy.stats")
    for a, b, x in ((0.5, 1, 0.1), (18, 3, 0.9), (250.5, 80, 0.7), (1_500, 500, 0.74)):
        assert beta_share(x, a, b) == pytest.approx(special.betainc(a, b, x), abs=1e-6)
    won = np.array([1.0] * 18 + [0.0] * 2)
    assert share_lower(won, np.ones(20), 0.05) == pytest.approx(stats.beta.ppf(0.05, 18, 3), abs=1e-6)


def test_the_threshold_stops_where_people_no_longer_agree() -> None:
    scores = np.repeat([95.0, 85.0, 75.0, 65.0], 100)
    won = np.concatenate([np.ones(200), np.tile([1.0, 1, 0, 0, 0], 20), np.zeros(100)])
    told = np.where(np.arange(400) % 2 == 0, won, np.nan)
    by_share = {row.share: row for row in agreed_thresholds(scores, told, np.ones(400))}
    assert by_share[0.9].final_min == 80
    assert by_share[0.8].final_min == 80
    assert by_share[0.7].final_min == 70
    assert (by_share[0.7].turns, by_share[0.7].labels) == (300, 150)
    assert by_share[0.7].observed == pytest.approx(0.8)
    assert by_share[0.7].lower is not None and 0.7 < by_share[0.7].lower < 0.8
    nobody = agreed_thresholds(scores, np.full(400, np.nan), np.ones(400))
    assert all(row.final_min is None for row in nobody)


def test_votes_that_were_not_drawn_or_are_on_other_texts_or_skipped_never_count() -> None:
    chosen = panel_of("lab/one")
    scores = [score(f"t{i}", f"p{i}", {"lab/one": (1.0, 1.0)}, chosen) for i in range(40)]
    scores[0].made_with["candidates"] = "new texts"
    votes = [vote(f"t{i}", "ana", 1.0) for i in range(40)]
    votes[0].pair = "old texts"
    votes[1].drawn = None
    votes[2].skipped, votes[2].progress = "I know this repository", None
    votes.append(vote("t99", "ana", 1.0))
    found = calibrate(scores, votes, chosen)
    assert found.labels == 37
    assert found.set_aside == {"browsed": 1, "not-judged": 1, "skipped": 1, "texts-changed": 1}


def test_a_later_word_on_the_same_showing_replaces_the_earlier_one() -> None:
    chosen = panel_of("lab/one")
    scores = [score(f"t{i}", f"p{i}", {"lab/one": (1.0, 1.0)}, chosen) for i in range(4)]
    votes = [vote(f"t{i}", "ana", 0.0) for i in range(4)]
    votes.append(vote("t0", "ana", 1.0, at="2026-01-02T00:00:00.000Z"))
    found = calibrate(scores, votes, chosen)
    assert (found.labels, found.raters) == (4, 1)
    assert found.margin_alone == pytest.approx(-50)
    assert calibrate(scores, votes[::-1], chosen).margin_alone == found.margin_alone


def test_votes_follow_a_turn_that_a_new_draw_renamed_and_never_another_that_took_its_name() -> None:
    chosen = panel_of("lab/one")
    scores = [score(name, f"p-{name}", {"lab/one": (1.0, 1.0)}, chosen) for name in ("new", "old")]
    for judged, texts in zip(scores, ("texts of the turn", "texts of another"), strict=True):
        judged.made_with["candidates"] = texts
    votes = [vote("old", "ana", 0.0, pair="texts of the turn"), vote("gone", "ana", 1.0, pair="texts of nobody")]
    found = Labeled(scores, votes, chosen)
    assert [vote.item for vote in found.first] == ["new"]
    assert found.set_aside == {"not-judged": 1}
    again = vote("new", "ana", 1.0, pair="texts of the turn", key="another", at="2026-01-02T00:00:00.000Z")
    assert [vote.values for vote in Labeled(scores, [*votes, again], chosen).first] == [[1.0] * 5]


def test_fewer_pull_requests_than_asked_for_decide_nothing() -> None:
    chosen = panel_of("lab/one")
    scores = [score(f"t{i}", f"p{i}", {"lab/one": (1.0, i % 2)}, chosen) for i in range(60)]
    few = calibrate(scores, [vote(f"t{i}", "ana", 1.0) for i in range(29)], chosen)
    assert (few.decision, few.clusters) == ("undecided", 29)
    enough = calibrate(scores, [vote(f"t{i}", "ana", 1.0) for i in range(30)], chosen)
    assert (enough.decision, enough.clusters) == ("ahead", 30)
    assert calibrate(scores, [], chosen) == People(
        scope="nobody has voted", panel_margin=50.0, labels_needed=few.labels_needed | enough.labels_needed | NEEDED
    )
    assert calibrate([], [], chosen).decision == "undecided"


NEEDED = {"10": 45, "5": 181, "2.5": 723, "1": 4520}


def test_how_a_person_votes_is_told_person_by_person() -> None:
    chosen = panel_of("lab/one")
    scores = [score(f"t{i}", f"p{i}", {"lab/one": (1.0, 1.0)}, chosen) for i in range(10)]
    votes = [vote(f"t{i}", "ana", 1.0, order="challenger_first", seconds=20.0 + i) for i in range(8)]
    votes += [vote(f"t{i}", "ana", 0.5) for i in (8, 9)]
    votes += [vote("t0", "ana", 1.0, repeat=True), vote("t1", "ana", 0.0, repeat=True)]
    votes += [vote(f"t{i}", "bo", float(i % 2)) for i in range(4)]
    found = calibrate(scores, votes, chosen)
    ana, bo = found.by_rater
    assert (ana.votes, ana.ties, ana.first_shown, ana.repeats, ana.self_agreement) == (10, 0.2, 1.0, 2, 0.5)
    assert (ana.median_seconds, ana.with_panel, bo.with_panel) == (24.5, 0.8, 0.5)
    assert "two raters" in found.scope
    assert found.lcb_raters is None


def test_a_person_is_told_on_a_dimension_from_outside_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts alone here: on the first showing the two differ on it, on the second they are the same."""
    known = Registry[dimensions.Dimension]("dimension")
    known.add("restraint", dimensions.Dimension("?", "", ""))
    monkeypatch.setattr(dimensions, "FURTHER", known)
    keys = {"models": ["a"], "quorum": 1, "metric_keys": [*DIMENSIONS, "restraint"]}
    settings = Settings.model_validate({"judge": keys})
    votes = [Vote(judge="a", order=order, restraint=1.0, **dict.fromkeys(DIMENSIONS, 0.5)) for order in ORDERS]
    judged = [settle(Score(file=name, instance_id=name, votes=votes), settings) for name in ("one", "two")]
    cast = [vote(name, "ada", 0.5, restraint=restraint) for name, restraint in (("one", 1.0), ("two", 0.0))]
    cast += [vote(name, "ada", 0.5, restraint=1.0, repeat=True) for name in ("one", "two")]
    (ada,) = calibrate(judged, cast, settings).by_rater
    assert (ada.votes, ada.repeats, ada.self_agreement, ada.with_panel) == (2, 2, 0.5, 0.5)


def test_a_judge_that_does_not_count_for_a_turn_is_not_held_against_people() -> None:
    """As in its score: a judge with one order of two has said nothing yet."""
    settings = panel_of("a", "b")
    whole = score("one", "p", {"a": (1.0, 1.0), "b": (0.0, 0.0)}, settings)
    part = settle(whole.model_copy(update={"votes": whole.votes[1:]}), settings)
    assert part.parsed and part.score == 0.0
    assert np.isnan(Labeled([part], [], settings).judged[0, 0])
    assert Labeled([whole], [], settings).judged[0].tolist() == [0.5, -0.5]


def test_three_raters_who_lean_apart_widen_the_bound_for_people_like_them() -> None:
    chosen = panel_of("lab/one")
    draw = np.random.default_rng(1)
    scores = [score(f"t{i}", f"p{i}", {"lab/one": (float(i % 3 > 0), 1.0)}, chosen) for i in range(90)]
    leans = {"ana": 0.9, "bo": 0.6, "cy": 0.3}
    votes = [vote(f"t{i}", name, float(draw.random() < lean)) for i in range(90) for name, lean in leans.items()]
    found = calibrate(scores, votes, chosen)
    assert found.lcb_raters is not None and found.lcb is not None and found.lcb_raters < found.lcb - 0.1


def pandalm(shared: Path) -> tuple[Settings, list, list]:
    """999 items, GPT-3.5 in one order, three people; the first answer takes the challenger's place."""
    chosen = panel_of("gpt-3.5")
    values = {"1": 1.0, "2": 0.0}
    with (shared / "judgments/pandalm/labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = [
        score(f"t{i}", f"p{i}", {"gpt-3.5": [values.get(r["gpt35"], 0.5)] * 2}, chosen) for i, r in enumerate(rows)
    ]
    votes = [
        vote(f"t{i}", f"a{person}", values.get(row[f"annotator{person}"], 0.5), drawn={"probability": 1.0})
        for i, row in enumerate(rows)
        for person in (1, 2, 3)
    ]
    return chosen, scores, votes


# The trial gave 1.4 points and a correlation of 0.77 for "a GPT-4 panel", its prompts unnamed; these three give 1.35
# and 0.78. GPT-4 under single prompts is off by -0.6 to +2.4 points.
LLMBAR_PANELS = {
    "GPT-4": ("Metrics", "Metrics_Reference", "Reference"),
    "ChatGPT LLaMA2": ("Metrics",),
}


def llmbar(shared: Path, judges: str) -> tuple[Settings, list, list]:
    """The 419 items of the benchmark itself, each judged in both orders, one label an item."""
    prompts = LLMBAR_PANELS[judges]
    cast: dict[str, dict[str, tuple[float, float]]] = {}
    labels: dict[str, str] = {}
    with gzip.open(shared / "judgments/llmbar/verdicts.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            item = f"{row['subset']}-{row['item']}"
            if row["subset"].startswith("LLMBar") and row["judge"] in judges.split() and row["strategy"] in prompts:
                values = [{"1": 1.0, "2": 0.0}.get(row[w], 0.5) for w in ("winner_unswapped", "winner_swapped")]
                cast.setdefault(item, {})[f"{row['judge']}/{row['strategy']}"] = (values[0], values[1])
                labels[item] = row["label"]
    chosen = panel_of(*sorted(cast[next(iter(cast))]))
    scores = [score(item, item, verdicts, chosen) for item, verdicts in cast.items()]
    votes = [vote(item, "label", float(label == "1"), drawn={"probability": 1.0}) for item, label in labels.items()]
    return chosen, scores, votes


def test_gpt_35_is_1_9_points_too_kind_on_pandalms_labels(shared: Path) -> None:
    chosen, scores, votes = pandalm(shared)
    found = calibrate(scores, votes, chosen)
    assert (found.labels, found.raters) == (999, 3)
    assert found.bias is not None and found.bias / 2 == pytest.approx(1.885, abs=0.001)
    assert found.by_judge[0].bias == pytest.approx(found.bias)
    assert found.agreement["total"] == pytest.approx(0.9, abs=0.05)


def test_a_gpt_4_panel_is_1_4_points_too_kind_on_llmbars_labels(shared: Path) -> None:
    chosen, scores, votes = llmbar(shared, "GPT-4")
    found = calibrate(scores, votes, chosen)
    assert found.labels == 419
    assert found.bias is not None and found.bias / 2 == pytest.approx(1.35, abs=0.01)


@pytest.mark.parametrize(
    ("data", "closer"),
    [("pandalm", 0.81), ("GPT-4", 0.65), ("ChatGPT LLaMA2", 1.0)],
)
def test_thirty_real_labels_bound_what_all_of_them_say(shared: Path, data: str, closer: float) -> None:
    _, scores, votes = pandalm(shared) if data == "pandalm" else llmbar(shared, data)
    every = {row.file: [] for row in scores}
    for one in votes:
        every[one.item].append(one.progress - 0.5)
    people = np.array([np.mean(said) for said in every.values()])
    panel = np.array([row.delta for row in scores])
    held, ratio = [], []
    for seed in range(400):
        phases = Phases.of(panel, some(people, 30, seed), np.ones(len(panel)), np.arange(len(panel)))
        held.append(phases.lower(0.05) <= people.mean())
        ratio.append(phases.people().error / phases.people(0.0).error)
    assert np.mean(held) >= 0.94
    assert np.mean(ratio) == pytest.approx(closer, abs=0.02)


def test_the_turns_on_which_people_and_panel_differ_most_come_first_with_what_both_said() -> None:
    chosen = panel_of("lab/one", "lab/two")
    verdicts = {"lab/one": (1.0, 1.0), "lab/two": (1.0, 0.5)}
    scores = [
        score(f"t{i}", f"p{i}", verdicts, chosen, reason=f"because {i} " + "x" * 500 * (i == 1)) for i in range(12)
    ]
    votes = [vote(f"t{i}", "ana", i / 11, reason="it was never read" * (i == 0)) for i in range(12)]
    differ = calibrate(scores, votes, chosen).differ
    assert len(differ) == 10
    assert [row.item for row in differ[:8]] == [f"t{i}" for i in range(8)]
    assert (differ[0].panel, differ[0].people) == (75.0, -100.0)
    assert differ[0].panel_reason == "lab/one: because 0 \nlab/two: because 0 "
    assert differ[0].people_reason == "ana: it was never read"
    assert len(differ[1].panel_reason) == 400


def test_what_people_prefer_is_told_by_bands_of_the_panels_score() -> None:
    chosen = panel_of("lab/one")
    worth = [(1.0, 1.0), (1.0, 0.5), (0.5, 0.5), (0.0, 0.0)]
    scores = [score(f"t{i}", f"p{i}", {"lab/one": worth[i % 4]}, chosen) for i in range(40)]
    votes = [vote(f"t{i}", "ana", (1.0, 0.5, 0.0)[i % 3]) for i in range(40)]
    rows = {row.band: row for row in calibrate(scores, votes, chosen).confusion}
    assert list(rows) == ["80 to 100", "66 to 80", "34 to 66", "20 to 34", "0 to 20"]
    assert [row.challenger + row.tie + row.opponent for row in rows.values()] == [10, 10, 10, 0, 10]
    assert (rows["80 to 100"].challenger, rows["80 to 100"].tie, rows["80 to 100"].opponent) == (4, 3, 3)
