"""A row of the larger set, whatever it was made from, and the folders where the sources leave their rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import TypedDict

from duel.audit.contamination import canonical_repo
from duel.conversation import dialogue
from duel.conversation.model import AgentCall, AgentReply
from duel.errors import ItemError, SourceError
from duel.exports.example import Example
from duel.records import Message
from duel.workspace import Workspace, cannot_write, natural_order

Kind: TypeAlias = Literal["duels", "sessions", "public", "synthetic", "augmented", "pairs"]
KINDS: tuple[Kind, ...] = get_args(Kind)  # the sources, in the order in which one of two copies is kept


class RowSource(BaseModel):
    """Where a row comes from: `name` a data set, repository or agent, `file` in it, `row` or line in the file."""

    model_config = ConfigDict(extra="forbid")
    kind: Kind
    name: str
    revision: str = ""
    file: str = ""
    row: int = 0
    license: str = ""


class HowMade(TypedDict, total=False):
    """How a row was made, and what that says of it; rows that were executed have what they `need`."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    by: str  # the command
    kind: str
    language: str
    asked: list[str]  # in plain words
    names: list[str]  # what must survive in other words
    needs: list[str]  # what the answer rests on, as it must have been observed
    failed_calls: int


class ScaledRow(BaseModel):
    """One conversation of the larger set. Messages are in OpenAI's shape with arguments as objects."""

    model_config = ConfigDict(extra="forbid")
    id: str
    messages: list[Message]
    tools: list[dict[str, Any]] = []
    source: RowSource
    parent: str = ""  # the id of the row that this one was made from
    group: list[str] = []
    """What it shares with other rows, as "repository psf/requests", "commit 1a2b…", "plan 17": never split apart."""
    made: HowMade = {}

    @classmethod
    def of_line(cls, line: bytes) -> ScaledRow:
        try:
            return cls.model_validate(orjson.loads(line))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ItemError("damaged", f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        except ValueError as error:
            raise ItemError("damaged", f"not a JSON object: {error}") from None

    def line(self) -> bytes:
        return orjson.dumps(self.model_dump(exclude_unset=True), option=orjson.OPT_APPEND_NEWLINE)

    def calls(self) -> list[AgentCall]:
        """Every tool call, native or as a bash block. Raises ItemError where they cannot be told apart."""
        return [call for e in dialogue.parse(self.messages) if isinstance(e, AgentReply) for call in e.calls]

    def request(self) -> str:
        """What the user says first; "" where nobody does."""
        return next((message.content for message in self.messages if message.role == "user"), "")

    def text(self) -> str:
        """What rows are compared by: all that is said and called, but for the system prompt."""
        said = [message for message in self.messages if message.role != "system"]
        calls = [calls for message in said if (calls := (message.model_extra or {}).get("tool_calls"))]
        return "\n".join([*(message.content for message in said), *(orjson.dumps(made).decode() for made in calls)])

    def tied_by(self) -> list[str]:
        """What ties it to other rows: its groups in canonical form, its own id and its parent's."""
        named = []
        for key in self.group:
            kind, _, value = key.partition(" ")
            named.append(f"{kind} {canonical_repo(value) if kind == 'repository' else value.strip().lower()}")
        return [*named, f"row {self.id}", *([f"row {self.parent}"] if self.parent else [])]

    def value(self, kind: str) -> str:
        return next((key.partition(" ")[2] for key in self.group if key.startswith(f"{kind} ")), "")

    def example(self) -> Example:
        """The row as every format of `duel export` takes it. Of a duel only the last turn is to be learned."""
        return Example(
            id=self.id,
            instance_id=self.value("instance") or self.id,
            repo=self.value("repository"),
            license=self.source.license,
            base_commit=self.value("commit"),
            dataset=self.source.name,
            revision=self.source.revision,
            messages=tuple(self.messages),
            tools=tuple(self.tools),
            style=str(self.made.get("kind") or self.source.kind),
            bucket=self.source.kind,
            recorded=self.source.kind != "duels",
        )


def home(workspace: Workspace) -> Path:
    return workspace.root / "training-data" / "scaled"


def source_files(workspace: Workspace) -> Iterator[tuple[Kind, Path]]:
    """Every file of every source, in an order that no file system decides."""
    for kind in KINDS:
        files = (home(workspace) / kind).glob("*.jsonl")
        yield from ((kind, path) for path in sorted(files, key=lambda path: natural_order(path.name)))


def save(workspace: Workspace, kind: Kind, name: str, rows: Iterable[ScaledRow]) -> tuple[Path, int]:
    """Write `<kind>/<name>.jsonl`, whole or not at all; returns it and its rows. Raises SourceError for no row."""
    path = home(workspace) / kind / f"{name}.jsonl"
    part = path.with_name(f".{path.name}.part")
    count = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            for row in rows:
                file.write(row.line())
                count += 1
            file.flush()
            os.fsync(file.fileno())
        if count:
            part.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        part.unlink(missing_ok=True)
    if not count:
        raise SourceError("no row was made, and nothing was written", where=path, hint="the lines above say why")
    return path, count
