"""Rows as JSON lines and as Parquet, the same rows to the same bytes.

In Parquet, objects with free keys (the arguments of a tool call, a tool's schema) are columns of JSON (`arrow.json`,
Parquet's JSON type). A struct would give every row the keys of all others, filled with null: `datasets` reads the JSON
back as objects, other readers see JSON text.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pydantic import BaseModel

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

# Text of one row group: enough to compress well, little enough to hold. With 2,000 turns of 20 KB in 8 formats an
# export takes 285 MB; whole files in memory took 1,018 MB.
GROUP_BYTES = 8 << 20
WEIGHTS = ("weight", "margin", "score_expected")


class Rows:
    """The rows of one split on their way into both files; memory holds one row group."""

    def __init__(self, lines: BinaryIO, columns: pyarrow.parquet.ParquetWriter, schema: pyarrow.Schema) -> None:
        self.count = 0
        self._lines, self._columns, self._schema = lines, columns, schema
        self._waiting: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, row: Mapping[str, Any]) -> None:
        line = json_line(row)
        self._lines.write(line)
        self._waiting.append({field.name: _fitted(row.get(field.name), field.type) for field in self._schema})
        self.count += 1
        self._bytes += len(line)
        if self._bytes >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            table = pa.Table.from_pylist(self._waiting, schema=self._schema)
            self._columns.write_table(table.cast(self._columns.schema))
        self._waiting, self._bytes = [], 0


@contextmanager
def writing(
    folder: Path, split: str, shape: type[BaseModel], *, weights: bool = False, reasoning: bool = False
) -> Iterator[Rows]:
    """`<split>.jsonl` and `<split>.parquet` in `folder`, in the columns of `shape`, while the body adds rows.

    `weights` adds columns to each row, `reasoning` a key `reasoning_content` to each message.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain, schema = (schema_of(shape, json_type, weights, reasoning) for json_type in (pa.string(), pa.json_()))
    columns = folder / f"{split}.parquet"
    with (folder / f"{split}.jsonl").open("wb") as text, pq.ParquetWriter(columns, schema, compression="zstd") as table:
        rows = Rows(text, table, plain)
        yield rows
        rows.flush()


def json_line(row: Mapping[str, Any]) -> bytes:
    import orjson

    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def count(path: Path) -> int:
    """Rows that a reader finds in a file."""
    if path.suffix != ".parquet":
        with path.open("rb") as lines:
            return sum(1 for _ in lines)
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def schema_of(shape: type[BaseModel], json_type: pyarrow.DataType, weights: bool, reasoning: bool) -> pyarrow.Schema:
    """The Arrow schema of a row's model; `json_type` stands for objects with free keys."""
    import pyarrow as pa

    plain = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}

    def fields(model: type[BaseModel]) -> dict[str, pyarrow.DataType]:
        found = {name: kind(field.annotation) for name, field in model.model_fields.items()}
        return found | ({"reasoning_content": pa.string()} if reasoning and "role" in found else {})

    def kind(annotation: Any) -> pyarrow.DataType:
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


def _fitted(value: Any, kind: pyarrow.DataType) -> Any:
    """`value` for a column of `kind`: objects become JSON text where the column holds text."""
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_list(kind):
        return [_fitted(part, kind.value_type) for part in value]
    if pa.types.is_struct(kind):
        return {field.name: _fitted(value.get(field.name), field.type) for field in kind}
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
