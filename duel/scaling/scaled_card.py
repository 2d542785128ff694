"""What a combined set says of itself: counts by source, type, license, language and tool, and a card of plain facts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from duel.exports.card import escaped
from duel.exports.dataset import Written
from duel.scaling.spool import FACETS, Spool

SHOWN = 40
"""Rows of a table in the card; statistics.json has all."""
LIMITS = (
    "Licenses are what the sources say of themselves; nobody has reviewed them row by row.",
    "Near-duplicates are found by shared words: a text that was translated or retold is none.",
    "Secrets and personal data are found by rules, so that unusual ones may remain. Toxic language is not looked for.",
    "Malicious commands are found by a table of known kinds.",
    "No model was trained on the set to measure what it is worth.",
)


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
    """The whole README.md."""
    warnings = [f"> {escaped(line)}" for line in facts.get("warnings", ())]
    steps = [
        (count["step"], f"{count['taken']:,}", f"{count['given']:,}", _counts(count["dropped"]))
        for count in facts["handover"]
    ]
    unchecked = [
        f"- not checked against {name}: {escaped(why)}" for name, why in facts["benchmarks"]["unchecked"].items()
    ]
    parts = [
        *warnings,
        "# A combined training set for coding agents",
        f"{figures['rows']:,} rows, about {figures['tokens']:,} tokens (estimated at 3 bytes a token).",
        "## Formats\n\n" + "\n".join(f"- {escaped(done.line().replace('export/', '', 1))}" for done in written),
        "## Sources\n\n" + _table(("source", "name", "revision", "license", "rows"), origins),
        "## What it holds\n\n"
        + "\n".join(f"- by {name}: {_counts(counts)}" for name, counts in figures["by"].items())
        + "\n\n`statistics.json` has rows and tokens of every combination.",
        "## How it was filtered\n\n"
        + _table(("step", "in", "out", "dropped"), steps)
        + "\n\n`dropped.jsonl` names every row that was left out, with its reason."
        + f"\n\n- replaced in texts: {_counts(facts['scrubbed']) or 'nothing'}"
        + f"\n- noticed and kept: {_counts(facts['noticed']) or 'nothing'}"
        + f"\n- checked against {_counts(facts['benchmarks']['checked']) or 'no list of benchmarks'}"
        + "".join(f"\n{line}" for line in unchecked),
        "## Splits\n\n" + "\n".join(f"- {escaped(note)}" for note in facts["notes"]),
        "## Limits\n\n" + "\n".join(f"- {line}" for line in LIMITS),
    ]
    return _header(written) + "\n\n".join(parts) + "\n"


def _header(written: Sequence[Written]) -> str:
    """The Hub's YAML: which files are which split of which format."""
    lines = ["---", "license: other", "license_name: per-row", "tags: [agent, code, tool-use]", "configs:"]
    for done in written:
        lines += [f"- config_name: {done.format.name}", "  data_files:"]
        lines += [f"  - {{split: {split}, path: {done.format.name}/{split}.parquet}}" for split in done.rows]
    return "\n".join([*lines, "---", "", ""])


def _counts(counts: Mapping[str, int]) -> str:
    shown = list(counts.items())
    rest = f", {len(shown) - 12:,} more" if len(shown) > 12 else ""
    return ", ".join(f"{escaped(name)} {count:,}" for name, count in shown[:12]) + rest


def _table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    lines += ["| " + " | ".join(escaped(cell) for cell in row) + " |" for row in rows[:SHOWN]]
    return "\n".join(lines + ([f"\n… and {len(rows) - SHOWN:,} more"] if len(rows) > SHOWN else []))
