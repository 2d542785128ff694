"""Rows as JSON lines and as Parquet, the same rows to the same bytes.

In Parquet, objects with free keys (the arguments of a tool call, a tool's schema) are columns of JSON (`arrow.json`,
Parquet's JSON type). A struct would give every row the keys of all others, filled with null: `datasets` reads the JSON
back as objects, other readers see JSON text.
"""

from __future__ import annotations

import io
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    import pyarrow

# Rows of one row group: a few megabytes of conversations, so that a reader can stream them.
ROWS_PER_GROUP = 1000


def jsonl(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """One JSON object a line, keys in the order of the writer."""
    import orjson

    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def parquet(rows: Sequence[Mapping[str, Any]], shape: type[BaseModel]) -> bytes:
    """The rows in the columns of `shape`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain = schema_of(shape, pa.string())
    columns = [{field.name: _fitted(row.get(field.name), field.type) for field in plain} for row in rows]
    table = pa.Table.from_pylist(columns, schema=plain).cast(schema_of(shape, pa.json_()))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", row_group_size=ROWS_PER_GROUP)
    return buffer.getvalue()


def count(data: bytes, name: str) -> int:
    """Rows that a reader finds in a file's bytes."""
    if not name.endswith(".parquet"):
        return data.count(b"\n")
    import pyarrow.parquet as pq

    return int(pq.read_metadata(io.BytesIO(data)).num_rows)


def schema_of(shape: type[BaseModel], json_type: pyarrow.DataType) -> pyarrow.Schema:
    """The Arrow schema of a row's model; `json_type` stands for objects with free keys."""
    import pyarrow as pa

    return pa.schema([(name, _type(field.annotation, json_type)) for name, field in shape.model_fields.items()])


def _type(annotation: Any, json_type: pyarrow.DataType) -> pyarrow.DataType:
    import pyarrow as pa

    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is types.UnionType or origin is typing.Union:
        [annotation] = [argument for argument in arguments if argument is not type(None)]
        return _type(annotation, json_type)
    if origin is typing.Literal:
        return _type(type(arguments[0]), json_type)
    if origin is list:
        return pa.list_(_type(arguments[0], json_type))
    if origin is dict:
        return json_type
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return pa.struct(
            [(name, _type(field.annotation, json_type)) for name, field in annotation.model_fields.items()]
        )
    return {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}[annotation]


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
