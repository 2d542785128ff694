"""The case of the last verdict, kept beside the files it was read from, so that the next one need not read them.

The files are the truth: names, sizes and times of all answers and scores are part of the key (`duel.file_sums`), and so
are the settings that decide which scores count and what they add up to. Whatever differs, the files are read again.
Reading 1,000,000 turns takes minutes, comparing their names and times seconds.
"""

from __future__ import annotations

import io
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import orjson

from duel.file_sums import Snapshot
from duel.judging import looks
from duel.judging.gate import Case
from duel.judging.rubric import short_hash
from duel.judging.scoring import ARRAYS, NUMBERS, Columns, objects

if TYPE_CHECKING:
    from duel.judging.panel import Panel

FORMAT = "duel-case/4"
# Under this many turns reading the files takes half a second at most, and the table is not worth its disk.
FEWEST = 500
PARTS = ("columns", "noise", "canary", "ineligible")
FACTS = ("attacks", "kept_out", "confirmed", "left_out")


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
                part: Columns(tuple(told["judges"]), *(_array(kept[f"{part}.{name}"], name) for name in ARRAYS))
                for part in PARTS
                if f"{part}.votes" in kept
            }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile):
        return None
    panel.stage.dropped, panel.stage.finished = told["dropped"], told["finished"]
    parts |= {name: told[name] for name in FACTS} | {"earlier": looks.read(panel.workspace)}
    return Case(settings=panel.settings, mode=panel.mode, made_with=panel.made_with, **parts)


def store(panel: Panel, case: Case, files: Snapshot, finished: int) -> None:
    """Keep `case`, read from `files` as this process has left them; `finished` of its pairs have all their votes."""
    if len(case.columns) < FEWEST or panel.stage.damage:
        return
    panel.workspace.saves.let_the_clock_move()
    told = {"stamp": [rests_on(panel), files.now()], "judges": case.columns.judges, "finished": finished}
    told |= {"dropped": panel.stage.dropped, **{name: getattr(case, name) for name in FACTS}}
    arrays: dict[str, Any] = {"told": _json(told)}
    for name in PARTS:
        if (part := getattr(case, name)) is not None:
            arrays |= {f"{name}.{column}": getattr(part, column) for column in ARRAYS}
    # What is no number is kept as JSON: nothing that is read back can run anything.
    arrays = {name: _json(one.tolist()) if one.dtype == object else one for name, one in arrays.items()}
    whole = io.BytesIO()
    np.savez(whole, **arrays)
    panel.workspace.save(path(panel), whole.getvalue())


def _json(value: Any) -> np.ndarray[Any, Any]:
    return np.frombuffer(orjson.dumps(value), dtype=np.uint8)


def _array(kept: np.ndarray[Any, Any], column: str) -> np.ndarray[Any, Any]:
    if column in NUMBERS:
        return kept
    values = orjson.loads(kept.tobytes())
    return objects(intern(value) if isinstance(value, str) else value for value in values)
