"""What people's votes do to the verdict: they stand beside it, or their bound is the gate's."""

from __future__ import annotations

from duel.records import Gate, People, Verdict
from duel.settings import Settings

GATE = "people_lcb"


def weighed(verdict: Verdict, people: People, settings: Settings) -> Verdict:
    """`verdict` with `people` in it, as `[review] weight` asks.

    With "require" the gate on the panel's bound gives way to one on people's: a challenger is accepted only where it
    holds, and the decision is `undecided` under `labels_min` labeled pull requests.
    """
    weight = settings.review.weight
    if weight == "none" or (weight == "report" and not people.labels):
        return verdict
    if weight == "report":
        return verdict.model_copy(update={"people": people})
    own = Gate(name=GATE, value=people.lcb, threshold=0.0, held=people.decision == "ahead")
    gates = [own if gate.name == "lcb" else gate for gate in verdict.gates]
    accepted = all(gate.held for gate in gates)
    open_still = people.decision == "undecided" or verdict.decision == "undecided"
    decision = "accepted" if accepted else "undecided" if open_still else "rejected"
    why = [*verdict.why, _told(people)]
    changed = {"people": people, "gates": gates, "accepted": accepted, "decision": decision, "why": why}
    return verdict.model_copy(update=changed)


def _told(people: People) -> str:
    told = {
        "ahead": "People's votes show that the challenger is ahead.",
        "not-shown": "People's votes do not show that the challenger is ahead.",
        "undecided": f"People have voted on {people.clusters} pull requests, too few to decide on.",
    }
    return told[people.decision]
