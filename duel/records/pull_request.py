"""The hidden pull request behind a turn."""

from typing import ClassVar

from pydantic import Field

from duel.records.record import Part, Record
from duel.records.sampled import Source


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
