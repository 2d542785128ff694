"""The case of the last verdict, kept as one table beside the files it was read from: the next one need not read them.

The files are the truth: names, sizes and times of all answers and scores are part of the key (`duel.file_sums`), and so
are the settings that decide which scores count and what they add up to. Whatever differs, the files are read again.
Reading 1,000,000 turns takes minutes, comparing their names and times seconds.
"""

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson

from duel.calls.request import COUNTED_USAGE
from duel.judging import looks
from duel.judging.gate import Case
from duel.judging.panel import Panel
from duel.judging.rubric import short_hash
from duel.judging.scoring import ARRAYS, LENGTHS, ORDERS, Columns, Objects, VoteTable, objects
from duel.settings import Settings
from duel.standing import Snapshot

KEPT = "scores.parquet"
KEPT_FORMAT = "duel-case/6"
# Under this many turns reading the files takes half a second at most, and the table is not worth its disk.
FEWEST = 500
ROWS_AT_ONCE = 10_000  # that are written to the table: of 100,000 at once the copies took 200 MB
PARTS = ("columns", "noise", "canary", "ineligible")
STRUCTURED = ("errors", "models", "attempts")
FACTS = ("attacks", "kept_out", "confirmed", "left_out")


def rests_on(panel: Panel) -> str:
    """The fingerprint of the settings under which the files are read."""
    settings = panel.settings
    chosen = settings.model_dump(mode="json", include={"judge", "audit", "generate"})
    report = settings.report.model_dump() if settings.judge.strategy == "screen" else None
    return short_hash([KEPT_FORMAT, panel.made_with, panel.mode, settings.duel.seed, chosen, report])


def load(panel: Panel, files: Snapshot) -> Case | None:
    """The case as it was kept, if nothing has changed since; its dropped items are the stage's then."""
    axes, arrays, path = _axes(panel.settings), {}, panel.workspace.private / KEPT
    texts = [name for name in ARRAYS if name not in axes]
    try:
        data = path.read_bytes()
        # Parquet notices few damaged bytes by itself: a vote would be another, and the verdict with it.
        if path.with_suffix(".sum").read_text() != hashlib.sha256(data).hexdigest():
            return None
        import pyarrow as pa  # 50 ms, for which a workspace without a table need not wait
        from pyarrow import parquet

        with parquet.ParquetFile(pa.BufferReader(data), read_dictionary=texts) as kept:
            told = orjson.loads(kept.schema_arrow.metadata[b"duel"])
            if told["stamp"] != [rests_on(panel), files.before]:
                return None
            # One column at a time: what Arrow holds of it is free before the next.
            for name, labels in axes.items():
                columns = (kept.read([label]).column(0).to_numpy() for label in _labels(name, labels))
                arrays[name] = np.stack([*columns], axis=1).reshape(-1, *map(len, labels))
            arrays |= {name: _objects(kept.read([name]).column(0), name in STRUCTURED) for name in texts}
        whole, start = Columns(tuple(panel.settings.judge.models), **arrays), 0
        parts: dict[str, Any] = {name: told[name] for name in FACTS} | {"earlier": looks.read(panel.workspace)}
        for part, count in told["parts"].items():
            parts[part], start = whole.where(slice(start, start + count)), start + count
        panel.stage.dropped, panel.stage.finished = told["dropped"], told["finished"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Case(settings=panel.settings, mode=panel.mode, made_with=panel.made_with, **parts)


def _objects(column: Any, structured: bool) -> Objects:
    """Equal texts, and what equal texts are the JSON of, are one object."""
    known = column.combine_chunks()
    values = known.dictionary.to_pylist()
    found: Objects = objects(map(orjson.loads, values) if structured else values)[known.indices.to_numpy()]
    return found


def keep(panel: Panel, case: Case, files: Snapshot, finished: int) -> None:
    """Keep `case`, read from `files` as this process has left them; `finished` of its pairs have all their votes."""
    if len(case.columns) < FEWEST or panel.stage.damage:
        return
    import pyarrow as pa
    from pyarrow import parquet

    panel.workspace.saves.let_the_clock_move()
    parts = {name: part for name in PARTS if (part := getattr(case, name)) is not None}
    told: dict[str, Any] = {name: getattr(case, name) for name in FACTS}
    told |= {"stamp": [rests_on(panel), files.now()], "parts": {name: len(part) for name, part in parts.items()}}
    told |= {"finished": finished, "dropped": panel.stage.dropped}
    few = (
        _table(name, part.where(slice(start, start + ROWS_AT_ONCE)), panel.settings)
        for name, part in parts.items()
        for start in range(0, len(part), ROWS_AT_ONCE)
    )
    first, saved = next(few), pa.BufferOutputStream()
    with parquet.ParquetWriter(
        saved, first.schema.with_metadata({"duel": orjson.dumps(told)}), compression="zstd"
    ) as to:
        for rows in itertools.chain([first], few):
            to.write_table(rows)
    path, data = panel.workspace.private / KEPT, saved.getvalue()
    panel.workspace.save(path, data)
    panel.workspace.save(path.with_suffix(".sum"), hashlib.sha256(data).hexdigest().encode())


def _table(part: str, rows: Columns, settings: Settings) -> Any:
    """The rows as an Arrow table, a column for each number and text of a turn."""
    import pyarrow as pa

    axes = _axes(settings)
    columns: dict[str, Any] = {"part": [part] * len(rows), "score": VoteTable(rows, settings).standings.scores}
    for name in ARRAYS:
        values = getattr(rows, name)
        if name in axes:
            columns |= zip(_labels(name, axes[name]), values.reshape(len(rows), -1).T, strict=True)
        else:  # what is neither number nor text is kept as JSON: nothing that is read back can run anything
            columns[name] = [orjson.dumps(value).decode() for value in values] if name in STRUCTURED else values
    return pa.table(columns)


def _axes(settings: Settings) -> dict[str, tuple[Sequence[str], ...]]:
    """What the places of each array of numbers stand for, behind the turn."""
    judges, dimensions = settings.judge.models, settings.judge.dimensions
    votes = {"votes": (judges, ORDERS, dimensions), "asked": (judges, ORDERS)}
    return {**votes, "tokens": (judges, COUNTED_USAGE), "cost": (judges,), "lengths": (LENGTHS,)}


def _labels(name: str, axes: Iterable[Sequence[str]]) -> list[str]:
    return [" ".join([name, *places]) for places in itertools.product(*axes)]
