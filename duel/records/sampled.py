"""A sampled turn before anyone has answered it: the history up to it, where it came from, its hidden pull request."""

from typing import ClassVar

from pydantic import Field

from duel.records.record import Message, Part, Record


class Source(Part):
    """Where a prompt came from, and how likely it was to be drawn."""

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


class ChangedFile(Part):
    """One file of a diff."""

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
