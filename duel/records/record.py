"""What every record on disk has in common: typed fields, a format tag, and unknown keys that survive a round trip."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from duel.errors import ItemError

DIMENSIONS = ("correctness", "grounding", "progress", "protocol", "efficiency")

RULE = "rule:"  # How a judge's name begins that is a function and no model

Role = Literal["system", "user", "assistant", "tool"]
Order = Literal["king_first", "challenger_first"]
Side = Literal["king", "challenger", "assistant"]
Bucket = Literal["final", "refined", "defeat"]


class Part(BaseModel):
    """A piece of a record: unknown keys survive; validators are made at first use, so that `--help` is quick."""

    model_config = ConfigDict(extra="allow", defer_build=True)


class Record(Part):
    """A JSON object on disk: typed fields, a format tag, and whatever else was in it."""

    model_config = ConfigDict(populate_by_name=True)
    FORMAT: ClassVar[str] = ""

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read one record from the bytes of a file. Raises ItemError (reason `damaged`) that says what is wrong."""
        return cls._checked(cls.model_validate_json, raw)

    @classmethod
    def parse_object(cls, row: object) -> Self:
        """Read one record from parsed JSON. Raises as `parse`."""
        return cls._checked(cls.model_validate, row)

    @classmethod
    def _checked(cls, validate: Callable[[Any], Self], raw: object) -> Self:
        try:
            record = validate(raw)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ItemError("damaged", f"not a {cls.__name__.lower()} record: {place}: {first['msg']}") from None
        tag = (record.model_extra or {}).get("format") or getattr(record, "format", "")
        if tag and cls.FORMAT and str(tag).split("/")[0] != cls.FORMAT.split("/")[0]:
            raise ItemError("damaged", f"not a {cls.__name__.lower()} record: its format says {tag}")
        return record

    def dump(self) -> bytes:
        """The bytes of this record's file: UTF-8 JSON, two-space indent, fields in declared order, newline last."""
        fields = self.model_dump(mode="json", by_alias=True)
        return orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


class Message(Part):
    """One chat message. Content is text; keys of tool-calling formats survive as extras."""

    role: Role
    content: str
