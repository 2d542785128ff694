"""What people's votes do to the verdict: they stand beside it, or their bound is the gate's."""

from __future__ import annotations

from typing import Any

from duel.records import People
from duel.settings import Settings

GATE = "people_lcb"


def weighed(verdict: dict[str, Any], people: People, settings: Settings) -> dict[str, Any]:
    """`verdict` with `people` in it, as `[review] weight` asks.

    With "require" the gate on the panel's bound gives way to one on people's: a challenger is accepted only where it
    holds, and the decision is `undecided` under `labels_min` labeled pull requests.
    """
    weight = settings.review.weight
    if weight == "none" or (weight == "report" and not people.labels):
        return verdict
    verdict = verdict | {"people": people.model_dump(mode="json")}
    if weight == "report":
        return verdict
    own = {"name": GATE, "value": people.lcb, "threshold": 0.0, "held": people.decision == "ahead"}
    gates = [own if gate["name"] == "lcb" else gate for gate in verdict["gates"]]
    accepted = all(gate["held"] for gate in gates)
    open_still = people.decision == "undecided" or verdict["decision"] == "undecided"
    decision = "accepted" if accepted else "undecided" if open_still else "rejected"
    return verdict | {"gates": gates, "accepted": accepted, "decision": decision, "why": _why(verdict, people)}


def _why(verdict: dict[str, Any], people: People) -> list[str]:
    told = {
        "ahead": "People's votes show that the challenger is ahead.",
        "not-shown": "People's votes do not show that the challenger is ahead.",
        "undecided": f"People have voted on {people.clusters} pull requests, too few to decide on.",
    }
    return [*verdict.get("why", []), told[people.decision]]
