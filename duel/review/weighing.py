"""What people's votes do to the verdict: they stand beside it, or the gate speaks of their estimate."""

import numpy as np
from numpy.typing import NDArray

from duel.judging.gate import at_least
from duel.judging.verdict_figures.certainty import thresholds
from duel.records import Gate, People, Verdict
from duel.records.decision import Decision
from duel.settings import Settings


def weighed(verdict: Verdict, people: People, settings: Settings, scores: NDArray[np.float64] | None = None) -> Verdict:
    """`verdict` with `people` in it, as `[review] weight` asks; `scores` (T,) are the panel's, for the what-if table.

    With "require" margin, bound and the bound with the missing votes made good are all people's: a challenger is
    accepted only where they hold, and the decision is `undecided` under `labels_min` labeled pull requests.
    """
    weight = settings.review.weight
    if weight == "none" or (weight == "report" and not people.labels):
        return verdict
    what_if = verdict.what_if
    wished = [row.final_min for row in people.final_min if row.final_min is not None]
    if scores is not None and wished:  # a row for every `final_min` that people's votes support
        what_if = what_if.model_copy(update={"thresholds": thresholds(scores, settings, wished)})
    found = verdict.model_copy(update={"people": people, "what_if": what_if})
    if weight != "require":
        return found
    gates = _gates_at(verdict, people, settings, settings.duel.win_margin)
    decision = _decision(gates, people)
    margins = [
        row.model_copy(update={"decision": _decision(_gates_at(verdict, people, settings, row.win_margin), people)})
        for row in what_if.margins
    ]
    return found.model_copy(
        update={
            "gates": gates,
            "accepted": decision == "accepted",
            "decision": decision,
            "why": [*_told(people, gates), *(f"By the panel alone: {sentence}" for sentence in verdict.why)],
            "what_if": what_if.model_copy(update={"margins": margins}),
        }
    )


def _gates_at(verdict: Verdict, people: People, settings: Settings, win_margin: float) -> list[Gate]:
    """The verdict's gates with those on the panel's margin and bounds replaced by people's."""
    reach = win_margin / 200 if settings.duel.margin_bound else 0.0
    missing, panel = people.lcb, verdict.missing.lcb if verdict.missing else None
    if missing is not None and panel is not None and verdict.lcb is not None:
        # It rests on parsed turns like the panel's, and so it loses what the missing votes take from that.
        missing += min(0.0, panel - verdict.lcb)
    own = {"margin": at_least("people_margin", people.margin, win_margin)}
    for name, mine, value, threshold in (
        ("lcb", "people_lcb", people.lcb, reach),
        ("missing_votes", "people_missing", missing, 0.0),
    ):
        found = at_least(mine, value, threshold)
        held = found.held and people.decision != "undecided" and value is not None and value > 0
        own[name] = found.model_copy(update={"held": held})
    return [own.get(gate.name, gate) for gate in verdict.gates]


def _decision(gates: list[Gate], people: People) -> Decision:
    if all(gate.held for gate in gates):
        return "accepted"
    few = any(gate.name == "clusters" and not gate.held for gate in gates)
    return "undecided" if few or people.decision == "undecided" else "rejected"


def _told(people: People, gates: list[Gate]) -> list[str]:
    told = {
        "ahead": "People's votes show that the challenger is ahead.",
        "not-shown": "People's votes do not show that the challenger is ahead.",
        "undecided": f"People have voted on {people.clusters} pull requests, too few to decide on.",
    }
    failed = {gate.name for gate in gates if not gate.held} if people.decision == "ahead" else set()
    more = {
        "people_margin": "The margin by people's votes is under the one that is asked for.",
        "people_missing": "With the missing votes made good, people's bound is not above 0.",
    }
    return [told[people.decision], *(sentence for name, sentence in more.items() if name in failed)]
