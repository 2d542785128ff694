"""The registry of training formats: each has a table in formats.toml, a schema, a writer, a reader, rows of an example.

A module beside this one writes and reads the formats of one kind.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import GenericAlias
from typing import Annotated, Any, Literal, TypeAlias

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from duel import wordlists
from duel.errors import ItemError, UserError, require
from duel.exports import example
from duel.exports.example import Example, Turns, each_turn, text_only
from duel.records import Message
from duel.registry import Registry

Row: TypeAlias = dict[str, Any]


class Shape(BaseModel):
    """A row, or a part of one: exactly these keys, of exactly these types."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class Provenance(Shape):
    """Columns that say where a row comes from, for formats whose readers pass over unknown columns."""

    id: str
    instance_id: str
    repo: str
    license: str
    bucket: str
    score: float | None
    style: str


class TextMessage(Shape):
    role: Literal["system", "user", "assistant"]
    content: str


_KINDS: dict[str, Any] = {"text": str, "flag": bool, "integer": int, "number": float, "object": dict[str, Any]}
_KINDS |= {"text or null": str | None, "integer or null": int | None}
_KINDS |= {"message": TextMessage, "messages": list[TextMessage]}


def shape(name: str, columns: Mapping[str, Any], base: type[Shape] = Shape) -> type[Shape]:
    def kind(name: str, told: Any) -> Any:
        if isinstance(told, dict):
            return shape(name, told)
        if isinstance(told, list):
            many = GenericAlias(list, (kind(name, told[0]),))
            return Annotated[many, Field(min_length=1)] if told[1:] else many
        words = tuple(int(word) if word.isdigit() else word for word in told.split("|"))
        return _KINDS[told] if told in _KINDS else Literal[words]

    fields: dict[str, Any] = {}
    for key, told in columns.items():
        of = kind(f"{name}.{key}", told)
        fields[key.rstrip("?~")] = {"?": (of | None, None), "~": (of, "")}.get(key[-1], (of, ...))
    return create_model(name, __base__=base, **fields)


@dataclass(frozen=True)
class Format:
    """One training format. `rows_of` raises ItemError for an example that the format cannot hold."""

    name: str
    summary: str
    schema: type[Shape]
    rows_of: Callable[[Example], list[Example]]
    write: Callable[[Example], Row]
    read: Callable[[Mapping[str, Any]], Turns]
    check: Callable[[Mapping[str, Any]], None] = lambda row: None  # raises ItemError: order, pairing, ids
    recipes: Mapping[str, str] = field(default_factory=dict)  # trainers that read it -> sft, dpo, kto or reward
    trl_flags: Mapping[str, Any] = field(default_factory=dict)  # what TRL must be told beside `max_length`
    caution: str = ""  # who misreads the shape without complaint
    purpose: str = ""  # what a shape is for that no trainer reads
    reasoning: bool = False  # its assistant messages may have a key `reasoning_content`

    def rows(self, example: Example) -> list[Row]:
        return [row for _, row in self.made(example)]

    def made(self, example: Example) -> Iterator[tuple[Example, Row]]:
        """Each row of one example, and what it is made of: checked by schema and rules, and read back to the same."""
        for part in self.rows_of(example):
            row = self.write(part)
            self.validate(row)
            try:
                seen = orjson.loads(orjson.dumps(row))  # what a reader of the file will see
            except (TypeError, ValueError) as error:  # lone surrogates, huge numbers
                raise ItemError("not-json", f"a value cannot be written as JSON: {error}") from None
            same = self.read(seen) == part.turns()
            require(same, "not-read-back", f"{self.name} does not read back to the same turns")
            yield part, row

    def validate(self, row: Mapping[str, Any]) -> None:
        try:
            self.schema.model_validate(row)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise ItemError("schema", f"{self.name}: {place}: {first['msg']}") from None
        self.check(row)


_TOLD = frozenset("recipes trl_flags caution purpose reasoning".split())
FORMATS = Registry[Format]("export_format", home=__package__)


tables = partial(wordlists.toml, __package__, "formats")


def add(
    name: str, write: Any, read: Any, check: Any = lambda row: None, columns: Mapping[str, Any] | None = None
) -> None:
    """Register a format of `formats.toml`; `columns` is its shape where the table holds none."""
    table = tables()[name]
    schema = shape(name, columns or table["shape"], Provenance if table.get("provenance") else Shape)
    told = {key: value for key, value in table.items() if key in _TOLD}
    rows = getattr(example, table["rows"])
    FORMATS.add(name, Format(name, table["summary"], schema, rows, write, read, check, **told))


def provenance(example: Example) -> Row:
    known = {name: getattr(example, name) for name in Provenance.model_fields}
    return known | {"license": example.license or "unknown"}


def sequences(row: Mapping[str, Any]) -> list[list[Any] | str]:
    """What a trainer tokenizes of a row, each by itself: two for a pair, a text or a list of messages each."""
    if "text" in row:
        return [str(row["text"])]
    if "chosen" in row:  # LLaMA-Factory's pairs hold one message where TRL's hold a list
        before = row["prompt"] if "prompt" in row else row["messages"]
        return [[*before, *(end if isinstance(end, list) else [end])] for end in (row["chosen"], row["rejected"])]
    if "completion" in row:
        return [[*row["prompt"], *row["completion"]]]
    return [row["messages"] if "messages" in row else json.dumps(row, ensure_ascii=False)]


def as_messages(rows: Iterable[Mapping[str, Any]]) -> list[Message]:
    """Messages from a row; keys that a columnar file filled with null are gone."""
    return [Message.model_validate(present(row, *row)) for row in rows]


def as_object(value: Any) -> Any:
    """An object that is JSON text in some files and an object in others."""
    return json.loads(value) if isinstance(value, str) else value


def present(row: Mapping[str, Any], *keys: str) -> Row:
    return {key: row[key] for key in keys if row.get(key) is not None}


def named(text: str) -> list[Format]:
    """The formats of a comma-separated list. Raises UserError that names the nearest known one."""
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError("no format is named", where="--format", hint=f"known: {', '.join(FORMATS)}")
    return [FORMATS[name] for name in dict.fromkeys(names)]


def per_turn(wanted: list[Format], everywhere: bool, cap: int) -> list[Format]:
    """The formats with a row for each turn of a run where that is their way, or `everywhere` asks for it.

    Raises UserError for a format whose rows are whole conversations by nature.
    """
    for form in wanted if everywhere else []:
        if form.rows_of not in (each_turn, text_only):
            raise UserError("rows of single turns are for formats of text", where="--per-turn", value=form.name)
    each = partial(each_turn, cap=cap)
    return [replace(form, rows_of=each) if everywhere or form.rows_of is each_turn else form for form in wanted]
