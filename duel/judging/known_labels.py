"""Published verdicts of judges on items with known labels, as pairs of a known truth and what was said of them.

LLMBar's table has a row for each judge, prompt and item with its choice in both orders; PandaLM's a row for each item
with three people's labels and a column for each judge. Choices are 1, 2 or 0 (tie) by the item's own numbering.
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from duel.errors import SourceError
from duel.judging.known_truth import KnownPair

# A reply without a choice ("garbage") counts as a tie: the accuracies then come out as they are quoted for this set.
_CHOICES = {"1": 1, "2": 2, "0": 0, "tie": 0, "garbage": 0}
_ORDERS = ("winner_unswapped", "winner_swapped")
_PEOPLE = "annotator"
_ABOUT = frozenset({"", "idx", "motivation_app", "cmp_key", "len_1", "len_2"})

Labels = tuple[list[KnownPair], dict[tuple[str, str], tuple[float, ...]]]


def read(path: Path) -> Labels:
    """(pairs, what each judge said of each). Raises SourceError for a file in neither shape."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            columns = set(table.fieldnames or ())
            if {"judge", "item", "label", *_ORDERS} <= columns:
                return _collected(_llmbar(table))
            if f"{_PEOPLE}1" in columns:
                return _collected(_pandalm(table))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError("the labels cannot be read", where=path, value=str(error)) from None
    hint = "columns judge, item, label, winner_unswapped, winner_swapped; or annotator1 … and a column a judge"
    raise SourceError("the labels are in no known shape", where=path, hint=hint)


Row = tuple[str, KnownPair, tuple[float, ...]]


def _collected(rows: Iterator[Row]) -> Labels:
    pairs: dict[str, KnownPair] = {}
    said = {}
    for judge, pair, values in rows:
        pairs[pair.id] = pair
        said[judge, pair.id] = values
    return list(pairs.values()), said


def _llmbar(table: csv.DictReader[str]) -> Iterator[Row]:
    for row in table:
        kind, item = row.get("subset") or "labels", row["item"]
        judge = " ".join(filter(None, (row["judge"], row.get("strategy"))))
        truth = _CHOICES.get(row["label"].strip().lower())
        if truth is not None:
            yield judge, _pair(f"{kind}/{item}", kind, truth), tuple(_value(row[order], truth) for order in _ORDERS)


def _pandalm(table: csv.DictReader[str]) -> Iterator[Row]:
    for number, row in enumerate(table):
        people = [value for name, value in row.items() if str(name).startswith(_PEOPLE)]
        label, votes = Counter(people).most_common(1)[0]
        truth = _CHOICES.get(str(label).strip().lower())
        if truth is None or 2 * votes <= len(people):
            continue
        for judge in (name for name in row if name not in _ABOUT and not name.startswith(_PEOPLE)):
            yield judge, _pair(str(number), "labels", truth), (_value(row[judge], truth),)


def _pair(name: str, kind: str, truth: int) -> KnownPair:
    """An item whose label is a tie has no better side: a control."""
    return KnownPair(name, kind if truth else f"control: {kind}", "", name, (), "", "")


def _value(choice: str, truth: int) -> float:
    """1 for the label, 0.5 for a tie, 0 for the other. Published figures count an empty choice as wrong."""
    chosen = _CHOICES.get(choice.strip().lower())
    if truth == 0:
        return 0.5 if chosen == 0 else 0.0
    return 1.0 if chosen == truth else 0.5 if chosen == 0 else 0.0
