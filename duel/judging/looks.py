"""Repeated looks: who looks often enough accepts a challenger that is no better than the king.

Every verdict on votes that were not there before, or by another statistic (other dimensions, quorum, judges, clusters),
is a look, and is written down in `score/_looks.json`, which a rerun, a regate and a change of a threshold leave as it
is. Two figures say what the looks have cost so far:

`false_accept_bound`   the sum of the levels that were used (Bonferroni's inequality): holds whatever depends on what
`false_accept_chance`  at equal challengers: looks at one challenger's growing votes are a random walk that is looked at
                       now and then, whose chance to cross is integrated look by look (Armitage, McPherson & Rowe 1969);
                       challengers are taken for independent

With `[duel] looks` = K > 1 the level of the gate is spent over K planned looks by Lan and DeMets' (1983) method with
their approximation of O'Brien and Fleming's boundary, a(t) = 2 - 2 Phi(z / sqrt t) where z is the normal quantile of
1 - level/2: little at the first looks, most at the last; whoever stops at K looks accepts a challenger that is no
better with probability `gate_alpha` at most. A look beyond the plan has nothing left to spend. With K = 1 nothing is
planned: every look uses the whole level, and the figures above tell what that amounts to.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import orjson

from duel.errors import UserError
from duel.judging.statistics import bisect
from duel.records import Looks
from duel.workspace import Workspace

FILE = "_looks.json"
FORMAT = "duel-looks/1"
METHOD = "Lan-DeMets alpha spending, O'Brien-Fleming type"
UNPLANNED = "none: every look uses the whole level"
Look = Mapping[str, Any]  # what the history keeps of one verdict
_NORMAL = NormalDist()
# Cells of the grid on which the walk's density is carried from look to look, and how many standard deviations it spans:
# 20 looks at 0.05 come out within 0.0002 of 2,000 cells.
_CELLS, _SPAN = 400, 8.0
# A look is a step of the walk when it has seen 1 % more than the last; a shorter one falls between the cells.
_GROWTH = 1.01


def read(workspace: Workspace) -> list[dict[str, Any]]:
    """The looks taken in this workspace, oldest first. Raises UserError where the file is damaged."""
    file = workspace.root / "score" / FILE
    try:
        looks = [dict(look) for look in orjson.loads(file.read_bytes())["looks"]]
        whole = (
            0 <= look["alpha"] < 1 and look["clusters"] >= 0 and look["challenger"] and look["votes"] for look in looks
        )
        if not all(whole):
            raise ValueError("a look without its level, its clusters, its challenger or its votes")
        return looks
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        hint = "restore it, or delete it if you accept that earlier looks are forgotten"
        raise UserError("the history of looks cannot be read", where=file, value=error, hint=hint) from None


def save(workspace: Workspace, looks: Sequence[Look]) -> None:
    """Keep the history, if it has changed."""
    file, option = workspace.root / "score" / FILE, orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    data = orjson.dumps({"format": FORMAT, "looks": list(looks)}, option=option)
    if not file.exists() or file.read_bytes() != data:
        workspace.save(file, data)


def level(
    earlier: Sequence[Look], clusters: int, alpha: float, planned: int, tested: str = "", parsed: float = math.inf
) -> float:
    """The level that the next look at a challenger may use; 0 beyond the plan.

    `earlier` are the looks at it so far, each with its `clusters` and the `alpha` it used; `clusters` is what the walk
    has seen by now. Without a plan another statistic (`tested`) on hardly more turns (`parsed`) has no level left: the
    best of many statistics is no test.
    """
    if planned == 1:
        others = (look for look in earlier if other_statistic(look, tested))
        return 0.0 if any(parsed < _GROWTH * int(look.get("parsed") or 0) for look in others) else alpha
    number = len(earlier) + 1
    if number > planned:
        return 0.0
    spend = _spent(number / planned, alpha) - _spent((number - 1) / planned, alpha)
    seen = [int(look["clusters"]) for look in earlier]
    if any(b < _GROWTH * a for a, b in zip(seen, [*seen[1:], clusters], strict=False)):
        return spend  # hardly a new turn since the last look: Bonferroni needs no correlation
    walk = _Walk()
    for information, look in zip(seen, earlier, strict=True):
        walk.cut(information, _bound(float(look["alpha"])))
    return 1 - _NORMAL.cdf(bisect(lambda bound: walk.chance_above(clusters, bound) > spend, _SPAN, 50)[1])


def other_statistic(look: Look, tested: str) -> bool:
    """True when `look` tested something else. A look that an older version wrote down does not say what it tested."""
    return bool(tested) and look.get("statistic", tested) != tested


def _spent(share: float, alpha: float) -> float:
    return 2 - 2 * _NORMAL.cdf(_NORMAL.inv_cdf(1 - alpha / 2) / share**0.5) if share > 0 else 0.0


def _bound(alpha: float) -> float:
    return _NORMAL.inv_cdf(1 - alpha) if alpha > 0 else _SPAN


class _Walk:
    """The density of a walk without drift that has stayed below every bound so far, on a grid."""

    def __init__(self) -> None:
        self.places, self.weights, self.variance = np.zeros(1), np.ones(1), 0.0

    def chance_above(self, information: float, bound: float) -> float:
        """The chance to exceed `bound` at the next look."""
        steps = (bound * information**0.5 - self.places) / (information - self.variance) ** 0.5
        return float(self.weights @ [0.5 * math.erfc(step / math.sqrt(2)) for step in steps.tolist()])

    def cut(self, information: float, bound: float) -> float:
        """Go on to the next look, drop what exceeds `bound` there, and return how much that was."""
        above = self.chance_above(information, bound)
        edges = np.linspace(-_SPAN, bound, _CELLS + 1) * information**0.5
        places = (edges[1:] + edges[:-1]) / 2
        step = (information - self.variance) ** 0.5
        spread = np.exp(-0.5 * ((places[:, None] - self.places) / step) ** 2) / (step * math.sqrt(2 * math.pi))
        self.places, self.weights, self.variance = places, spread @ self.weights * (edges[1] - edges[0]), information
        return above


def chances(looks: Sequence[Look]) -> tuple[float, float]:
    """(bound, chance) of having accepted a challenger that is no better by now: see the head of this module."""
    bound = min(1.0, sum(float(look["alpha"]) for look in looks))
    clear = 1.0
    for challenger in dict.fromkeys(look["challenger"] for look in looks):
        walk, seen, chance, extra = _Walk(), 0.0, 0.0, 0.0
        for look in (look for look in looks if look["challenger"] == challenger):
            if seen and look["clusters"] < _GROWTH * seen:
                extra += float(look["alpha"])  # hardly any new pull requests: its level in full
            elif look["clusters"] > 0:
                seen = float(look["clusters"])
                chance += walk.cut(seen, _bound(float(look["alpha"])))
        clear *= 1 - min(1.0, chance + extra)
    return bound, min(bound, 1 - clear)


def before(looks: Sequence[Look], challenger: str, votes: str, tested: str = "") -> list[Look]:
    """The looks at `challenger` that came before the one at these votes by this statistic."""
    own = [look for look in looks if look["challenger"] == challenger]
    same = (place for place, look in enumerate(own) if look["votes"] == votes and not other_statistic(look, tested))
    return own[: next(same, len(own))]


def joined(looks: Sequence[Look], look: Look) -> list[dict[str, Any]]:
    """The history with `look` at its end, unless these votes were looked at before by the same statistic."""
    kept = [dict(other) for other in looks]
    earlier = before(kept, look["challenger"], look["votes"], str(look.get("statistic", "")))
    known = len(earlier) < sum(other["challenger"] == look["challenger"] for other in kept)
    return kept if known else [*kept, dict(look)]


def summary(looks: Sequence[Look], planned: int, challenger: str) -> Looks:
    """What the verdict on `challenger` says of all `looks`, its own included."""
    bound, chance = chances(looks)
    own = [look for look in looks if look["challenger"] == challenger]
    told: dict[str, Any] = {"planned": planned, "method": METHOD if planned > 1 else UNPLANNED, "this": len(own)}
    told |= {"challengers": len({look["challenger"] for look in looks}), "total": len(looks)}
    told |= {"alpha_spent": sum(float(look["alpha"]) for look in own)}
    told |= {"false_accept_bound": bound, "false_accept_chance": chance, "history": [dict(look) for look in looks]}
    return Looks(challenger=challenger, **told)
