"""The case of the last verdict, kept beside the files it was read from, so that the next one need not read them.

The files are the truth: names, sizes and times of all answers and scores are part of the key (`duel.file_sums`), and so
are the settings that decide which scores count and what they add up to. Whatever differs, the files are read again.
Reading 1,000,000 turns takes minutes, comparing their names and times seconds.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import orjson

from duel.file_sums import Snapshot
from duel.judging import looks
from duel.judging.evidence import Case
from duel.judging.rubric import short_hash
from duel.judging.scoring import Columns, objects

if TYPE_CHECKING:
    from duel.judging.panel import Panel

FORMAT = "duel-case/2"
# Under this many turns reading the files takes half a second at most, and the table is not worth its disk.
FEWEST = 500
NUMBERS = ("votes", "asked", "tokens", "cost", "lengths")
WORDS = ("files", "instances", "opponents", "challengers", "made_by", "candidates", "errors", "models", "attempts")
PARTS = ("columns", "noise", "canary", "ineligible")


def path(panel: Panel) -> Path:
    return panel.workspace.private / "case.npz"


def rests_on(panel: Panel) -> str:
    """The fingerprint of the settings under which the files are read."""
    settings = panel.settings
    chosen = settings.model_dump(mode="json", include={"judge", "audit", "generate"})
    report = settings.report.model_dump() if settings.judge.strategy == "screen" else None
    return short_hash([FORMAT, panel.made_with, panel.mode, settings.duel.seed, chosen, report])


def snapshot(panel: Panel) -> Snapshot:
    return Snapshot.take(panel.workspace, "answer", "score")


def load(panel: Panel, files: Snapshot) -> Case | None:
    """The case as it was kept, if nothing has changed since; its dropped items are the stage's then."""
    try:
        with np.load(path(panel), allow_pickle=False) as kept:
            told = orjson.loads(kept["told"].tobytes())
            if told["stamp"] != [rests_on(panel), files.before]:
                return None
            parts: dict[str, Any] = {
                name: _columns(kept, name, told["judges"]) for name in PARTS if f"{name}.votes" in kept
            }
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return None
    panel.stage.dropped = told["dropped"]
    panel.stage.finished = told["finished"]
    facts = {name: told[name] for name in ("attacks", "kept_out", "confirmed", "left_out")}
    earlier = looks.read(panel.workspace)
    return Case(settings=panel.settings, mode=panel.mode, made_with=panel.made_with, earlier=earlier, **facts, **parts)


def store(panel: Panel, case: Case, files: Snapshot, finished: int) -> None:
    """Keep `case`, read from `files` as this process has left them; `finished` of its pairs have all their votes."""
    if len(case.columns) < FEWEST or panel.stage.damage:
        return
    panel.workspace.saves.let_the_clock_move()
    told = {
        "stamp": [rests_on(panel), files.now()],
        "judges": case.columns.judges,
        "dropped": panel.stage.dropped,
        "finished": finished,
        **{name: getattr(case, name) for name in ("attacks", "kept_out", "confirmed", "left_out")},
    }
    arrays: dict[str, Any] = {"told": _bytes(told)}
    for name in PARTS:
        part = getattr(case, name)
        if part is not None:
            arrays |= {f"{name}.{column}": getattr(part, column) for column in NUMBERS}
            arrays |= {f"{name}.{column}": _bytes(getattr(part, column).tolist()) for column in WORDS}
    whole = io.BytesIO()
    np.savez(whole, **arrays)
    panel.workspace.save(path(panel), whole.getvalue())


def _bytes(value: Any) -> np.ndarray[Any, Any]:
    return np.frombuffer(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS), dtype=np.uint8)


def _columns(kept: Mapping[str, Any], name: str, judges: Iterable[str]) -> Columns:
    words = {column: orjson.loads(kept[f"{name}.{column}"].tobytes()) for column in WORDS}
    known: dict[str, str] = {}
    for column in WORDS[:6]:
        words[column] = [known.setdefault(word, word) for word in words[column]]
    for column in ("errors", "models"):
        words[column] = [value and {int(place): told for place, told in value.items()} for value in words[column]]
    words["attempts"] = [tuple(kinds) for kinds in words["attempts"]]
    numbers: dict[str, Any] = {column: kept[f"{name}.{column}"] for column in NUMBERS}
    empty = Columns.of([], list(judges))
    return replace(empty, **(numbers | {column: objects(values) for column, values in words.items()}))
