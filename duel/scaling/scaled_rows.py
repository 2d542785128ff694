"""A row of the larger set, whatever it was made from; rows out of what the project reads already; their folders."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import orjson
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from duel import placement
from duel.audit.contamination import canonical_repo
from duel.bookkeeping import LeftOut
from duel.conversation import dialogue
from duel.conversation.model import AgentCall, calls_made
from duel.errors import SourceError
from duel.exports import loading
from duel.exports.example import Example
from duel.records import Bucket, Message, Record
from duel.records.record import Part
from duel.scaling.agent_tools import envelopes
from duel.settings import Settings
from duel.sources.mining import mined
from duel.sources.mining.sweep import Mine
from duel.workspace import Workspace, disk_errors, natural_order

Kind: TypeAlias = Literal["duels", "sessions", "public", "synthetic", "augmented", "pairs"]
KINDS: tuple[Kind, ...] = get_args(Kind)  # the sources, in the order in which one of two copies is kept


class RowSource(Part):
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


class ScaledRow(Record):
    """One conversation of the larger set. Messages are in OpenAI's shape with arguments as objects."""

    model_config = ConfigDict(extra="forbid")
    id: str
    messages: list[Message]
    tools: list[dict[str, Any]] = Field(default_factory=list)
    source: RowSource
    parent: str = ""  # the id of the row that this one was made from
    group: list[str] = Field(default_factory=list)
    """What it shares with other rows, as "repository psf/requests", "commit 1a2b…", "plan 17": never split apart."""
    made: HowMade = Field(default_factory=HowMade)

    @property
    def is_executed(self) -> bool:
        """Its calls were executed here: they may be again, and its thoughts may be worded anew."""
        return "needs" in self.made

    def line(self) -> bytes:
        return orjson.dumps(self.model_dump(), option=orjson.OPT_APPEND_NEWLINE)

    def calls(self) -> list[AgentCall]:
        """Every tool call, native or as a bash block. Raises ItemError where they cannot be told apart."""
        return calls_made(dialogue.parse(self.messages))

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
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                for row in rows:
                    file.write(row.line())
                    count += 1
                file.flush()
                os.fsync(file.fileno())
            if count:
                part.replace(path)
                return path, count
    finally:
        part.unlink(missing_ok=True)
    raise SourceError("no row was made, and nothing was written", where=path, hint="the lines above say why")


def from_sessions(mine: Mine, kind: Kind, name: str, license: str = "") -> Iterator[ScaledRow]:
    """Every session that is taken, scrubbed, with its own tool calls; `mine.account` says what was left out.

    `license` is what the user knows of a file that does not say it itself.
    """
    seen: Counter[str] = Counter()
    for found in mine.sessions():
        session, row = found.trajectory.session, mined.row(found, keep_tools=True)
        identity = f"{kind}/{name}/{row['source_file']}#{session.row}/{row['session_id']}"
        seen[identity] += 1
        source = {"kind": kind, "name": name, "revision": row["source_revision"] or "", "file": row["source_file"]}
        source |= {"row": max(session.row, 0), "license": row["license"] or license}
        made = {"by": f"duel scale {kind}", "format": session.format, "model": session.model}
        known = {"repository": row["repo"], "commit": row["base_commit"], "instance": row["instance_id"]}
        told = {
            "id": identity if seen[identity] == 1 else f"{identity}~{seen[identity]}",
            "messages": row["messages"] if session.keeps_protocol else orjson.loads(row["native_messages"]),
            "tools": envelopes(orjson.loads(row["tools"] or "[]")),
            # a folder without a name ties nothing
            "group": [f"{key} {value}" for key, value in known.items() if value and value != "local/unknown"],
            "made": {key: value for key, value in made.items() if value},
        }
        yield ScaledRow.model_validate({**told, "source": source})
    mine.account.say()


def from_buckets(
    workspace: Workspace, settings: Settings, buckets: list[Bucket], drops: LeftOut
) -> Iterator[ScaledRow]:
    """The turns that the panel kept, each with its history; what the audit keeps out of every bucket is no row."""
    for loaded in loading.turns(workspace, settings, buckets):
        for drop in loaded.dropped:
            drops.drop(drop.id, drop.instance_id, drop.reason, drop.detail)
        for example in loaded.examples:
            if (obstacle := placement.obstacle(example.audit, settings)) is not None:
                drops.drop(example.id, example.instance_id, obstacle.slug, obstacle.reason)
                continue
            groups = {"repository": example.repo, "commit": example.base_commit, "instance": example.instance_id}
            source = {"name": example.dataset or "duel", "revision": example.revision, "license": example.license}
            yield ScaledRow(
                id=f"duels/{example.bucket}/{example.id}",
                messages=list(example.messages),
                tools=[],
                source=RowSource(kind="duels", file=f"{example.bucket}/{example.id}.json", row=0, **source),
                parent="",
                group=[f"{kind} {value}" for kind, value in groups.items() if value],
                made={"by": "duel scale duels", "kind": f"turn of {example.bucket}", "score": example.score},
            )
