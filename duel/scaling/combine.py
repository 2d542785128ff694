"""One set out of all sources: rows checked one by one, copies out, balanced, split by group, written.

Rows pass through a file in the scratch folder; memory holds a few hundred bytes of each. Nothing is drawn but by hashes
of ids, and the set appears as a whole at the end: a run that was killed leaves the earlier set, and the next gives the
same bytes.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from duel.audit.contamination import Benchmarks
from duel.command import say
from duel.errors import ItemError, SettingsError, SourceError
from duel.exports import splits
from duel.exports.dataset import Export
from duel.exports.example import Division, Dropped
from duel.exports.formats import Format
from duel.exports.handover import Handover
from duel.history import estimate_tokens
from duel.scaling import diversity, scaled_card
from duel.scaling.near_copies import Bands
from duel.scaling.row_checks import RowChecks, facets
from duel.scaling.scaled_rows import ScaledRow, home, source_files
from duel.scaling.spool import FACETS, Spool, SpoolPart
from duel.settings import Settings
from duel.workspace import Workspace


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for."""

    formats: list[Format]
    shares: Mapping[str, float]
    balance: Sequence[str] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.balance:
            if name not in FACETS:
                raise SettingsError("unknown way to balance", value=name, hint=f"known: {', '.join(FACETS)}")


def combine(workspace: Workspace, settings: Settings, wanted: Wanted, benchmarks: Benchmarks) -> list[str]:
    """Write `training-data/scaled/combined`; returns a line for each format. Raises SourceError for an empty set."""
    scratch = workspace.private / "combine"
    shutil.rmtree(scratch, ignore_errors=True)  # a killed run's
    scratch.mkdir(parents=True)
    try:
        handover = Handover()
        checks = RowChecks(settings, benchmarks, workspace.secret())
        spool = Spool(scratch / "rows.jsonl")
        bands = Bands(scratch)
        places = _read(workspace, spool, bands, checks, handover)
        places = _distinct(spool, bands, places, settings.audit.near_duplicate, handover)
        for name in wanted.balance:
            places = _balanced(spool, places, name, wanted.seed, handover)
        division = _divided(spool, places, wanted)
        with Export(workspace, handover, folder=home(workspace) / "combined") as export:
            written = [export.add(form, division) for form in wanted.formats]
            facts = {
                "settings": {"near_duplicate": settings.audit.near_duplicate, "balance": list(wanted.balance)}
                | {"split": dict(wanted.shares), "seed": wanted.seed},
                "handover": handover.counts,
                "noticed": dict(sorted((+checks.notes).items())),
                "scrubbed": dict(sorted(checks.scrubbed.items())),
                "benchmarks": {"checked": benchmarks.checked, "unchecked": benchmarks.unchecked},
                "splits": {name: len(part) for name, part in division.parts.items()},
                "notes": division.notes,
                **_diversity(spool, places),
            }
            figures = scaled_card.statistics(spool, places)
            export.write("statistics.json", orjson.dumps(figures, option=orjson.OPT_INDENT_2).decode() + "\n")
            export.write("dropped.jsonl", "".join(orjson.dumps(row).decode() + "\n" for row in handover.rows()))
            export.save(scaled_card.render(written, facts, figures, scaled_card.sources(spool, places)), facts)
        handover.say()
        return [form.line().replace("export/", "combined/", 1) for form in written]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _read(workspace: Workspace, spool: Spool, bands: Bands, checks: RowChecks, handover: Handover) -> list[int]:
    """Every row of every source through its checks; returns the places of those that passed."""
    seen: set[bytes] = set()
    files = list(source_files(workspace))
    if not files:
        hint = "`duel scale public`, `sessions`, `duels`, `pairs`, `synthesize` fill it"
        raise SourceError("there is nothing to combine", where=home(workspace), hint=hint)
    with spool.path.open("wb") as out:
        for kind, path in files:
            dropped: list[Dropped] = []
            first, taken = len(spool.ids), 0
            with path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    taken += 1
                    name = f"{kind}/{path.name}:{number}"
                    try:
                        row = ScaledRow.of_line(line)
                        name = row.id
                        if row.source.kind != kind:
                            raise ItemError("damaged", f"a row of {row.source.kind} among those of {kind}")
                        if (identity := _digest(row.id.encode("utf-8", "replace"))) in seen:
                            raise ItemError("same-id", "its id stands before")
                        seen.add(identity)
                        _add(spool, out, bands, *checks(row))
                    except ItemError as error:
                        dropped.append(Dropped(name, kind, error.reason, error.what))
            handover.record(f"check {kind}/{path.name}", taken, len(spool.ids) - first, dropped)
    return list(range(len(spool.ids)))


def _add(spool: Spool, out: Any, bands: Bands, row: ScaledRow, calls: list[Any]) -> None:
    line, text = row.line(), row.text()
    out.write(line)
    spool.starts.append(spool.starts[-1] + len(line))
    spool.tokens.append(estimate_tokens(text))
    spool.ids.append(row.id)
    kinds = facets(row, calls)
    spool.facets.append(tuple(spool.one(kinds[name]) for name in FACETS))
    spool.keys.append([spool.one(key) for key in row.tied_by()])
    spool.digests.append(_digest(text.encode("utf-8", "replace")))
    bands.add(text)


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()


def _distinct(spool: Spool, bands: Bands, places: list[int], threshold: float, handover: Handover) -> list[int]:
    """Without exact copies, then without near-duplicates; the first of each stays."""
    first: dict[bytes, int] = {}
    for place in places:
        first.setdefault(spool.digests[place], place)
    copies = {place: first[spool.digests[place]] for place in places if first[spool.digests[place]] != place}
    places = _without(spool, places, copies, "duplicate", "copies", handover)
    near = bands.groups(places, threshold)
    return _without(spool, places, near, "near-duplicate", "near-copies", handover)


def _without(
    spool: Spool, places: list[int], copies: Mapping[int, int], reason: str, step: str, handover: Handover
) -> list[int]:
    dropped = [spool.drop(place, reason, f"of {spool.ids[copies[place]]}") for place in places if place in copies]
    kept = [place for place in places if place not in copies]
    handover.record(step, len(places), len(kept), dropped)
    return kept


def _balanced(spool: Spool, places: list[int], name: str, seed: int, handover: Handover) -> list[int]:
    """No value of a facet holds more than an even share; a row's id decides whether it stays."""
    at = FACETS.index(name)
    groups: dict[str, list[int]] = {}
    for place in sorted(places, key=lambda place: _digest(f"{seed}/{name}/{spool.ids[place]}".encode())):
        groups.setdefault(spool.facets[place][at], []).append(place)
    share = -(-len(places) // max(1, len(groups)))
    over = {place for group in groups.values() for place in group[share:]}
    reason = f"over-even-share-of-{name}"
    dropped = [spool.drop(place, reason, spool.facets[place][at]) for place in places if place in over]
    kept = [place for place in places if place not in over]
    handover.record(f"balance {name}", len(places), len(kept), dropped)
    return kept


def _divided(spool: Spool, places: list[int], wanted: Wanted) -> Division:
    """Every group in one split: rows that share a repository, commit, plan, template or parent, through others too."""
    root = _united(spool, places)
    tokens: Counter[str] = Counter()
    for place in places:
        tokens[root(place)] += spool.tokens[place]
    if len(tokens) < len(wanted.shares):
        hint = "more sources, or --split 100"
        raise SourceError("there are fewer groups than splits", where="--split", value=len(tokens), hint=hint)
    placed = splits.place(tokens, wanted.shares, wanted.seed)
    parts: dict[str, list[int]] = {split: [] for split in wanted.shares}
    for place in places:
        parts[placed[root(place)]].append(place)
    largest = max(tokens.values()) / sum(tokens.values())
    note = f"{len(tokens):,} groups, none in two splits; the largest holds {largest:.1%} of the tokens"
    got = {name: sum(spool.tokens[place] for place in part) / sum(tokens.values()) for name, part in parts.items()}
    note += "; shares of the tokens: " + ", ".join(f"{name} {share:.0%}" for name, share in got.items())
    say(note)
    return Division({split: SpoolPart(spool, part) for split, part in parts.items()}, "repo", [note])


def _diversity(spool: Spool, places: list[int]) -> dict[str, Any]:
    """The figures of a sample of the synthetic rows, and a warning where one is not what real requests have."""
    synthetic = [place for place in places if spool.facets[place][0] == "synthetic"]
    chosen = sorted(synthetic, key=lambda place: _digest(spool.ids[place].encode()))[: diversity.SAMPLE]
    if not chosen:
        return {}
    found = diversity.figures([spool.row(place) for place in chosen])
    missed = diversity.missed(found)
    warning = f"The synthetic requests are less varied than real ones: {'; '.join(missed)}."
    return {"diversity": {"sample": len(chosen), **found}, "warnings": [warning] if missed else []}


def _united(spool: Spool, places: list[int]) -> Callable[[int], str]:
    """The group of a place, by the least key that its rows are tied by."""
    parents: dict[str, str] = {}

    def find(key: str) -> str:
        while parents.setdefault(key, key) != key:
            parents[key] = key = parents[parents[key]]
        return key

    for place in places:
        for key in spool.keys[place][1:]:
            low, high = sorted((find(spool.keys[place][0]), find(key)))
            parents[high] = low
    return lambda place: find(spool.keys[place][0])
