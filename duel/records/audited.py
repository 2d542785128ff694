"""What the audit found in one candidate: facts it could not know, broken rules, secrets, contamination, license."""

import hashlib
from typing import Any

from pydantic import Field

from duel.records.record import Part


def fingerprint(text: str) -> str:
    """16 hexadecimal digits that identify a text (BLAKE2b)."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class Leak(Part):
    """One fact that stands in the hidden pull request and nowhere in what the agent has seen."""

    kind: str
    value: str
    place: dict[str, Any] = Field(default_factory=dict)
    """Where in the reply."""
    pr_place: dict[str, Any] = Field(default_factory=dict)
    """Where in the pull request."""
    rarity: float = 0.0
    """0 (every program uses the name) to 1 (no other pull request has it)."""
    elsewhere: int = 0
    """Other pull requests of the workspace that hold it."""
    weight: float = 0.0
    """Its part of the leak score."""


class BrokenRule(Part):
    """One rule of the turn's own history that the reply breaks."""

    rule: str
    detail: str = ""
    place: dict[str, Any] = Field(default_factory=dict)


class ProtocolCheck(Part):
    """Whether the reply keeps the rules that its own history states."""

    ok: bool
    problems: list[BrokenRule] = Field(default_factory=list)
    blocks: int = 0
    commands: list[str] = Field(default_factory=list)
    style: str = ""
    submits: bool = False


class Audit(Part):
    """The findings about one text. `text` is its fingerprint: a finding about another text counts as no audit.

    ch.py looks for leaks while it writes; `duel audit` fills in the rest. What was not looked for is None.
    """

    text: str = ""
    rests_on: str = ""
    """Fingerprint of all that the findings rest on: text, history, pull request, settings, lists, program."""
    leaks: list[Leak] = Field(default_factory=list)
    leak_score: float = 0.0
    leaking: bool = False
    """The score exceeds `[audit] leak_max`."""
    reworded: bool = False
    """The writer was asked again with its leaks named: the words are gone, the knowledge may be there."""
    auditor: str = ""
    """The model that was asked which claims follow from nothing; "" where none was."""
    attempts: list[str] = Field(default_factory=list)
    """Kinds of attempts to sway a judge."""
    minded: dict[str, str] = Field(default_factory=dict)
    """What checks of other packages mind, by the check's name."""
    protocol: ProtocolCheck | None = None
    secrets: dict[str, int] = Field(default_factory=dict)
    """Kind -> how many."""
    contaminated: str = ""
    """Which benchmark holds the pull request, in words; "" for none."""
    license: str | None = None
    license_refused: str = ""
    duplicates_of: str = ""
    """The stem of the turn that stands for its group of near-duplicates; "" where there is no other."""

    @property
    def complete(self) -> bool:
        """True when every check was made, not only the search for leaks."""
        return self.protocol is not None

    def about(self, text: str) -> bool:
        return self.text == fingerprint(text)
