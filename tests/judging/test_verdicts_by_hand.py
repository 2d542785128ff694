"""The verdict's conditions and what they rest on, each worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from duel.judging import gate
from duel.judging.gate import FIGURES, Evidence, statistic
from duel.judging.scoring import Columns
from duel.records import Score
from duel.settings import Settings
from tests.judging.few_turns import NO, case, chosen, decided, look, score, won

# -- the conditions ------------------------------------------------------------------------------------------------


def test_the_conditions_stand_with_their_figures_and_thresholds() -> None:
    verdict = decided(won(), chosen(win_margin=40.0, max_leak_frac=0.1, min_valid_turn_frac=0.6))
    found = {gate.name: (gate.value, gate.threshold, gate.held) for gate in verdict.gates}
    assert found["parsed_fraction"] == (1.0, 0.6, True)
    assert found["margin"] == (pytest.approx(100 * 2 * 10 / 12 - 100), 40.0, True)
    assert found["lcb"] == (verdict.lcb, 0.0, True)
    assert found["clusters"] == (12, 3, True)
    assert found["leak_fraction"] == (0.0, 0.1, True)
    assert found["missing_votes"] == (verdict.lcb, 0.0, True)  # no vote is missing
    assert verdict.accepted and verdict.decision == "accepted" and verdict.win_margin == 40.0


def test_the_verdict_says_whom_it_is_about_and_what_it_was_made_with() -> None:
    told = {"rubric": "r", "panel": "p"}
    two, one = (decided(won(), mode=mode, made_with=told, left_out={"b": 1, "a": 2}) for mode in (2, 1))
    assert (two.mode, two.opponent, one.mode, one.opponent) == (2, "king", 1, "assistant")
    assert list(two.left_out.items()) == [("a", 2), ("b", 1)]
    assert two.made_with["rubric"] == "r" and two.made_with["panel"] == "p"
    assert two.made_with["settings"] == gate.gate_hash(chosen())
    assert two.made_with["statistic"] == statistic(chosen(), "repo")
    assert two.made_with["votes"] == case(won()).columns.digest()
    bare = decided(won()).made_with
    assert (bare["rubric"], bare["panel"]) == ("", "")


def test_a_bound_of_exactly_nothing_is_no_win() -> None:
    draws = decided([score(number, (0.5, 0.5)) for number in range(200)], chosen(win_margin=0.0))
    held = {gate.name: gate.held for gate in draws.gates}
    assert draws.lcb == 0.0 and held["margin"] and not held["lcb"] and not held["missing_votes"]
    assert draws.decision == "rejected"


def test_with_the_margin_bound_the_bound_must_reach_the_margin_in_deltas() -> None:
    [bound] = [g for g in decided(won(), chosen(margin_bound=True, win_margin=10.0)).gates if g.name == "lcb"]
    assert bound.threshold == 0.05
    sure = decided([score(number) for number in range(200)], chosen(margin_bound=True, win_margin=100.0))
    assert sure.lcb == 0.5 and sure.accepted  # it reaches the margin exactly


def test_the_what_if_table_says_what_another_margin_would_decide() -> None:
    rows = decided(won(), chosen(win_margin=66.0, length_control=False)).what_if.margins
    found = {row.win_margin: (row.decision, row.current) for row in rows}
    assert sorted(found) == [0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 66.0] == [row.win_margin for row in rows]
    assert found[66.0] == ("accepted", True) and found[2.0] == ("accepted", False)
    late = decided(won(), chosen(win_margin=67.0, length_control=False)).what_if.margins
    assert [row.decision for row in late][-2:] == ["accepted", "rejected"]


@pytest.mark.parametrize(
    ("scores", "duel", "said"),
    [
        (won(), {"win_margin": 90.0}, "The margin is under the one that is asked for."),
        (won(), {"min_clusters": 13}, "12 pull requests are too few to decide on; 13 are needed."),
        ([score(n, (1.0, NO)) for n in range(9)], {}, "Too few turns are parsed."),
        (won(12, 6), {"win_margin": 0.0}, "The lower bound does not exceed 0: what is seen may be noise."),
        (won(12, 4), {"margin_bound": True, "win_margin": 33}, "The lower bound does not exceed win_margin: what"),
    ],
)
def test_a_verdict_names_what_failed(scores: list[Score], duel: dict[str, Any], said: str) -> None:
    verdict = decided(scores, chosen(**duel))
    assert any(sentence.startswith(said) for sentence in verdict.why), verdict.why
    assert not verdict.accepted and not any("Every condition" in sentence for sentence in verdict.why)


def test_as_many_clusters_as_are_asked_for_are_enough() -> None:
    assert decided(won(), chosen(min_clusters=12)).decision == "accepted"
    assert decided(won(), chosen(min_clusters=13)).decision == "undecided"


def test_a_verdict_beyond_the_plan_says_that_the_looks_are_used_up() -> None:
    first = decided(won(), chosen(looks=2)).looks
    assert first is not None
    late = [look(first.challenger, clusters=10 * n, alpha=0.02) for n in (1, 2)]
    why = decided(won(), chosen(looks=2), earlier=late).why
    assert why[0].startswith("The planned looks at this challenger are used up")
    assert not any("missing votes" in sentence for sentence in why)


def test_a_verdict_on_a_challenger_that_leaks_says_so() -> None:
    leaking = decided(won(), kept_out={f"x{number}": "leak" for number in range(9)})
    assert leaking.why[0] == "Too many challengers leak the pull request or speak to the judges."


def test_figures_of_other_packages_stand_beside_those_of_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"what": "a", "figure": "1", "meaning": "b"}
    known = {name: FIGURES[name] for name in FIGURES}
    monkeypatch.setattr(gate, "FIGURES", {**known, "other": lambda _: {"figures": {"mine": [row]}, "margin": 7.0}})
    verdict = decided(won())
    assert verdict.figures == {"mine": [row]} and verdict.margin == 7.0


def test_an_accepted_verdict_says_what_it_did_not_test() -> None:
    plain, bounded = decided(won(), chosen(win_margin=1.0)), decided(won(), chosen(win_margin=1.0, margin_bound=True))
    assert plain.accepted and [sentence[:15] for sentence in plain.why] == ["Every condition", "The margin is t"]
    assert bounded.accepted and bounded.why == ["Every condition of the gate holds."]
    few = decided([score(n, repo="o__r") for n in range(4)], chosen(min_clusters=5)).why
    assert few == [few[0], few[-1]] and "come from 4 repositories, fewer than 5" in few[-1]
    by_choice = decided([score(n) for n in range(4)], chosen(min_clusters=5, cluster_by="instance_id")).why
    assert len(by_choice) == 1


def test_length_explains_a_win_only_where_it_is_controlled_for() -> None:
    evidence = Evidence(case(won()))
    assert not gate.length_explains(evidence)
    for margin, explains in ((None, True), (0.0, True), (-0.1, True), (0.1, False)):
        length = evidence.bounds.length.model_copy(update={"lcb": margin})
        evidence.bounds = evidence.bounds.model_copy(update={"length": length})
        evidence.settings = chosen()
        assert gate.length_explains(evidence) is explains
        evidence.settings = chosen(length_control=False)
        assert not gate.length_explains(evidence)


@pytest.mark.parametrize(
    ("sections", "other"),
    [
        ({"judge": {"metric_keys": ["progress"]}}, True),
        ({"judge": {"quorum": 1}}, True),
        ({"judge": {"tie_band": 0.1}}, True),
        ({"judge": {"strategy": "screen"}}, True),
        ({"judge": {"ineligible": True}}, True),
        ({"duel": {"win_margin": 3.0}}, True),
        ({"report": {"final_min": 81.0}}, True),
        ({"judge": {"temperature": 0.5}}, False),
        ({"generate": {"max_model_len": 4096}}, False),
    ],
)
def test_the_gates_fingerprint_is_that_of_what_turns_votes_into_a_verdict(
    sections: dict[str, Any], other: bool
) -> None:
    assert (gate.gate_hash(Settings.model_validate(sections)) != gate.gate_hash(Settings())) is other


# -- what the gate rests on ----------------------------------------------------------------------------------------


def test_a_case_counts_its_leaks_over_all_turns_that_were_brought() -> None:
    kept_out = {"x": "leak", "y": "attempt", "z": "protocol"}
    evidence = Evidence(case(won(7), kept_out=kept_out))
    assert evidence.leak_fraction == 0.2
    assert Evidence(case([], kept_out={})).leak_fraction is None


def test_an_empty_case_has_no_figure() -> None:
    nothing = Evidence(case([]))
    assert (nothing.parsed, nothing.parsed_fraction, nothing.points, nothing.margin, nothing.noise) == (0, *[None] * 4)
    unread = Evidence(case([score(1, (NO, NO))]))
    assert (unread.parsed, unread.parsed_fraction, unread.points, unread.margin) == (0, 0.0, None, None)


def test_the_noise_of_a_case_is_counted_like_its_duel() -> None:
    same = Columns.of(won(5), ["a", "b"])
    found = Evidence(case(won(), noise=same)).noise
    assert found is not None and len(found.columns) == 5
    assert Evidence(case(won(), noise=Columns.of([], ["a", "b"]))).noise is None


def test_under_the_screen_the_gate_rests_on_the_first_vote_of_each_turn() -> None:
    screened = Settings.model_validate({"judge": {"models": ["a", "b"], "strategy": "screen"}})
    for settings, votes in ((chosen(), 4), (screened, 1)):
        evidence = Evidence(case(won(5), settings))
        assert evidence.table.due.sum((1, 2)).tolist() == [votes] * 5
        assert evidence.panel.due.sum((1, 2)).tolist() == [4] * 5


def test_who_wrote_the_challengers_and_in_which_mode_makes_it_this_challenger() -> None:
    other = [one.model_copy(update={"made_with": {**one.made_with, "challenger": "d"}}) for one in won()]
    names = [Evidence(case(*given)).challenger for given in ((won(),), (won(5),), (other,), ([*won(), *other],))]
    assert names[0] == names[1] and len(set(names)) == 3
    assert Evidence(case(won(), mode=1)).challenger != names[0]


@pytest.mark.parametrize(
    ("sections", "other"),
    [
        ({"judge": {"metric_keys": ["progress"]}}, True),
        ({"judge": {"models": ["a", "b", "c"]}}, True),
        ({"judge": {"orders": "king_first"}}, True),
        ({"judge": {"strategy": "screen"}}, True),
        ({"judge": {"ineligible": True}}, True),
        ({"judge": {"quorum": 1}}, True),
        ({"judge": {"tie_band": 0.2}}, True),
        ({"duel": {"mode": 1}}, True),
        ({"duel": {"seed": 1}}, True),
        ({"duel": {"bootstrap_resamples": 300}}, True),
        ({"audit": {"enforce": False}}, True),
        ({"audit": {"leak_max": 2.0}}, True),
        ({"duel": {"win_margin": 9.0}}, False),
        ({"audit": {"scrub_secrets": False}}, False),
        ({"judge": {"temperature": 0.5}}, False),
    ],
)
def test_what_is_tested_has_a_fingerprint_and_thresholds_are_no_part_of_it(
    sections: dict[str, Any], other: bool
) -> None:
    assert (statistic(Settings.model_validate(sections), "repo") != statistic(Settings(), "repo")) is other
    assert statistic(Settings(), "repo") != statistic(Settings(), "file")
