"""What a combined set says of itself: counts by source, type, license, language and tool, and a card of plain facts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from duel.exports.card import escaped
from duel.exports.dataset import Written
from duel.scaling.spool import FACETS, Spool

SHOWN = 40
"""Rows of a table in the card; statistics.json has all."""


def statistics(spool: Spool, places: Sequence[int]) -> dict[str, Any]:
    """Rows and estimated tokens by source × type × license × language × tool, and by each alone."""
    rows: Counter[tuple[str, ...]] = Counter()
    tokens: Counter[tuple[str, ...]] = Counter()
    for place in places:
        rows[spool.facets[place]] += 1
        tokens[spool.facets[place]] += spool.tokens[place]
    alone = {name: Counter[str]() for name in FACETS}
    for values, count in rows.items():
        for name, value in zip(FACETS, values, strict=True):
            alone[name][value] += count
    return {
        "rows": len(places),
        "tokens": sum(tokens.values()),
        "by": {name: dict(sorted(c.items(), key=lambda item: (-item[1], item[0]))) for name, c in alone.items()},
        "cells": [
            {**dict(zip(FACETS, values, strict=True)), "rows": rows[values], "tokens": tokens[values]}
            for values in sorted(rows)
        ],
    }


def sources(spool: Spool, places: Sequence[int]) -> list[tuple[str, ...]]:
    """(kind, name, revision, license, rows) of every source."""
    found: Counter[tuple[str, str, str, str]] = Counter()
    for place in places:
        source = spool.lines.row(place).source
        found[source.kind, source.name, source.revision, source.license or "unknown"] += 1
    return [(*key, f"{count:,}") for key, count in sorted(found.items())]


def render(
    written: Sequence[Written], facts: Mapping[str, Any], figures: Mapping[str, Any], origins: Sequence[tuple[str, ...]]
) -> str:
    """The whole README.md; names come from outside and are escaped."""
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # noqa: S701
    environment.keep_trailing_newline = True
    environment.filters |= {"text": escaped, "n": "{:,}".format, "counted": _counts}
    template = environment.from_string(resources.files(__package__).joinpath("card.md.txt").read_text("utf-8"))
    return template.render(written=written, facts=facts, figures=figures, origins=origins, shown=SHOWN)


def _counts(counts: Mapping[str, int]) -> str:
    shown = list(counts.items())
    rest = f", {len(shown) - 12:,} more" if len(shown) > 12 else ""
    return ", ".join(f"{escaped(name)} {count:,}" for name, count in shown[:12]) + rest
