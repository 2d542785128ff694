"""Repeated looks: who looks often enough accepts a challenger that is no better than the king.

Every verdict on votes that were not there before is a look, and is written down in `score/_looks.json`, which a rerun
and a regate leave as it is. Two figures say what the looks have cost so far:

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

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from duel.errors import UserError
from duel.judging.rubric import short_hash
from duel.records import Score
from duel.workspace import Workspace

FILE = "_looks.json"
FORMAT = "duel-looks/1"
METHOD = "Lan-DeMets alpha spending, O'Brien-Fleming type"
UNPLANNED = "none: every look uses the whole level"
_NORMAL = NormalDist()
# Cells of the grid on which the walk's density is carried from look to look, and how many standard deviations it spans:
# 20 looks at 0.05 come out within 0.0002 of 2,000 cells.
_CELLS = 400
_SPAN = 8.0


def path(workspace: Workspace) -> Path:
    """The history of looks."""
    return workspace.root / "score" / FILE


def read(workspace: Workspace) -> list[dict[str, Any]]:
    """The looks taken in this workspace, oldest first. Raises UserError where the file is damaged."""
    import orjson

    file = path(workspace)
    try:
        kept = orjson.loads(file.read_bytes())
        return [dict(look) for look in kept["looks"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            "the history of looks cannot be read",
            where=file,
            value=error,
            hint="restore it, or delete it if you accept that earlier looks are forgotten",
        ) from None


def save(workspace: Workspace, looks: Sequence[Mapping[str, Any]]) -> None:
    """Keep the history, if it has changed."""
    import orjson

    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    data = orjson.dumps({"format": FORMAT, "looks": list(looks)}, option=option)
    if not path(workspace).exists() or path(workspace).read_bytes() != data:
        workspace.save(path(workspace), data)


def challenger_of(scores: Sequence[Score]) -> str:
    """The fingerprint of the challenger that `scores` judge: who wrote it, with which prompt, against what."""
    return short_hash(sorted({(score.mode, score.made_with.get("challenger", "")) for score in scores}))


def votes_of(scores: Sequence[Score]) -> str:
    """The fingerprint of all votes, by which a verdict on the same votes is known to be no new look."""
    return short_hash(
        [
            [s.file, s.made_with.get("candidates", ""), [[v.judge, v.order, *_values(v)] for v in s.votes if v.parsed]]
            for s in scores
        ]
    )


def _values(vote: Any) -> list[float]:
    return [vote.correctness, vote.grounding, vote.progress, vote.protocol, vote.efficiency]


def level(earlier: Sequence[Mapping[str, Any]], clusters: int, alpha: float, planned: int) -> float:
    """The level that the next look at a challenger may use; 0 beyond the plan.

    `earlier` are the looks at it so far, each with its `clusters` and the `alpha` it used; `clusters` is what the walk
    has seen by now.
    """
    if planned == 1:
        return alpha
    number = len(earlier) + 1
    if number > planned:
        return 0.0
    spend = _spent(number / planned, alpha) - _spent((number - 1) / planned, alpha)
    seen = [int(look["clusters"]) for look in earlier]
    if any(a >= b for a, b in zip(seen, [*seen[1:], clusters], strict=False)):
        return spend  # no new turns since the last look: Bonferroni needs no correlation
    bounds = [_bound(float(look["alpha"])) for look in earlier]
    low, high = 0.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        crossed = crossing([*seen, clusters], [*bounds, middle])
        low, high = (middle, high) if crossed[-1] > spend else (low, middle)
    return 1 - _NORMAL.cdf(high)


def _spent(share: float, alpha: float) -> float:
    if share <= 0:
        return 0.0
    return 2 - 2 * _NORMAL.cdf(_NORMAL.inv_cdf(1 - alpha / 2) / share**0.5)


def _bound(alpha: float) -> float:
    return _NORMAL.inv_cdf(1 - alpha) if alpha > 0 else _SPAN


def crossing(information: Sequence[float], bounds: Sequence[float]) -> list[float]:
    """For each look the chance that a walk without drift first exceeds its bound there.

    `information` grows from look to look (clusters, or any unit in which variance shrinks), `bounds` are normal
    quantiles. The density of the walk is kept on a grid below the bound and carried to the next look.
    """
    chances: list[float] = []
    grid = density = np.empty(0)
    variance = 0.0
    for seen, bound in zip(information, bounds, strict=True):
        step = (seen - variance) ** 0.5
        top = bound * seen**0.5
        if not chances:
            chances.append(1 - _NORMAL.cdf(bound))
        else:
            chances.append(float(density @ _above(top, grid, step)))
        edges = np.linspace(-_SPAN * seen**0.5, top, _CELLS + 1)
        middles = (edges[1:] + edges[:-1]) / 2
        sources, weights = (np.zeros(1), np.ones(1)) if not len(grid) else (grid, density)
        spread = np.exp(-0.5 * ((middles[:, None] - sources[None, :]) / step) ** 2) / (step * (2 * np.pi) ** 0.5)
        density = spread @ weights * (edges[1] - edges[0])
        grid, variance = middles, float(seen)
    return chances


def _above(top: float, grid: np.ndarray[Any, np.dtype[np.float64]], step: float) -> Any:
    return np.array([1 - _NORMAL.cdf(float(z)) for z in (top - grid) / step])


def chances(looks: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """(bound, chance) of having accepted a challenger that is no better by now: see the head of this module."""
    bound = min(1.0, sum(float(look["alpha"]) for look in looks))
    clear = 1.0
    for challenger in dict.fromkeys(look["challenger"] for look in looks):
        own = [look for look in looks if look["challenger"] == challenger]
        clear *= 1 - _chance(own)
    return bound, min(bound, 1 - clear)


def _chance(looks: Sequence[Mapping[str, Any]]) -> float:
    """One challenger's chance; a look that saw no new pull requests adds its level in full."""
    information: list[float] = []
    bounds: list[float] = []
    extra = 0.0
    for look in looks:
        if information and look["clusters"] <= information[-1]:
            extra += float(look["alpha"])
        elif look["clusters"] > 0:
            information.append(float(look["clusters"]))
            bounds.append(_bound(float(look["alpha"])))
    return min(1.0, sum(crossing(information, bounds)) + extra)


def before(looks: Sequence[Mapping[str, Any]], challenger: str, votes: str) -> list[Mapping[str, Any]]:
    """The looks at `challenger` that came before the one at these votes."""
    own = [look for look in looks if look["challenger"] == challenger]
    return own[: next((place for place, look in enumerate(own) if look["votes"] == votes), len(own))]


def joined(looks: Sequence[Mapping[str, Any]], look: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The history with `look` at its end, unless these votes were looked at before."""
    kept = [dict(other) for other in looks]
    known = any((other["challenger"], other["votes"]) == (look["challenger"], look["votes"]) for other in kept)
    return kept if known else [*kept, dict(look)]


def summary(looks: Sequence[Mapping[str, Any]], planned: int, challenger: str) -> dict[str, Any]:
    """What the verdict on `challenger` says of all `looks`, its own included."""
    bound, chance = chances(looks)
    own = [look for look in looks if look["challenger"] == challenger]
    return {
        "planned": planned,
        "challenger": challenger,
        "challengers": len({look["challenger"] for look in looks}),
        "total": len(looks),
        "this": len(own),
        "alpha_spent": sum(float(look["alpha"]) for look in own),
        "method": METHOD if planned > 1 else UNPLANNED,
        "false_accept_bound": bound,
        "false_accept_chance": chance,
        "history": [dict(look) for look in looks],
    }
