"""Which answers can be judged, which scores can be counted together, and the case that is brought before the gate.

The case of the last verdict is kept beside the files it was read from, so that the next one need not read them. The
files are the truth: names, sizes and times of all answers and scores are part of the key (`duel.file_sums`), and so are
the settings that decide which scores count and what they add up to. Whatever differs, the files are read again. Reading
1,000,000 turns takes minutes, comparing their names and times seconds.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from duel import placement
from duel.bookkeeping import Stage
from duel.errors import UserError
from duel.file_sums import Snapshot
from duel.judging import looks
from duel.judging.contests import CANARY, CONFIRM, NOISE, Contest
from duel.judging.gate import Case
from duel.judging.panel import Panel
from duel.judging.rubric import short_hash
from duel.judging.scoring import ARRAYS, LENGTHS, ORDERS, TOKENS, Columns, Objects, VoteTable, objects, settle
from duel.records import Answer, Score
from duel.settings import Settings

KEPT = "scores.parquet"
KEPT_FORMAT = "duel-case/6"
# Under this many turns reading the files takes half a second at most, and the table is not worth its disk.
FEWEST = 500
ROWS_AT_ONCE = 10_000  # that are written to the table: of 100,000 at once the copies took 200 MB
PARTS = ("columns", "noise", "canary", "ineligible")
STRUCTURED = ("errors", "models", "attempts")
FACTS = ("attacks", "kept_out", "confirmed", "left_out")


@dataclass
class Survey:
    """The answers of a workspace as they come by: those that cannot be judged, or could not be kept, are noted."""

    stage: Stage
    kept_out: dict[str, str] = field(default_factory=dict)  # file -> slug of what keeps it out of every bucket
    not_chosen: Collection[str] = ()  # files of which no candidate could be chosen yet
    rewritten: dict[Path, int] = field(default_factory=dict)  # answers with rewrites (`duel refine`), how many each

    def judgeable(self) -> Iterator[tuple[Path, Answer]]:
        """Every answer with both sides that could be kept; the others are dropped with their reason.

        With `[judge] ineligible` what cannot be kept is judged as well, and only noted.
        """
        stage = self.stage
        for path, answer in stage.workspace.answers(stage.damage):
            if reason := "not-chosen" if path.stem in self.not_chosen else why_not(answer, stage):
                stage.drop(path.stem, answer.instance_id, reason)
                continue
            obstacle = placement.obstacle(answer.audit("challenger"), stage.settings)
            if obstacle is not None:
                self.kept_out[path.stem] = obstacle.slug
                if not stage.settings.judge.ineligible:
                    stage.drop(path.stem, answer.instance_id, obstacle.slug, obstacle.reason)
                    continue
            if rewrites := answer.rewrites():
                self.rewritten[path] = len(rewrites)
            yield path, answer


def why_not(answer: Answer, stage: Stage) -> str:
    """Why `answer` is not judged; "" where it is."""
    if answer.instance_id in stage.settings.generate.exclude_ids:
        return "excluded"
    first = stage.settings.duel.mode == 1
    missing = "" if (answer.assistant if first else answer.king) else "no-reference" if first else "no-king"
    return missing if answer.challenger else "no-challenger"


def drawn(stage: Stage, count: int) -> list[tuple[Path, Answer]]:
    """`count` of the answers that can be judged, drawn by a keyed hash: a larger count keeps those of a smaller one."""

    def rank(path: Path) -> bytes:
        return hashlib.sha256(f"{stage.settings.duel.seed}:{path.stem}".encode()).digest()

    found: list[tuple[Path, Answer]] = []
    # What is damaged the stage itself has named.
    for path, answer in stage.workspace.read_all(sorted(stage.workspace.answer_paths(), key=rank), Answer, []):
        if len(found) == count:
            break
        if answer.king and not why_not(answer, stage):
            found.append((path, answer))
    return found


def scores_of(panel: Panel) -> Iterator[Score]:
    """The scores that count together, settled under the present settings; the others are dropped with their reason.

    A score counts when it was made with this mode, rubric and panel and on the candidates that `panel` has just seen.
    Where a workspace holds scores and no answer at all, they stand as they are. A score that other settings make
    different (another quorum, other dimensions), or that a second look has confirmed or not, is saved anew.
    """
    stage = panel.stage
    dropped = {row["file"] for row in stage.dropped}
    seen = bool(panel.candidates or dropped)
    confirmed = {score.file: score.score for score in beside(of_contest(panel, CONFIRM))}
    for path, score in panel.scores():
        if path.stem in dropped:
            continue
        if reason := panel.unlike(score, path.stem, seen):
            stage.drop(path.stem, score.instance_id, reason)
            continue
        settled = settle(score, stage.settings).model_copy(update={"confirmed": confirmed.get(score.file)})
        if settled != score:
            stage.workspace.save(path, settled)
        yield settled


def left_out(panel: Panel, counted: Collection[str]) -> Counter[str]:
    """How many turns the verdict does not speak of, by reason."""
    dropped = panel.stage.dropped
    found = Counter(str(row["reason"]) for row in dropped)
    found["damaged"] = len(panel.stage.damage)
    found["not-judged"] = len(panel.candidates.keys() - {*counted, *(str(row["file"]) for row in dropped)})
    return +found


def beside(panel: Panel) -> list[Score]:
    """The scores of a further contest that stand under the present settings, settled."""
    stems = (path.stem for path in panel.contest.paths(panel.workspace))
    for _ in panel.open_turns(panel.workspace.answers_of(stems, [])):
        pass
    standing = [score for path, score in panel.scores() if not panel.unlike(score, path.stem)]
    return [settle(score, panel.settings) for score in standing]


def of_contest(panel: Panel, contest: Contest) -> Panel:
    """The same judges before another contest; a confirmation may have judges of its own."""
    settings = panel.settings
    if contest is CONFIRM and settings.judge.confirm_models:
        settings = settings.with_keys(judge={"models": settings.judge.confirm_models})
    return Panel(Stage(contest.name, panel.workspace, settings, panel.stage.again, panel.stage.offline), contest)


def case_of(panel: Panel, survey: Survey) -> Case:
    """Everything that the gate looks at, in columns. Raises UserError where nothing was judged."""
    stage, judges = panel.stage, panel.settings.judge.models
    dimensions = panel.settings.judge.dimensions
    confirmed: dict[str, float] = {}
    halted: list[Score] = []

    def noted() -> Iterator[Score]:
        for score in scores_of(panel):
            if score.confirmed is not None:
                confirmed[score.file] = score.confirmed
            if not score.parsed:
                halted.append(score.model_copy(update={"votes": []}))
            yield score

    every = Columns.of(noted(), judges, dimensions)
    out = np.array([file in survey.kept_out for file in every.files], dtype=bool)
    reasons = left_out(panel, every.files)
    if not len(every) and (reasons or not survey.kept_out):
        raise UserError(
            "there is nothing to decide on",
            where=panel.workspace.root / "score",
            value=", ".join(f"{count:,} {reason}" for reason, count in reasons.items()) or None,
            hint="they were made with other settings, or with --offline: go back to those, or ask anew without --regate"
            if any(reason.startswith("other-") for reason in reasons)
            else "run king.py and ch.py first, then validate.py",
        )
    for score in halted:
        stage.drop(score.file, score.instance_id, "stopped" if score.stopped else "unparsed", score.reason)
    noise, canary = (beside(of_contest(panel, contest)) for contest in (NOISE, CANARY))
    return Case(
        columns=every.where(~out) if out.any() else every,
        settings=panel.settings,
        mode=panel.mode,
        made_with=panel.made_with,
        noise=Columns.of(noise, judges, dimensions) if noise else None,
        canary=Columns.of(canary, judges, dimensions) if canary else None,
        attacks=[score.pair.challenger.removeprefix("rule:") for score in canary],
        ineligible=every.where(out) if out.any() else None,
        kept_out=survey.kept_out,
        confirmed=confirmed,
        left_out=reasons,
        earlier=looks.read(panel.workspace),
    )


def rests_on(panel: Panel) -> str:
    """The fingerprint of the settings under which the files are read."""
    settings = panel.settings
    chosen = settings.model_dump(mode="json", include={"judge", "audit", "generate"})
    report = settings.report.model_dump() if settings.judge.strategy == "screen" else None
    return short_hash([KEPT_FORMAT, panel.made_with, panel.mode, settings.duel.seed, chosen, report])


def load_case(panel: Panel, files: Snapshot) -> Case | None:
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


def keep_case(panel: Panel, case: Case, files: Snapshot, finished: int) -> None:
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
    return {**votes, "tokens": (judges, TOKENS), "cost": (judges,), "lengths": (LENGTHS,)}


def _labels(name: str, axes: Iterable[Sequence[str]]) -> list[str]:
    return [" ".join([name, *places]) for places in itertools.product(*axes)]
