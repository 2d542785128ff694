"""What a benchmark of judges comes to: accuracy by judge and kind, its cost, and what each judge adds to a panel.

Verdicts come from judges that were asked (`duel bench-judges`), or from a published table (`read_labels`).
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

from duel.errors import SourceError
from duel.judging.known_truth import KnownPair

ALL = "all"
_Z = 1.96
# (judge, pair's id) -> what each order said: 1.0 for the better side, 0.5 drawn, 0.0 for the worse, None unparsed.
Said = Mapping[tuple[str, str], Sequence[float | None]]
Outcome = tuple[KnownPair, str, bool, float]
"""What one judge made of one pair: right, drawn, wrong or unparsed; whether it flipped; dollars."""


def judge_table(pairs: Sequence[KnownPair], said: Said, costs: Mapping[tuple[str, str], float]) -> list[dict[str, Any]]:
    """A row for each judge and kind, and one over all kinds but controls. `costs`: (judge, pair's id) -> dollars.

    A preference that turns with the order is a draw, and a flip. Of controls, a draw is right and any preference wrong.
    """
    known = {pair.id: pair for pair in pairs}
    by_judge: defaultdict[str, list[Outcome]] = defaultdict(list)
    for (judge, item), orders in said.items():
        if (pair := known.get(item)) is None:
            continue
        values = [value for value in orders if value is not None]
        outcome, flipped = "unparsed", False
        if values and len(values) == len(orders):
            lean = sum(values) / len(values) - 0.5
            drawn, won = ("right", "wrong") if pair.control else ("drawn", "right")
            outcome = drawn if lean == 0 else won if lean > 0 else "wrong"
            flipped = min(values) < 0.5 < max(values)
        by_judge[judge].append((pair, outcome, flipped, costs.get((judge, item), 0.0)))
    rows = []
    for judge, outcomes in by_judge.items():
        for kind in [*dict.fromkeys(pair.kind for pair, *_ in outcomes), ALL]:
            of_kind = [one for one in outcomes if (not one[0].control if kind == ALL else one[0].kind == kind)]
            if of_kind:
                rows.append({"judge": judge, "kind": kind, **_figures(of_kind)})
    return rows


def _figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Accuracy counts a draw half, over the parsed pairs; its interval is over pull requests, not over pairs."""
    count = Counter(outcome for _, outcome, _, _ in outcomes)
    clusters = {pair.instance_id for pair, outcome, _, _ in outcomes if outcome != "unparsed"}
    right, parsed = count["right"] + count["drawn"] / 2, len(outcomes) - count["unparsed"]
    accuracy, cost = right / parsed if parsed else None, sum(cost for *_, cost in outcomes)
    return {
        "pairs": len(outcomes),
        "pull_requests": len(clusters),
        "accuracy": accuracy,
        "interval": None if accuracy is None else wilson(accuracy, len(clusters)),
        **{name: count[name] for name in ("right", "drawn", "wrong")},
        "flips": sum(flipped for _, _, flipped, _ in outcomes),
        "unparsed": count["unparsed"],
        "abstention": (count["drawn"] + count["unparsed"]) / len(outcomes),
        "cost": cost,
        "known_a_dollar": right / cost if cost and parsed else None,
    }


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `count` independent ones."""
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z * sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2)) / (1 + _Z**2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


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
    rows = []
    for without in ("", *(judges if len(judges) > 2 else ())):
        votes_left = np.array(means)[:, [judge != without for judge in judges]]
        size, panel = votes_left.shape[1], votes_left.mean(1)
        worth = effective_votes(size, mean_correlation(pair_correlations(votes_left, 1.0)))
        accuracy = float((panel > 0.5 + 1e-9).mean() + (abs(panel - 0.5) <= 1e-9).mean() / 2)
        found = {"without": without, "judges": size, "pairs": len(means), "accuracy": accuracy}
        rows.append(found | {"effective_votes": None if np.isnan(worth) else float(worth)})
    return rows


# -- published verdicts: choices are 1, 2 or 0 (tie) by the item's own numbering -------------------------------------

# A reply without a choice ("garbage") counts as a tie: the accuracies then come out as they are quoted for this set.
_CHOICES = {"1": 1, "2": 2, "0": 0, "tie": 0, "garbage": 0}
_ORDERS = ("winner_unswapped", "winner_swapped")
_PEOPLE = "annotator"
_ABOUT = frozenset({"", "idx", "motivation_app", "cmp_key", "len_1", "len_2"})


def read_labels(path: Path) -> tuple[list[KnownPair], dict[tuple[str, str], tuple[float, ...]]]:
    """(pairs, what each judge said of each). Raises SourceError for a file in neither shape.

    LLMBar's table has a row for each judge, prompt and item with its choice in both orders; PandaLM's a row for each
    item with three people's labels, of which most must agree, and a column for each judge.
    """
    pairs: dict[str, KnownPair] = {}
    said: dict[tuple[str, str], tuple[float, ...]] = {}
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            columns = [str(column) for column in table.fieldnames or ()]
            people = [name for name in columns if name.startswith(_PEOPLE)]
            llmbar = {"judge", "item", "label", *_ORDERS} <= {*columns}
            if not llmbar and f"{_PEOPLE}1" not in people:
                hint = f"columns judge, item, label, {', '.join(_ORDERS)}; or annotator1 … and a column a judge"
                raise SourceError("the labels are in no known shape", where=path, hint=hint)
            for number, row in enumerate(table):
                if llmbar:
                    kind, label = row.get("subset") or "labels", row["label"]
                    name = f"{kind}/{row['item']}"
                    cast = {" ".join(filter(None, (row["judge"], row.get("strategy")))): [row[one] for one in _ORDERS]}
                else:
                    kind, name = "labels", str(number)
                    label, votes = Counter(row[one] for one in people).most_common(1)[0]
                    label = label if 2 * votes > len(people) else ""
                    cast = {one: [row[one]] for one in columns if one not in _ABOUT and one not in people}
                if (truth := _choice(label)) is None:
                    continue
                # An item whose label is a tie has no better side: a control.
                pairs[name] = KnownPair(name, kind if truth else f"control: {kind}", name, (), "", "")
                # 1 for the label, 0.5 for a tie, else 0: published figures count an empty choice as wrong.
                values: dict[int | None, float] = {0: 0.5, truth: 1.0 if truth else 0.5}
                for judge, choices in cast.items():
                    said[judge, name] = tuple(values.get(_choice(choice), 0.0) for choice in choices)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError("the labels cannot be read", where=path, value=str(error)) from None
    return list(pairs.values()), said


def _choice(text: str | None) -> int | None:
    return _CHOICES.get(str(text).strip().lower())
