"""The judged turns, some hundred at a time: each portion is read, sorted into its buckets and packed by one process.

What one turn decides for another, which of near-duplicates stands in `final/`, is decided afterwards, best first: so a
portion hands the records for `final/` out, and writes those of the other buckets itself.
"""

import contextlib
import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from duel.errors import ItemError
from duel.processes import spread
from duel.records import Bucket, Kept, Verdict
from duel.records.record import json_object
from duel.refining.rewrites import Refined
from duel.reporting.listed_turns import Judged, ListedTurn, NotOfThisVerdict, Reader
from duel.reporting.page import CHUNK_TURNS, PORTION_TURNS, Details, packed, searched
from duel.settings import Settings
from duel.workspace import BUCKETS, Workspace, disk_errors

MANIFEST = "kept.json"
_IN_A_BUCKET = re.compile(rf"({'|'.join(BUCKETS)})/(\d+/)?[^/\0]+\.json")
FEW = 1000  # turns up to which one process is quicker than two that have to start
# A place among the scores, the score's file, its answer's.
Scored = tuple[int, Path, Path | None]


class Shelves:
    """The buckets on disk: `final/`, `refined/` and `defeat/`, rewritten at each run.

    A file is this project's where its manifest lists it, or where it is the kept record of a turn that was judged here
    (a run that was killed had no time to list it). Any other file is the user's and stays.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.in_the_way: list[str] = []  # users' own files that lie where a turn should go
        self._before: set[str] = set()
        # A damaged manifest lists nothing, and no name in it leads out of the buckets.
        with contextlib.suppress(OSError, ValueError):
            names = orjson.loads((workspace.private / MANIFEST).read_bytes())
            if isinstance(names, list):
                self._before = {name for name in names if isinstance(name, str) and _IN_A_BUCKET.fullmatch(name)}

    def put(self, bucket: Bucket, file: str, payload: bytes) -> str:
        """Write the record of a turn into its bucket; returns the file's name, relative to the workspace."""
        path = self.workspace.kept_path(bucket, file)
        name, found = self._name(path), _bytes(path)
        if found is None or (found != payload and (name in self._before or _is_kept_record(path))):
            self.workspace.save(path, payload)
        elif found != payload:
            self.in_the_way.append(name)
        return name

    def tidy(self, judged: Collection[str], kept: set[str]) -> int:
        """Remove the turns that have left a bucket, remember those that are `kept`; returns how many were removed."""
        gone = self._before - kept
        for path in (path for bucket in BUCKETS for path in self.workspace.kept_paths(bucket)):
            name = self._name(path)
            known = name in kept or name in gone or path.stem not in judged
            if not known and _is_kept_record(path):  # no manifest lists it
                gone.add(name)
        for name in sorted(gone):
            path = self.workspace.root / name
            with disk_errors(path):
                path.unlink(missing_ok=True)
        self.workspace.save_page(self.workspace.private / MANIFEST, sorted(kept.difference(self.in_the_way)))
        return len(gone)

    def _name(self, path: Path) -> str:
        return str(path)[len(str(self.workspace.root)) + 1 :].replace(os.sep, "/")


def _bytes(path: Path) -> bytes | None:  # None where no file is, b"" of one that cannot be read
    try:
        return path.read_bytes()
    except OSError as error:
        return None if isinstance(error, FileNotFoundError | NotADirectoryError) else b""


def _is_kept_record(path: Path) -> bool:
    tag = json_object(path).get("format")
    return isinstance(tag, str) and tag.split("/")[0] == Kept.kind()


def enriched(judged: Judged) -> Kept:
    """The answer with what the panel said of it, or the held-out judges of the rewrite that took its place."""
    fields = vars(answer := judged.kept()) | (answer.model_extra or {})
    fields.pop("format", None)
    rewritten = judged.lineage[-1].held_out if judged.lineage else None
    said = rewritten or judged.score
    return Kept.model_construct(
        **fields
        | {
            "score": said.score if rewritten else judged.turn.score,
            "score_expected": None if rewritten else judged.expected,
            "metrics": said.metrics,
            "reason": said.reason,
            "bucket_reason": judged.turn.why,
            "mode": judged.score.mode,
            "license": judged.turn.license,
            "lineage": [trial.promotion() for trial in judged.lineage],
            "base_commit": judged.commit.commit if judged.commit else "",
        }
    )


@dataclass
class Portion:
    """What is left of some hundred turns when they are written down."""

    turns: list[ListedTurn] = field(default_factory=list)
    finals: dict[str, bytes] = field(default_factory=dict)  # file -> its record for `final/`
    trials: list[Refined] = field(default_factory=list)
    blocks: dict[str, bytes] = field(default_factory=dict)  # details for the page, packed
    texts: bytes = b""  # what the page's search looks at, packed
    missing: list[dict[str, Any]] = field(default_factory=list)  # scores without an answer, as rows of dropped.jsonl
    damage: list[ItemError] = field(default_factory=list)
    in_the_way: list[str] = field(default_factory=list)
    saved: Counter[str] = field(default_factory=Counter)


class PortionWriter:
    """Writes one portion after another, in a process of its own or in the only one."""

    def __init__(self, workspace: Workspace, settings: Settings, verdict: Verdict, turns: int) -> None:
        self.workspace, self.turns = workspace, turns
        self._reader, self._shelves = Reader(workspace, settings, verdict), Shelves(workspace)

    def write(self, scored: list[Scored]) -> Portion:
        portion, details = Portion(), Details(self.turns)
        # Of each turn its details and what search looks at; one that cannot be shown leaves a gap.
        told: list[dict[str, Any] | None] = [None] * len(scored)
        texts = [""] * len(scored)
        self._shelves.in_the_way = portion.in_the_way
        with self.workspace.saves.apart() as portion.saved:
            for number, one in enumerate(scored):
                try:
                    judged = self._reader.read(*one)
                except NotOfThisVerdict as error:
                    names = {"file": one[1].stem, "instance_id": error.where}
                    portion.missing.append({**names, "reason": error.reason, "detail": error.what})
                    continue
                except ItemError as error:
                    portion.damage.append(error)
                    continue
                turn = judged.turn
                if turn.bucket == "final":
                    portion.finals[turn.file] = enriched(judged).dump()
                elif turn.bucket is not None:
                    turn.kept = self._shelves.put(turn.bucket, turn.file, enriched(judged).dump())
                portion.trials += ((turn.instance_id, trial) for trial in judged.trials)
                portion.turns.append(turn)
                told[number], texts[number] = details.of(judged), searched(judged)
        first = scored[0][0]
        for start in range(0, len(told), CHUNK_TURNS):
            portion.blocks[str((first + start) // CHUNK_TURNS)] = packed(told[start : start + CHUNK_TURNS])
        portion.blocks[f"systems-{first // PORTION_TURNS}"] = packed(details.systems())
        portion.texts = packed(texts)
        return portion


def best_first(workspace: Workspace) -> list[Scored]:
    """Every score file with its answer: highest score first, unparsed ones last, equals in natural order."""

    def rank(path: Path) -> float:
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):  # it is told when its turn comes
            told = orjson.loads(path.read_bytes())
            return -float(told.get("score")) if told.get("parsed") else math.inf
        return math.inf

    answers = {path.stem: path for path in workspace.answer_paths()}
    ranked = sorted(workspace.score_paths(), key=rank)
    return [(place, path, answers.get(path.stem)) for place, path in enumerate(ranked)]


def portions(workspace: Workspace, settings: Settings, verdict: Verdict, scored: list[Scored]) -> Iterator[Portion]:
    """The portions in order; what was saved for them counts as saved by this process."""
    lots = [scored[start : start + PORTION_TURNS] for start in range(0, len(scored), PORTION_TURNS)]
    make = partial(PortionWriter, workspace, settings, verdict, len(scored))
    for portion in spread(PortionWriter.write, lots, len(lots) if len(scored) >= FEW else 1, make):
        workspace.saves.take(portion.saved)
        yield portion
