"""One set out of all sources: rows checked one by one, copies out, balanced, split by group, written.

Rows pass through a file in the scratch folder. Nothing is drawn but by hashes of ids, and the set appears as a whole at
the end: a run that was killed leaves the earlier set, and the next gives the same bytes.
"""

import shutil
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from duel.audit.contamination import Benchmarks
from duel.audit.duplicates import Hashed
from duel.command import say
from duel.errors import SourceError
from duel.exports import card, formats, splits
from duel.exports.dataset import Export, Written, write_format
from duel.exports.example import Division, Dropped, Example, Handover
from duel.exports.formats import Format
from duel.exports.lengths import Measure
from duel.processes import spread
from duel.scaling import likeness, row_checks
from duel.scaling.likeness import Bands
from duel.scaling.row_checks import FACETS, ReadBatch, RowFacts, digest
from duel.scaling.scaled_rows import ScaledRow, home, source_files
from duel.settings import Settings
from duel.workspace import Workspace

SHOWN = 40  # sources in the card's table; statistics.json has all


class Wanted(NamedTuple):
    formats: list[Format]
    shares: Mapping[str, float]
    balance: Sequence[str] = ()  # names of facets
    seed: int = 0
    refused_words: frozenset[str] = frozenset()  # casefolded words that cost a row


@dataclass
class SpoolPart(Sequence[Example]):
    """Rows of the spool's file by where their lines begin, each made into an example when it is looked at."""

    path: Path
    starts: "array[int]"

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, place: Any) -> Any:
        return self.row(place).example()

    def row(self, place: int) -> ScaledRow:
        with self.path.open("rb") as file:
            file.seek(self.starts[place])
            return ScaledRow.parse(file.readline())


@dataclass
class Spool:
    """The rows that passed their checks: their lines in a file, and of each what later steps ask for."""

    path: Path
    bands: Bands
    rows: list[RowFacts] = field(default_factory=list)
    noticed: Counter[str] = field(default_factory=Counter)  # in rows that passed their checks, copies included
    scrubbed: Counter[str] = field(default_factory=Counter)

    def fill(self, batches: Iterable[ReadBatch], handover: Handover) -> None:
        seen: set[bytes] = set()
        shared: dict[Any, Any] = {}  # one copy in memory of what many rows share
        with self.path.open("wb") as out:
            for (kind, name), parts in groupby(batches, key=lambda batch: batch[:2]):
                dropped: list[Dropped] = []
                first, taken = len(self.rows), 0
                for batch in parts:
                    taken += len(batch.rows)
                    fresh: dict[int, Hashed] = {}
                    for place, row in enumerate(batch.rows):
                        if isinstance(row, Dropped):
                            dropped.append(row)
                        elif (identity := digest(row.facts.id.encode("utf-8", "replace"))) in seen:
                            dropped.append(Dropped(row.facts.id, kind, "same-id", "its id stands before"))
                        else:
                            seen.add(identity)
                            row.facts.start = out.tell()
                            out.write(row.line)
                            row.facts.facets = shared.setdefault(row.facts.facets, row.facts.facets)
                            row.facts.origin = shared.setdefault(row.facts.origin, row.facts.origin)
                            row.facts.keys = [shared.setdefault(key, key) for key in row.facts.keys]
                            self.rows.append(row.facts)
                            fresh[place] = row.words
                    self.bands.add([*fresh.values()], batch.bands[[*fresh]])
                    self.noticed.update(batch.noticed)
                    self.scrubbed.update(batch.scrubbed)
                handover.record(f"check {kind}/{name}", taken, len(self.rows) - first, dropped)

    def part(self, rows: Iterable[RowFacts]) -> SpoolPart:
        return SpoolPart(self.path, array("q", [row.start for row in rows]))


def combine(workspace: Workspace, settings: Settings, wanted: Wanted, benchmarks: Benchmarks) -> list[str]:
    """Write `training-data/scaled/combined`; returns a line for each format. Raises SourceError for an empty set."""
    scratch = workspace.private / "combine"
    shutil.rmtree(scratch, ignore_errors=True)  # a killed run's
    scratch.mkdir(parents=True)
    try:
        handover, files = Handover(), list(source_files(workspace))
        if not files:
            hint = "`duel scale public`, `sessions`, `duels`, `pairs`, `synthesize` fill it"
            raise SourceError("there is nothing to combine", where=home(workspace), hint=hint)
        spool = Spool(scratch / "rows.jsonl", Bands(scratch))
        spool.fill(row_checks.read(files, settings, benchmarks, workspace.secret(), wanted.refused_words), handover)
        rows = _chosen(spool, settings.audit.near_duplicate, wanted, handover)
        division = _divided(spool, rows, wanted)
        with Export(workspace, handover, folder=home(workspace) / "combined") as export:
            written = _written(export, wanted.formats, division, apart=row_checks.are_many(files))
            facts = {
                "settings": {"near_duplicate": settings.audit.near_duplicate, "balance": list(wanted.balance)}
                | {"split": dict(wanted.shares), "seed": wanted.seed, "refused_words": len(wanted.refused_words)},
                "handover": handover.counts,
                "noticed": dict(sorted((+spool.noticed).items())),
                "scrubbed": dict(sorted(spool.scrubbed.items())),
                "benchmarks": {"checked": benchmarks.checked, "unchecked": benchmarks.unchecked},
                "splits": {name: len(part) for name, part in division.parts.items()},
                "notes": division.notes,
                **_diversity(spool, rows),
            }
            figures = _statistics(rows)
            export.write("statistics.json", orjson.dumps(figures, option=orjson.OPT_INDENT_2).decode() + "\n")
            export.write("dropped.jsonl", "".join(orjson.dumps(row).decode() + "\n" for row in handover.rows()))
            origins = Counter((row.facets[0], *row.origin, row.facets[FACETS.index("license")]) for row in rows)
            told = {"written": written, "facts": facts, "figures": figures, "shown": SHOWN}
            told["origins"] = [(*key, f"{count:,}") for key, count in sorted(origins.items())]
            export.save(card.template(__package__, counted=_counted).render(told), facts)
        handover.say()
        return [form.line().replace("export/", "combined/", 1) for form in written]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _counted(counts: Mapping[str, int]) -> str:
    shown = [f"{card.escaped(name)} {count:,}" for name, count in counts.items()]
    return ", ".join(shown[:12]) + (f", {len(shown) - 12:,} more" if len(shown) > 12 else "")


def _chosen(spool: Spool, threshold: float, wanted: Wanted, handover: Handover) -> list[RowFacts]:
    """Without exact copies, then without near-duplicates; the first of each stays. Then balanced.

    No value of a facet to balance by holds more than an even share; a row's id decides whether it stays.
    """
    rows, places = spool.rows, list(range(len(spool.rows)))

    def without(step: str, reason: str, out: Mapping[int, str]) -> list[int]:
        dropped = [Dropped(rows[at].id, rows[at].facets[0], reason, out[at]) for at in places if at in out]
        kept = [place for place in places if place not in out]
        handover.record(step, len(places), len(kept), dropped)
        return kept

    first: dict[bytes, int] = {}
    originals = {place: first.setdefault(rows[place].digest, place) for place in places}
    copies = {place: f"of {rows[original].id}" for place, original in originals.items() if original != place}
    places = without("copies", "duplicate", copies)
    near = spool.bands.groups(places, threshold)
    places = without("near-copies", "near-duplicate", {at: f"of {rows[kept].id}" for at, kept in near.items()})
    for name in wanted.balance:
        groups: dict[str, list[int]] = {}
        for place in sorted(places, key=lambda place: digest(f"{wanted.seed}/{name}/{rows[place].id}".encode())):
            groups.setdefault(rows[place].facets[FACETS.index(name)], []).append(place)
        share = -(-len(places) // max(1, len(groups)))
        over = {place: value for value, group in groups.items() for place in group[share:]}
        places = without(f"balance {name}", f"over-even-share-of-{name}", over)
    return [rows[place] for place in places]


def _divided(spool: Spool, rows: list[RowFacts], wanted: Wanted) -> Division:
    """Every group in one split: rows that share a repository, commit, plan, template or parent, through others too."""
    find = splits.united((f"row {row.id}", key) for row in rows for key in row.keys)
    group = [find(f"row {row.id}") for row in rows]
    tokens: Counter[str] = Counter()
    for row, name in zip(rows, group, strict=True):
        tokens[name] += row.tokens
    if len(tokens) < len(wanted.shares):
        hint = "more sources, or --split 100"
        raise SourceError("there are fewer groups than splits", where="--split", value=len(tokens), hint=hint)
    placed = splits.place(tokens, wanted.shares, wanted.seed)
    parts: dict[str, list[RowFacts]] = {split: [] for split in wanted.shares}
    for row, name in zip(rows, group, strict=True):
        parts[placed[name]].append(row)
    total, largest = sum(tokens.values()), max(tokens.values())
    note = f"{len(tokens):,} groups, none in two splits; the largest holds {largest / total:.1%} of the tokens"
    got = [f"{split} {sum(row.tokens for row in part) / total:.0%}" for split, part in parts.items()]
    note += f"; shares of the tokens: {', '.join(got)}"
    say(note)
    return Division({split: spool.part(part) for split, part in parts.items()}, "repo", [note])


def _statistics(chosen: Sequence[RowFacts]) -> dict[str, Any]:
    rows, tokens = Counter(row.facets for row in chosen), Counter[tuple[str, ...]]()
    for row in chosen:
        tokens[row.facets] += row.tokens
    alone = {name: Counter(row.facets[at] for row in chosen) for at, name in enumerate(FACETS)}
    return {
        "rows": len(chosen),
        "tokens": sum(tokens.values()),
        "by": {name: dict(sorted(c.items(), key=lambda item: (-item[1], item[0]))) for name, c in alone.items()},
        "cells": [
            {**dict(zip(FACETS, values, strict=True)), "rows": rows[values], "tokens": tokens[values]}
            for values in sorted(rows)
        ],
    }


def _diversity(spool: Spool, rows: Sequence[RowFacts]) -> dict[str, Any]:
    synthetic = [row for row in rows if row.facets[0] == "synthetic"]
    sample = spool.part(sorted(synthetic, key=lambda row: digest(row.id.encode()))[: likeness.SAMPLE])
    if not sample:
        return {}
    found = likeness.figures([sample.row(place) for place in range(len(sample))])
    missed = likeness.missed(found)
    warning = f"The synthetic requests are less varied than real ones: {'; '.join(missed)}."
    return {"diversity": {"sample": len(sample), **found}, "warnings": [warning] if missed else []}


def _written(export: Export, wanted: Sequence[Format], division: Division, apart: bool) -> list[Written]:
    if not apart or len(wanted) == 1:
        return [export.add(form, division) for form in wanted]
    work = ((export.new, form.name, division) for form in wanted)
    made = spread(_written_apart, work, min(len(wanted), row_checks.MOST_PROCESSES))
    return [export.take(written) for written in made]


def _written_apart(work: tuple[Path, str, Division]) -> Written:
    folder, name, division = work
    return write_format(folder, formats.FORMATS[name], division, Measure())
