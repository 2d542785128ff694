"""What a benchmark of judges comes to: accuracy by judge and kind, its cost, and what each judge adds to a panel.

Verdicts come from judges that were asked (`duel bench-judges`), or from a published table (`read_labels`).
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

from duel.errors import SourceError
from duel.judging.known_truth import KnownPair

ALL = "all"
COUNTS = ("right", "drawn", "wrong", "flips", "unparsed")
_Z = 1.96
# (judge, pair's id) -> what each order said: 1.0 for the better side, 0.5 drawn, 0.0 for the worse, None unparsed.
Said = Mapping[tuple[str, str], Sequence[float | None]]


@dataclass(slots=True)
class KnownTruthFigures:
    """One judge on one kind of pair. Of controls, a draw is right and any preference is wrong."""

    pairs: int = 0
    right: int = 0
    drawn: int = 0
    wrong: int = 0
    flips: int = 0
    unparsed: int = 0
    clusters: set[str] = field(default_factory=set)

    @property
    def accuracy(self) -> float | None:
        """Right answers, a draw counted half, of the parsed pairs; None without any."""
        parsed = self.pairs - self.unparsed
        return (self.right + self.drawn / 2) / parsed if parsed else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval over pull requests: pairs of one are not independent."""
        share, count = self.accuracy, min(len(self.clusters), self.pairs - self.unparsed)
        if share is None or not count:
            return None
        middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
        half = _Z * sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2)) / (1 + _Z**2 / count)
        return max(0.0, middle - half), min(1.0, middle + half)


def score(pairs: Iterable[KnownPair], said: Said) -> dict[tuple[str, str], KnownTruthFigures]:
    """(judge, kind) -> how often the judge knew. A preference that turns with the order is a draw, and a flip."""
    known = {pair.id: pair for pair in pairs}
    table: defaultdict[tuple[str, str], KnownTruthFigures] = defaultdict(KnownTruthFigures)
    for (judge, item), orders in said.items():
        pair = known.get(item)
        if pair is None:
            continue
        row = table[judge, pair.kind]
        row.pairs += 1
        values = [value for value in orders if value is not None]
        if len(values) < len(orders) or not values:
            row.unparsed += 1
            continue
        row.clusters.add(pair.instance_id)
        mean = sum(values) / len(values)
        row.flips += min(values) < 0.5 < max(values)
        right = mean == 0.5 if pair.control else mean > 0.5
        drawn = mean == 0.5 and not pair.control
        row.right, row.drawn, row.wrong = row.right + right, row.drawn + drawn, row.wrong + (not right and not drawn)
    return dict(table)


def judge_table(pairs: Sequence[KnownPair], said: Said, costs: Mapping[tuple[str, str], float]) -> list[dict[str, Any]]:
    """A row for each judge and kind, and one over all kinds but controls. `costs`: (judge, pair's id) -> dollars."""
    found = score(pairs, said)
    kinds = {pair.id: pair.kind for pair in pairs}
    spent: defaultdict[tuple[str, str], float] = defaultdict(float)
    for (judge, item), cost in costs.items():
        spent[judge, kinds[item]] += cost
    rows: list[dict[str, Any]] = []
    for judge in dict.fromkeys(judge for judge, _ in found):
        own = {kind: row for (name, kind), row in found.items() if name == judge}
        if counted := [kind for kind in own if not kind.startswith("control")]:
            counts = {name: sum(getattr(own[kind], name) for kind in counted) for name in ("pairs", *COUNTS)}
            spent[judge, ALL] = sum(spent[judge, kind] for kind in counted)
            own[ALL] = KnownTruthFigures(**counts, clusters=set().union(*(own[kind].clusters for kind in counted)))
        for kind, row in own.items():
            cost, accuracy = spent[judge, kind], row.accuracy
            told = {
                "judge": judge,
                "kind": kind,
                "pairs": row.pairs,
                "pull_requests": len(row.clusters),
                "accuracy": accuracy,
                "interval": row.interval,
                **{name: getattr(row, name) for name in COUNTS},
                "abstention": (row.drawn + row.unparsed) / row.pairs,
                "cost": cost,
                "known_a_dollar": (row.right + row.drawn / 2) / cost if cost and accuracy is not None else None,
            }
            rows.append(told)
    return rows


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


# -- published verdicts: choices are 1, 2 or 0 (tie) by the item's own numbering -------------------------------------

# A reply without a choice ("garbage") counts as a tie: the accuracies then come out as they are quoted for this set.
_CHOICES = {"1": 1, "2": 2, "0": 0, "tie": 0, "garbage": 0}
_ORDERS = ("winner_unswapped", "winner_swapped")
_PEOPLE = "annotator"
_ABOUT = frozenset({"", "idx", "motivation_app", "cmp_key", "len_1", "len_2"})

Row = tuple[str, str, str, int, list[str]]


def read_labels(path: Path) -> tuple[list[KnownPair], dict[tuple[str, str], tuple[float, ...]]]:
    """(pairs, what each judge said of each). Raises SourceError for a file in neither shape.

    LLMBar's table has a row for each judge, prompt and item with its choice in both orders; PandaLM's a row for each
    item with three people's labels and a column for each judge.
    """
    pairs: dict[str, KnownPair] = {}
    said = {}
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            columns = set(table.fieldnames or ())
            llmbar = {"judge", "item", "label", *_ORDERS} <= columns
            if not llmbar and f"{_PEOPLE}1" not in columns:
                hint = f"columns judge, item, label, {', '.join(_ORDERS)}; or annotator1 … and a column a judge"
                raise SourceError("the labels are in no known shape", where=path, hint=hint)
            for judge, name, kind, truth, choices in _llmbar(table) if llmbar else _pandalm(table):
                # An item whose label is a tie has no better side: a control.
                pairs[name] = KnownPair(name, kind if truth else f"control: {kind}", "", name, (), "", "")
                said[judge, name] = tuple(_value(choice, truth) for choice in choices)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError("the labels cannot be read", where=path, value=str(error)) from None
    return list(pairs.values()), said


def _llmbar(table: csv.DictReader[str]) -> Iterator[Row]:
    for row in table:
        kind = row.get("subset") or "labels"
        judge = " ".join(filter(None, (row["judge"], row.get("strategy"))))
        truth = _CHOICES.get(row["label"].strip().lower())
        if truth is not None:
            yield judge, f"{kind}/{row['item']}", kind, truth, [row[order] for order in _ORDERS]


def _pandalm(table: csv.DictReader[str]) -> Iterator[Row]:
    for number, row in enumerate(table):
        people = [value for name, value in row.items() if str(name).startswith(_PEOPLE)]
        label, votes = Counter(people).most_common(1)[0]
        truth = _CHOICES.get(str(label).strip().lower())
        if truth is None or 2 * votes <= len(people):
            continue
        for judge in (name for name in row if name not in _ABOUT and not name.startswith(_PEOPLE)):
            yield judge, str(number), "labels", truth, [row[judge]]


def _value(choice: str, truth: int) -> float:
    """1 for the label, 0.5 for a tie, 0 for the other. Published figures count an empty choice as wrong."""
    chosen = _CHOICES.get(choice.strip().lower())
    if truth == 0:
        return 0.5 if chosen == 0 else 0.0
    return 1.0 if chosen == truth else 0.5 if chosen == 0 else 0.0
