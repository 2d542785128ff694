"""The report's section on what the commands did: figures where they ran, one sentence where nothing could."""

from __future__ import annotations

from duel.judging.scoring import settle
from duel.records import DIMENSIONS, Score, Vote
from duel.reporting.listed_turns import agreement
from duel.reporting.run_sections import execution
from duel.reporting.tally import Executed
from tests.review.judged import panel_of

PANEL = panel_of("j0", "j1", "j2")


def score(evidence: str, *values: tuple[float, float]) -> Score:
    votes = [
        Vote(judge=f"j{place}", order=order, **dict.fromkeys(DIMENSIONS, value))
        for place, both in enumerate(values)
        for order, value in zip(("king_first", "challenger_first"), both, strict=True)
    ]
    return settle(Score(file="p", instance_id="i", evidence=evidence, votes=votes), PANEL)


def executed() -> Executed:
    found = Executed()
    for one in (
        score("shown", (1.0, 1.0), (1.0, 1.0), (1.0, 0.5)),
        score("same", (1.0, 0.0), (0.0, 0.0), (0.0, 0.0)),
        score("unfaithful", (1.0, 1.0), (0.0, 0.0), (1.0, 0.0)),
        score("<b>odd</b>", (1.0, 1.0)),
    ):
        found.add(one.evidence, agreement(one, PANEL))
    return found


def test_turns_with_evidence_reasons_and_agreement_are_counted() -> None:
    found = executed().summary({"executor": "bubblewrap 1"})
    assert (found["evidence"], found["same"], found["without"]) == (2, 1, {"<b>odd</b>": 1, "unfaithful": 1})
    assert found["agreement"] == {"with": 4 / 6, "without": 0.0}
    assert found["flip_rate"] == {"with": 1 / 6, "without": 1 / 4}
    turns, judges = execution(found).tables
    assert turns.rows[0] == ["judges saw what both commands did", "2", "50.0 %"]
    assert [row[1:] for row in judges.rows] == [["2", "66.7 %", "16.7 %"], ["2", "0.0 %", "25.0 %"]]


def test_a_report_says_so_where_nothing_could_run_or_nothing_was_asked_to() -> None:
    nothing = Executed()
    nothing.add("", agreement(score("", (1.0, 1.0)), PANEL))
    (said,) = execution(nothing.summary({"why_not": "bubblewrap is not installed"})).notes
    assert said.startswith("Nothing could be run: bubblewrap is not installed.")
    (said,) = execution(nothing.summary({"why_not": "<b>bwrap</b>: [no](http://x)"})).notes
    assert said.startswith("Nothing could be run: `<b>bwrap</b>`: `[no](http://x)`.")
    (said,) = execution(nothing.summary({})).notes
    assert "`[execute] backend` says where" in said


def test_judges_agree_and_flip_on_the_dimensions_that_count_as_in_the_score() -> None:
    """One judge flips on grounding alone, and the two differ on it alone."""
    settings = panel_of(judge={"models": ["j0", "j1"], "quorum": 1, "metric_keys": ["correctness"]})
    won, others = {"correctness": 1.0}, DIMENSIONS[1:]
    votes = [
        Vote(judge=judge, order=order, **won, **dict.fromkeys(others, value))
        for judge, values in (("j0", (0.0, 0.0)), ("j1", (1.0, 0.0)))
        for order, value in zip(("king_first", "challenger_first"), values, strict=True)
    ]
    narrow = settle(Score(file="p", instance_id="i", votes=votes), settings)
    assert agreement(narrow, settings) == {"turns": 1, "agreed": 1, "pairs": 1, "flipped": 0, "asked": 2}
    wide = settle(narrow, PANEL)
    assert agreement(wide, PANEL) == {"turns": 1, "agreed": 0, "pairs": 1, "flipped": 1, "asked": 2}
