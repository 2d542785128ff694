"""One set out of all sources: rows checked one by one, copies out, balanced, split by group, written.

Rows pass through a file in the scratch folder. Nothing is drawn but by hashes of ids, and the set appears as a whole at
the end: a run that was killed leaves the earlier set, and the next gives the same bytes.
"""

from __future__ import annotations

import shutil
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import orjson

from duel.audit.contamination import Benchmarks
from duel.command import say
from duel.errors import SettingsError, SourceError
from duel.exports import card, formats, splits
from duel.exports.dataset import Export, Written, write_format
from duel.exports.example import Division, Dropped, Example
from duel.exports.formats import Format
from duel.exports.handover import Handover
from duel.exports.lengths import Measure
from duel.processes import spread
from duel.scaling import diversity, row_reading
from duel.scaling.near_copies import Bands
from duel.scaling.row_checks import FACETS
from duel.scaling.row_reading import ReadBatch, ReadRow, digest
from duel.scaling.scaled_rows import ScaledRow, home, source_files
from duel.settings import Settings
from duel.workspace import Workspace

Shared = TypeVar("Shared")
SHOWN = 40  # sources in the card's table; statistics.json has all


@dataclass(frozen=True)
class Wanted:
    formats: list[Format]
    shares: Mapping[str, float]
    balance: Sequence[str] = ()
    seed: int = 0
    refused_words: frozenset[str] = frozenset()  # casefolded words that cost a row

    def __post_init__(self) -> None:
        for name in self.balance:
            if name not in FACETS:
                raise SettingsError("unknown way to balance", value=name, hint=f"known: {', '.join(FACETS)}")


@dataclass
class RowLines:
    path: Path
    starts: array[int] = field(default_factory=lambda: array("q", [0]))

    def row(self, place: int) -> ScaledRow:
        with self.path.open("rb") as file:
            file.seek(self.starts[place])
            return ScaledRow.of_line(file.read(self.starts[place + 1] - self.starts[place]))


@dataclass
class Spool:
    """The rows that passed their checks: their lines in a file, and of each what later steps ask for."""

    lines: RowLines
    tokens: array[int] = field(default_factory=lambda: array("q"))
    ids: list[str] = field(default_factory=list)
    facets: list[tuple[str, ...]] = field(default_factory=list)
    keys: list[list[str]] = field(default_factory=list)  # what ties each to others, but for its own id
    digests: list[bytes] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)  # what was noticed of them and kept
    scrubbed: Counter[str] = field(default_factory=Counter)
    _shared: dict[Any, Any] = field(default_factory=dict)

    def add(self, row: ReadRow, out: BinaryIO) -> None:
        out.write(row.line)
        self.lines.starts.append(self.lines.starts[-1] + len(row.line))
        self.tokens.append(row.tokens)
        self.ids.append(row.id)
        self.facets.append(self._one(row.facets))
        self.keys.append([self._one(key) for key in row.keys if key != f"row {row.id}"])
        self.digests.append(row.digest)
        self.notes.update(row.notes)
        self.scrubbed.update(row.scrubbed)

    def _one(self, value: Shared) -> Shared:
        return cast(Shared, self._shared.setdefault(value, value))

    def drop(self, place: int, reason: str, detail: str) -> Dropped:
        return Dropped(self.ids[place], self.facets[place][0], reason, detail)

    def statistics(self, places: Sequence[int]) -> dict[str, Any]:
        rows: Counter[tuple[str, ...]] = Counter()
        tokens: Counter[tuple[str, ...]] = Counter()
        for place in places:
            rows[self.facets[place]] += 1
            tokens[self.facets[place]] += self.tokens[place]
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


class SpoolPart(Sequence[Example]):
    """The rows of one split, each made into an example when it is written."""

    def __init__(self, lines: RowLines, places: Sequence[int]) -> None:
        self._lines, self._places = lines, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return SpoolPart(self._lines, self._places[place])
        return self._lines.row(self._places[place]).example()


def combine(workspace: Workspace, settings: Settings, wanted: Wanted, benchmarks: Benchmarks) -> list[str]:
    """Write `training-data/scaled/combined`; returns a line for each format. Raises SourceError for an empty set."""
    scratch = workspace.private / "combine"
    shutil.rmtree(scratch, ignore_errors=True)  # a killed run's
    scratch.mkdir(parents=True)
    try:
        handover = Handover()
        files = list(source_files(workspace))
        if not files:
            hint = "`duel scale public`, `sessions`, `duels`, `pairs`, `synthesize` fill it"
            raise SourceError("there is nothing to combine", where=home(workspace), hint=hint)
        batches = row_reading.read(files, settings, benchmarks, workspace.secret(), wanted.refused_words)
        spool, bands = Spool(RowLines(scratch / "rows.jsonl")), Bands(scratch)
        _read(spool, bands, batches, handover)
        places = _chosen(spool, bands, settings.audit.near_duplicate, wanted, handover)
        division = _divided(spool, places, wanted)
        with Export(workspace, handover, folder=home(workspace) / "combined") as export:
            written = _written(export, wanted.formats, division, apart=row_reading.are_many(files))
            facts = {
                "settings": {"near_duplicate": settings.audit.near_duplicate, "balance": list(wanted.balance)}
                | {"split": dict(wanted.shares), "seed": wanted.seed, "refused_words": len(wanted.refused_words)},
                "handover": handover.counts,
                "noticed": dict(sorted((+spool.notes).items())),
                "scrubbed": dict(sorted(spool.scrubbed.items())),
                "benchmarks": {"checked": benchmarks.checked, "unchecked": benchmarks.unchecked},
                "splits": {name: len(part) for name, part in division.parts.items()},
                "notes": division.notes,
                **_diversity(spool, places),
            }
            figures = spool.statistics(places)
            export.write("statistics.json", orjson.dumps(figures, option=orjson.OPT_INDENT_2).decode() + "\n")
            export.write("dropped.jsonl", "".join(orjson.dumps(row).decode() + "\n" for row in handover.rows()))
            origins: Counter[tuple[str, ...]] = Counter()
            for source in (spool.lines.row(place).source for place in places):
                origins[source.kind, source.name, source.revision, source.license or "unknown"] += 1
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


def _read(spool: Spool, bands: Bands, batches: Iterable[ReadBatch], handover: Handover) -> None:
    """Every row that passed its checks into the spool, and its words and bands beside it."""
    seen: set[bytes] = set()
    with spool.lines.path.open("wb") as out:
        for (kind, name), parts in groupby(batches, key=lambda batch: batch[:2]):
            dropped: list[Dropped] = []
            first, taken = len(spool.ids), 0
            for row in chain.from_iterable(rows for _, _, rows in parts):
                taken += 1
                if isinstance(row, Dropped):
                    dropped.append(row)
                elif (identity := digest(row.id.encode("utf-8", "replace"))) in seen:
                    dropped.append(Dropped(row.id, kind, "same-id", "its id stands before"))
                else:
                    seen.add(identity)
                    spool.add(row, out)
                    bands.add(row.words, row.bands)
            handover.record(f"check {kind}/{name}", taken, len(spool.ids) - first, dropped)


def _chosen(spool: Spool, bands: Bands, threshold: float, wanted: Wanted, handover: Handover) -> list[int]:
    """Without exact copies, then without near-duplicates; the first of each stays. Then balanced.

    No value of a facet to balance by holds more than an even share; a row's id decides whether it stays.
    """
    places = list(range(len(spool.ids)))

    def without(step: str, reason: str, out: Mapping[int, str]) -> list[int]:
        kept = [place for place in places if place not in out]
        dropped = [spool.drop(place, reason, out[place]) for place in places if place in out]
        handover.record(step, len(places), len(kept), dropped)
        return kept

    first: dict[bytes, int] = {}
    copies = {}
    for place in places:
        if (original := first.setdefault(spool.digests[place], place)) != place:
            copies[place] = f"of {spool.ids[original]}"
    places = without("copies", "duplicate", copies)
    near = {place: f"of {spool.ids[original]}" for place, original in bands.groups(places, threshold).items()}
    places = without("near-copies", "near-duplicate", near)
    for name in wanted.balance:
        at = FACETS.index(name)
        groups: dict[str, list[int]] = {}
        for place in sorted(places, key=lambda place: digest(f"{wanted.seed}/{name}/{spool.ids[place]}".encode())):
            groups.setdefault(spool.facets[place][at], []).append(place)
        share = -(-len(places) // max(1, len(groups)))
        over = {place: value for value, group in groups.items() for place in group[share:]}
        places = without(f"balance {name}", f"over-even-share-of-{name}", over)
    return places


def _divided(spool: Spool, places: list[int], wanted: Wanted) -> Division:
    """Every group in one split: rows that share a repository, commit, plan, template or parent, through others too."""
    find = splits.united((f"row {spool.ids[place]}", key) for place in places for key in spool.keys[place])
    group = {place: find(f"row {spool.ids[place]}") for place in places}
    tokens: Counter[str] = Counter()
    for place in places:
        tokens[group[place]] += spool.tokens[place]
    if len(tokens) < len(wanted.shares):
        hint = "more sources, or --split 100"
        raise SourceError("there are fewer groups than splits", where="--split", value=len(tokens), hint=hint)
    placed = splits.place(tokens, wanted.shares, wanted.seed)
    parts: dict[str, list[int]] = {split: [] for split in wanted.shares}
    for place in places:
        parts[placed[group[place]]].append(place)
    largest = max(tokens.values()) / sum(tokens.values())
    note = f"{len(tokens):,} groups, none in two splits; the largest holds {largest:.1%} of the tokens"
    got = {name: sum(spool.tokens[place] for place in part) / sum(tokens.values()) for name, part in parts.items()}
    note += "; shares of the tokens: " + ", ".join(f"{name} {share:.0%}" for name, share in got.items())
    say(note)
    return Division({split: SpoolPart(spool.lines, part) for split, part in parts.items()}, "repo", [note])


def _diversity(spool: Spool, places: list[int]) -> dict[str, Any]:
    """The figures of a sample of the synthetic rows, and a warning where one is not what real requests have."""
    synthetic = [place for place in places if spool.facets[place][0] == "synthetic"]
    chosen = sorted(synthetic, key=lambda place: digest(spool.ids[place].encode()))[: diversity.SAMPLE]
    if not chosen:
        return {}
    found = diversity.figures([spool.lines.row(place) for place in chosen])
    missed = diversity.missed(found)
    warning = f"The synthetic requests are less varied than real ones: {'; '.join(missed)}."
    return {"diversity": {"sample": len(chosen), **found}, "warnings": [warning] if missed else []}


def _written(export: Export, wanted: Sequence[Format], division: Division, apart: bool) -> list[Written]:
    if not apart or len(wanted) == 1:
        return [export.add(form, division) for form in wanted]
    names = (form.name for form in wanted)
    made = spread(_written_apart, names, min(len(wanted), row_reading.processes()), _prepare, (export.new, division))
    return [export.take(written) for written in made]


_given: tuple[Path, Division]


def _prepare(folder: Path, division: Division) -> None:
    global _given
    _given = folder, division


def _written_apart(name: str) -> Written:
    folder, division = _given
    return write_format(folder, formats.FORMATS[name], division, Measure())
