"""What a benchmark of judges comes to: accuracy by judge and kind, its cost, and what each judge adds to a panel."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from duel.judging.known_truth import KnownPair, KnownTruthFigures, Said, score

ALL = "all"
COUNTS = ("right", "drawn", "wrong", "flips", "unparsed")


def judge_table(pairs: Sequence[KnownPair], said: Said, costs: Mapping[tuple[str, str], float]) -> list[dict[str, Any]]:
    """A row for each judge and kind, and one over all kinds but controls. `costs`: (judge, pair's id) -> dollars."""
    found = score(pairs, said)
    kinds = {pair.id: pair.kind for pair in pairs}
    spent: defaultdict[tuple[str, str], float] = defaultdict(float)
    for (judge, item), cost in costs.items():
        spent[judge, kinds[item]] += cost
    rows = []
    for judge in dict.fromkeys(judge for judge, _ in found):
        own = {kind: row for (name, kind), row in found.items() if name == judge}
        whole = together([row for kind, row in own.items() if not kind.startswith("control")])
        if whole.pairs:
            spent[judge, ALL] = sum(spent[judge, kind] for kind in own if not kind.startswith("control"))
            own[ALL] = whole
        rows += [_row(judge, kind, row, spent[judge, kind]) for kind, row in own.items()]
    return rows


def together(rows: Sequence[KnownTruthFigures]) -> KnownTruthFigures:
    """Several kinds as one."""
    counts = {name: sum(getattr(row, name) for row in rows) for name in ("pairs", *COUNTS)}
    return KnownTruthFigures(**counts, clusters=set().union(*(row.clusters for row in rows)))


def _row(judge: str, kind: str, row: KnownTruthFigures, cost: float) -> dict[str, Any]:
    known, share = row.right + row.drawn / 2, row.accuracy
    return {
        "judge": judge,
        "kind": kind,
        "pairs": row.pairs,
        "pull_requests": len(row.clusters),
        "accuracy": share,
        "interval": row.interval,
        **{name: getattr(row, name) for name in COUNTS},
        "abstention": (row.drawn + row.unparsed) / row.pairs if row.pairs else None,
        "cost": cost,
        "known_a_dollar": known / cost if cost and share is not None else None,
    }


def panel_figures(pairs: Sequence[KnownPair], said: Said) -> list[dict[str, Any]]:
    """The whole panel, and the panel without each judge: accuracy of its mean vote, and how many votes it is worth.

    On pairs with a better side that all judges parsed. The errors of a judge are 1 less its mean vote.
    """
    import numpy as np

    from duel.judging.agreement import effective_votes, mean_correlation, pair_correlations

    judges = list(dict.fromkeys(judge for judge, _ in said))
    means = []
    for pair in pairs:
        votes = [said.get((judge, pair.id), ()) for judge in judges]
        if not pair.control and all(vote and None not in vote for vote in votes):
            means.append([fmean(value for value in vote if value is not None) for vote in votes])
    if not means or len(judges) < 2:
        return []
    table = np.array(means)
    rows = []
    for without in (None, *(range(len(judges)) if len(judges) > 2 else ())):
        kept = [place for place in range(len(judges)) if place != without]
        panel = table[:, kept].mean(1)
        worth = effective_votes(len(kept), mean_correlation(pair_correlations(table[:, kept], 1.0)))
        rows.append(
            {
                "without": "" if without is None else judges[without],
                "judges": len(kept),
                "pairs": len(means),
                "accuracy": float((panel > 0.5 + 1e-9).mean() + (abs(panel - 0.5) <= 1e-9).mean() / 2),
                "effective_votes": None if np.isnan(worth) else float(worth),
            }
        )
    return rows
