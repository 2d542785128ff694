"""One export: the rows of every format and split, the card, the manifest, and the one moment they reach the disk.

In Parquet, objects with free keys (the arguments of a tool call) are columns of JSON (`arrow.json`): a struct gives
every row the keys of all others, filled with null. `datasets` reads objects back, other readers JSON text.
"""

import hashlib
import json
import shutil
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from duel import __version__
from duel.conversation import values
from duel.errors import ItemError
from duel.exports import lengths, recipes
from duel.exports.example import Division, Dropped, Example, ExportError, Handover
from duel.exports.formats import FORMATS, Format, Provenance, provenance
from duel.exports.lengths import Measure
from duel.records.record import json_object
from duel.workspace import Workspace, disk_errors

MANIFEST, CARD, ROWS, DATASET_INFO = "manifest.json", "README.md", "rows.jsonl", "dataset_info.json"
# Text of one row group: enough to compress well, little enough to hold. With 2,000 turns of 20 KB in 8 formats an
# export takes 285 MB; whole files in memory took 1,018 MB.
GROUP_BYTES = 8 << 20
json_line = partial(orjson.dumps, option=orjson.OPT_APPEND_NEWLINE)
WEIGHTS = ("weight", "margin", "score_expected")


@dataclass
class Written:
    """What one format became, which another process may have written."""

    name: str
    handover: Handover = field(default_factory=Handover)
    rows: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)  # tokens of every row, of its longest sequence
    files: dict[str, dict[str, Any]] = field(default_factory=dict)  # sha256 and size in bytes by name

    @property
    def format(self) -> Format:
        return FORMATS[self.name]

    def figures(self) -> dict[str, Any]:
        return lengths.figures(self.lengths)

    def parquet_bytes(self) -> dict[str, int]:
        return {split: int(self.files[f"{self.name}/{split}.parquet"]["bytes"]) for split in self.rows}

    def line(self) -> str:
        splits = ", ".join(f"{split} {count:,}" for split, count in self.rows.items())
        rows, tokens = sum(self.rows.values()), sum(self.tokens.values())
        return f"export/{self.name}: {rows:,} rows ({splits}), {tokens:,} tokens"


def write_format(folder: Path, form: Format, division: Division, measure: Measure) -> Written:
    """Every split in one format under `folder`, configurations of the trainers that read it, `<name>.index` beside.

    Raises ExportError where it can hold none, has no place for a column, or counts do not agree.
    """
    what = f"`{form.name}` has no place for this"
    if measure.weights and not issubclass(form.schema, Provenance):
        raise ExportError(what, where="--weights", hint="use a format of TRL's")
    if measure.reasoning and not form.reasoning:
        raise ExportError(what, where="--thought reasoning_content", hint="use --thought think")
    done = Written(form.name)
    (folder / form.name).mkdir()
    for split, part in division.parts.items():
        _write_split(folder, form, split, part, measure, done)
    figures, counted_by = done.figures(), measure.tokens.name
    # The limit that was asked for, else the next multiple of 1,024 that holds every row.
    longest = figures["longest"]
    made = recipes.render(form, measure.limit or -(-longest // 1024) * 1024, longest, counted_by)
    for name, text in (made | {CARD: recipes.readme(form, figures, counted_by)}).items():
        done.files |= _noted(folder, f"{form.name}/{name}", text)
    return done


def _write_split(
    folder: Path, form: Format, split: str, part: Sequence[Example], measure: Measure, done: Written
) -> None:
    dropped, before = list[Dropped](), len(done.lengths)
    done.tokens[split] = 0
    extra = {"weights": measure.weights, "reasoning": measure.reasoning}
    with (
        writing(folder / form.name, split, form.schema, **extra) as write,
        (folder / f"{form.name}.index").open("ab") as index,
    ):
        for example in part:
            try:
                made = measure.rows(form, example)
            except ItemError as error:
                dropped.append(example.dropped(error.reason, error.what))
                continue
            for row in made:
                write(row.fields)
                # Where the row comes from: some formats' readers take no further columns.
                told = {"format": form.name, "split": split, "tokens": row.longest}
                index.write(json_line(told | provenance(row.example)))
                done.tokens[split] += sum(row.lengths)
                done.lengths.append(row.longest)
    done.handover.record(f"write {form.name}/{split}", len(part), len(part) - len(dropped), dropped)
    done.rows[split] = len(done.lengths) - before
    if not done.rows[split]:
        reasons = ", ".join(sorted({drop.reason for drop in dropped})) or "there is nothing to write"
        hint = "report/dropped.jsonl names each example with its reason"
        if "no-pair" in reasons or "no-score" in reasons:
            hint = "pairs come out of duels, or of runs with --outcomes where dpo, reward or kto are asked for alone"
        elif "native-tool-calls" in reasons:
            hint = "use trl-tools, openai-tools, anthropic, atif or codeact"
        raise ExportError(f"`{form.name}` can hold no example of {split}", where="--format", value=reasons, hint=hint)
    for file in (f"{form.name}/{split}.jsonl", f"{form.name}/{split}.parquet"):
        done.files |= _noted(folder, file)


class Export:
    """One export on its way to disk: it grows in a folder of its own and is moved into `export/` as a whole.

    What does not add up leaves the earlier export as it was.
    """

    def __init__(
        self, workspace: Workspace, handover: Handover, measure: Measure | None = None, folder: Path | None = None
    ) -> None:
        self.folder = folder or workspace.root / "export"
        self.new, self.handover, self.measure = self.folder / ".new", handover, measure or Measure()
        self.written: list[Written] = []
        self.files: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        with disk_errors(self.folder):
            shutil.rmtree(self.new, ignore_errors=True)  # a killed run's
            self.new.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.new, ignore_errors=True)
        with suppress(OSError):
            self.folder.rmdir()  # nothing is in it: nothing was exported

    def add(self, form: Format, division: Division) -> Written:
        """Write every split in one format. Raises ExportError as `write_format` does."""
        with disk_errors(self.folder):
            return self.take(write_format(self.new, form, division, self.measure))

    def take(self, written: Written) -> Written:
        self.written.append(written)
        self.files |= written.files
        self.handover.counts += written.handover.counts
        self.handover.left_out += written.handover.left_out
        return written

    def write(self, name: str, text: str) -> None:
        self.files |= _noted(self.new, name, text)

    def save(self, card: str, facts: Mapping[str, Any]) -> None:
        """Put everything under `export/`, the manifest last; an earlier export's other files are removed."""
        with disk_errors(self.folder):
            with (self.new / ROWS).open("wb") as rows:
                for done in self.written:
                    with (self.new / f"{done.name}.index").open("rb") as lines:
                        shutil.copyfileobj(lines, rows)
            self.files |= _noted(self.new, ROWS)
            if info := recipes.dataset_info([done.format for done in self.written]):
                self.write(DATASET_INFO, json.dumps(info, indent=2) + "\n")
            self.write(CARD, card)
            formats = {
                done.name: {"rows": done.rows, "tokens": done.tokens, "lengths": done.figures()}
                | {"summary": done.format.summary}
                for done in self.written
            }
            manifest = {"format": "duel-export/1", "made_by": f"duel-curation {__version__}", **facts}
            manifest |= {"formats": formats, "counted_by": self.measure.tokens.name, "fit": self.measure.limit}
            manifest |= {"files": dict(sorted(self.files.items()))}
            self.write(MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
            stale = set(_listed(self.folder)) - set(self.files)
            for name in self.files:
                (self.folder / name).parent.mkdir(exist_ok=True)
                (self.new / name).replace(self.folder / name)
            for name in sorted(stale):
                (self.folder / name).unlink(missing_ok=True)
                with suppress(OSError):
                    (self.folder / name).parent.rmdir()  # a format that this export does not have


def _noted(folder: Path, name: str, text: str | None = None) -> dict[str, dict[str, Any]]:
    """What the manifest says of a file, which is written first where `text` is given."""
    if text is not None:
        (folder / name).write_bytes(text.encode())
    with (folder / name).open("rb") as file:
        return {name: {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": file.tell()}}


def _listed(folder: Path) -> list[str]:
    """The files of the export that lies there, by its own manifest; names that lead elsewhere are passed over."""
    names = map(Path, values.table(json_object(folder / MANIFEST).get("files")))
    return [name.as_posix() for name in names if not name.is_absolute() and ".." not in name.parts]


@contextmanager
def writing(
    folder: Path, split: str, shape: type[BaseModel], *, weights: bool = False, reasoning: bool = False
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """`<split>.jsonl` and `<split>.parquet` in `folder`, in the columns of `shape`; yields what writes one row.

    `weights` adds columns to each row, `reasoning` a key `reasoning_content` to each message.
    """
    plain, schema = (schema_of(shape, json_type, weights, reasoning) for json_type in (pa.string(), pa.json_()))
    waiting: list[dict[str, Any]] = []
    size = 0

    def flush() -> None:
        if waiting:
            table.write_table(pa.Table.from_pylist(waiting, schema=plain).cast(schema))
        waiting.clear()

    def write(row: Mapping[str, Any]) -> None:
        nonlocal size
        line = json_line(row)
        text.write(line)
        waiting.append({field.name: _fitted(row.get(field.name), field.type) for field in plain})
        size += len(line)
        if size >= GROUP_BYTES:
            flush()
            size = 0

    columns = folder / f"{split}.parquet"
    with (folder / f"{split}.jsonl").open("wb") as text, pq.ParquetWriter(columns, schema, compression="zstd") as table:
        yield write
        flush()


def schema_of(shape: type[BaseModel], json_type: pa.DataType, weights: bool, reasoning: bool) -> pa.Schema:
    """The Arrow schema of a row's model; `json_type` stands for objects with free keys."""
    plain = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}

    def fields(model: type[BaseModel]) -> dict[str, pa.DataType]:
        found = {name: kind(field.annotation) for name, field in model.model_fields.items()}
        return found | ({"reasoning_content": pa.string()} if reasoning and "role" in found else {})

    def kind(annotation: Any) -> pa.DataType:
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin in {types.UnionType, typing.Union}:
            [some] = [argument for argument in arguments if argument is not type(None)]
            return kind(some)
        if origin is typing.Literal:
            return plain[type(arguments[0])]
        if origin is list:
            return pa.list_(kind(arguments[0]))
        if origin is dict:
            return json_type
        return plain[annotation] if annotation in plain else pa.struct([*fields(annotation).items()])

    return pa.schema([*(fields(shape) | dict.fromkeys(WEIGHTS if weights else (), pa.float64())).items()])


def _fitted(value: Any, kind: pa.DataType) -> Any:
    """`value` with JSON text for every object whose column has no keys of its own."""
    if isinstance(value, list):
        return [_fitted(part, kind.value_type) for part in value]
    if not isinstance(value, dict):
        return value
    if not kind.num_fields:
        return json.dumps(value, ensure_ascii=False)
    return {field.name: _fitted(value.get(field.name), field.type) for field in kind}
