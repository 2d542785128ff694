"""What every record on disk has in common: typed fields, a format tag, and unknown keys that survive a round trip."""

import contextlib
import re
from collections.abc import Sequence
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from duel.errors import ItemError

DIMENSIONS = ("correctness", "grounding", "progress", "protocol", "efficiency")
DIMENSION = re.compile(r"[a-z]{3,20}")  # what a further one may be called

RULE = "rule:"  # How a judge's name begins that is a function and no model

Role = Literal["system", "user", "assistant", "tool"]
Order = Literal["king_first", "challenger_first"]
Side = Literal["king", "challenger", "assistant"]
Bucket = Literal["final", "refined", "defeat"]


def further(dimensions: Sequence[str]) -> Sequence[str]:
    """Those of `dimensions`, of which the first are the five, that are asked beside them."""
    return dimensions[len(DIMENSIONS) :]


class Part(BaseModel):
    """A piece of a record: unknown keys survive; validators are made at first use, so that `--help` is quick."""

    model_config = ConfigDict(extra="allow", defer_build=True)


class Figures(Part):
    """Figures that were computed: NaN and infinity are null, "no data", and numpy's numbers are plain ones."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, found: Any) -> Any:
        return plain(found)


def plain(found: Any) -> Any:
    """`found` as a record holds it, its dicts and lists included."""
    if isinstance(found, float):
        return float(found) if isfinite(found) else None
    if isinstance(found, dict):
        return {name: plain(value) for name, value in found.items()}
    if isinstance(found, list):
        return [plain(value) for value in found]
    return found.item() if type(found).__module__ == "numpy" else found


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of ours; {} where there is none, or it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        found = orjson.loads(path.read_bytes())
        return found if isinstance(found, dict) else {}
    return {}


class Record(Part):
    """A JSON object on disk: typed fields, a format tag (`format`), and whatever else was in it."""

    @classmethod
    @cache
    def kind(cls) -> str:
        """What the format tag begins with in every version ("duel-answer"); "" for a record without one."""
        field = cls.model_fields.get("format")
        return str(field.default).split("/")[0] if field else ""

    @classmethod
    def parse(cls, raw: object) -> Self:
        """One record, from a file's bytes or parsed JSON. Raises ItemError (`damaged`) that says what is wrong."""
        try:
            record = cls.model_validate(orjson.loads(raw) if isinstance(raw, bytes) else raw)
        except (orjson.JSONDecodeError, RecursionError) as error:
            raise ItemError("damaged", f"no valid {cls.__name__.lower()} record: not JSON: {error}") from None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ItemError("damaged", f"no valid {cls.__name__.lower()} record: {place}: {first['msg']}") from None
        tag = (record.model_extra or {}).get("format") or getattr(record, "format", "")
        if tag and cls.kind() and str(tag).split("/")[0] != cls.kind():
            raise ItemError("damaged", f"no valid {cls.__name__.lower()} record: its format says {tag}")
        return record

    def dump(self) -> bytes:
        """The bytes of this record's file: UTF-8 JSON, two-space indent, fields in declared order, newline last.

        Raises ItemError (`damaged`) for what no reader could take: numbers of more than 64 bits, lists 250 deep.
        """
        try:
            fields = self.model_dump(mode="json")
            return orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        except (TypeError, ValueError) as error:
            raise ItemError("damaged", f"this {type(self).__name__.lower()} cannot be written: {error}") from None


class Message(Part):
    """One chat message. Content is text; keys of tool-calling formats survive as extras."""

    role: Role
    content: str
