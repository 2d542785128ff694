"""Every record on disk, typed once: prompt, commit, answer, score, kept turn.

Records are read and written nowhere else in other shapes. Unknown keys survive a round trip, and each record carries a
format tag, so that a reader can tell a record of its own kind from any other JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from duel.errors import ItemError

DIMENSIONS = ("correctness", "grounding", "progress", "protocol", "efficiency")

Role = Literal["system", "user", "assistant", "tool"]
Order = Literal["king_first", "challenger_first"]
Side = Literal["king", "challenger", "assistant"]
Bucket = Literal["final", "refined", "defeat"]


class Record(BaseModel):
    """A JSON object on disk: typed fields, a format tag, and whatever else was in it."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)
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
        import orjson

        fields = self.model_dump(mode="json", by_alias=True)
        return orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


class Message(BaseModel):
    """One chat message. Content is text; keys of tool-calling formats survive as extras."""

    model_config = ConfigDict(extra="allow")
    role: Role
    content: str


class Source(BaseModel):
    """Where a prompt came from, and how likely it was to be drawn."""

    model_config = ConfigDict(extra="allow")
    dataset: str = ""
    revision: str = ""
    file: str = ""
    row: int = -1
    exit_status: str = ""
    probability: float | None = None


class Prompt(Record):
    """One sampled turn: the history up to it (`messages`) and the dataset's own next turn (`assistant`)."""

    FORMAT: ClassVar[str] = "duel-prompt/1"
    format: str = FORMAT
    instance_id: str = Field(min_length=1)
    repo: str = ""
    messages: list[Message] = Field(min_length=1)
    assistant: str = ""
    turn: int = 0
    source: Source = Field(default_factory=Source)


class ChangedFile(BaseModel):
    """One file of a diff."""

    model_config = ConfigDict(extra="allow")
    path: str
    status: str = "modified"
    additions: int = 0
    deletions: int = 0


class Commit(Record):
    """The hidden pull request of a prompt: what the challenger is shown and the king is not."""

    FORMAT: ClassVar[str] = "duel-commit/1"
    format: str = FORMAT
    instance_id: str = Field(min_length=1)
    repo: str = ""
    pull_number: int | None = None
    commit: str = ""
    issue: str = ""
    description: str = ""
    files: list[ChangedFile] = Field(default_factory=list)
    patch: str = ""
    test_patch: str = ""
    license: str = ""
    created_at: str = ""
    source: Source = Field(default_factory=Source)


class Made(BaseModel):
    """What one reply was made with: enough to tell whether it is still what the settings ask for.

    `plan` is the fingerprint of the question, without the workspace's nonce: a rerun compares it, and needs no call.
    """

    model_config = ConfigDict(extra="allow")
    model: str = ""
    plan: str = ""
    prompt_hash: str = ""
    """Of what was sent, the nonce left out."""
    template_hash: str = ""
    """Of the prompt file that was rendered into them; "" where the history went out as it is."""
    attempt: int = 0
    usage: dict[str, Any] = Field(default_factory=dict)
    finish_reason: str = ""
    at: str = ""


class Answer(Record):
    """One turn with its two candidates. `challenger` is "" until ch.py has written it."""

    FORMAT: ClassVar[str] = "duel-answer/1"
    format: str = FORMAT
    instance_id: str = Field(min_length=1)
    king: str
    challenger: str = ""
    assistant: str = ""
    messages: list[Message] = Field(min_length=1)
    made: dict[str, Made] = Field(default_factory=dict)
    audit: dict[str, Any] = Field(default_factory=dict)
    repo: str = ""
    turn: int = 0
    source: Source = Field(default_factory=Source)


class Vote(BaseModel):
    """One judge's verdict in one order, from the challenger's side: 1.0 won, 0.5 drawn, 0.0 lost, null unparsed."""

    model_config = ConfigDict(extra="allow")
    judge: str
    order: Order
    correctness: float | None = None
    grounding: float | None = None
    progress: float | None = None
    protocol: float | None = None
    efficiency: float | None = None
    reason: str = ""
    error: str = ""
    usage: dict[str, Any] = Field(default_factory=dict)
    """Summed over the replies it took."""
    cost: float | None = None
    model: str = ""
    """As the endpoint names it."""
    asked: int = 0
    """Replies it took, those that did not parse included."""

    @property
    def parsed(self) -> bool:
        """True when all five dimensions are there."""
        values = (self.correctness, self.grounding, self.progress, self.protocol, self.efficiency)
        return None not in values


class Score(Record):
    """The panel's view of one turn. `score` is 0-100 from the challenger's side, null where it is not parsed."""

    FORMAT: ClassVar[str] = "duel-score/1"
    format: str = FORMAT
    file: str
    instance_id: str = Field(min_length=1)
    mode: int = 2
    parsed: bool = False
    score: float | None = None
    delta: float | None = None
    metrics: dict[str, float | None] = Field(default_factory=dict)
    score_high: float | None = None
    """The most that the votes not asked could have made of it; equal to `score` where all were asked."""
    votes: list[Vote] = Field(default_factory=list)
    unasked: list[dict[str, str]] = Field(default_factory=list)
    """{judge, order} of the votes that an adaptive panel did not need; `score` counts them as lost."""
    flips: int = 0
    """Judges that preferred one side in one order and the other in the other."""
    style: str = ""
    reason: str = ""
    attempts: list[dict[str, str]] = Field(default_factory=list)
    """{side, kind}: what in a reply looks like an attempt to influence the judges."""
    writers: dict[str, str] = Field(default_factory=dict)
    """The models that wrote `king` (the opponent) and `challenger`."""
    lengths: dict[str, int] = Field(default_factory=dict)
    """Characters of `king` (the opponent) and `challenger`."""
    made_with: dict[str, str] = Field(default_factory=dict)


class Kept(Answer):
    """A turn in `final/`, `refined/` or `defeat/`: the answer with what the panel said of it."""

    FORMAT: ClassVar[str] = "duel-kept/1"
    format: str = FORMAT
    score: float | None = None
    metrics: dict[str, float | None] = Field(default_factory=dict)
    reason: str = ""
    bucket_reason: str = ""
