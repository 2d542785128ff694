"""The verdict as the report reads it: `score/_duel.json`, typed, with every figure optional.

`duel.judging` writes the file and its meaning is described there. A figure that is missing is None and is shown as
"not measured", so that a verdict of an older or reduced run still makes a page.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from duel.errors import ItemError, UserError
from duel.records import Record
from duel.workspace import Workspace


class Part(BaseModel):
    """A piece of the verdict; what the report does not know passes unread."""

    model_config = ConfigDict(extra="ignore")


class Gate(Part):
    """One condition of acceptance. Its unit goes with its name."""

    name: str
    value: float | None = None
    threshold: float | None = None
    held: bool = False


class JudgeFigures(Part):
    """What is known of one judge."""

    judge: str
    votes: int | None = None
    parse_rate: float | None = None
    score: float | None = None
    flip_rate: float | None = None
    first_shown_lean: float | None = None
    agreement: float | None = None
    calls: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    errors: dict[str, int] = Field(default_factory=dict)


class MetricFigures(Part):
    """One dimension over all judges; `lcb` is a delta, `alpha` Krippendorff's."""

    metric: str
    counted: bool = True
    score: float | None = None
    margin: float | None = None
    lcb: float | None = None
    alpha: float | None = None


class FamilyBias(Part):
    """How one judge treats the replies of its own model family."""

    judge: str
    family: str = ""
    own: str = ""
    turns: int | None = None
    score: float | None = None
    others: float | None = None
    difference: float | None = None


class LengthBin(Part):
    """Turns by the length difference of their two replies."""

    label: str
    turns: int = 0
    win_rate: float | None = None
    score: float | None = None


class LengthBias(Part):
    """How often the longer reply won."""

    longer_won: float | None = None
    correlation: float | None = None
    bins: list[LengthBin] = Field(default_factory=list)


class Thresholds(Part):
    """How many turns a pair of bucket thresholds would keep."""

    final_min: float
    defeat_min: float
    final: int = 0
    refined: int = 0
    defeat: int = 0
    current: bool = False


class WinMargin(Part):
    """What the decision would be at another `win_margin`."""

    win_margin: float
    decision: str = ""
    current: bool = False


class WhatIf(Part):
    """The same verdict under other settings."""

    thresholds: list[Thresholds] = Field(default_factory=list)
    margins: list[WinMargin] = Field(default_factory=list)


class Looks(Part):
    """Repeated looks at challengers of this workspace."""

    planned: int | None = None
    challengers: int | None = None
    total: int | None = None
    this: int | None = None
    alpha_spent: float | None = None
    method: str = ""
    false_accept_bound: float | None = None
    false_accept_chance: float | None = None


class NoiseFloor(Part):
    """The king judged against itself: the margin that noise alone makes, in points."""

    turns: int | None = None
    clusters: int | None = None
    margin: float | None = None
    low: float | None = None
    high: float | None = None
    real_margin: float | None = None


class Adaptive(Part):
    """Votes that an adaptive panel did not need."""

    strategy: str = ""
    votes_full: int | None = None
    votes_asked: int | None = None
    saved_share: float | None = None


class Attempts(Part):
    """Replies that tried to influence the judges."""

    turns: int = 0
    kinds: dict[str, int] = Field(default_factory=dict)


class Verdict(Record):
    """`score/_duel.json`."""

    FORMAT: ClassVar[str] = "duel-verdict/1"
    format: str = FORMAT
    accepted: bool = False
    decision: str
    gates: list[Gate] = Field(default_factory=list)
    why: list[str] = Field(default_factory=list)
    mode: int = 2
    opponent: str = "king"
    challenger_score: float | None = None
    king_score: float | None = None
    margin: float | None = None
    se: float | None = None
    lcb: float | None = None
    lcb_t: float | None = None
    lcb_iid: float | None = None
    lcb_strict: float | None = None
    alpha: float | None = None
    alpha_used: float | None = None
    gate_alpha: float | None = None
    resamples: int | None = None
    seed: int | None = None
    turns: int | None = None
    parsed: int | None = None
    parsed_fraction: float | None = None
    clusters: int | None = None
    worst_case_margin: float | None = None
    win_margin: float | None = None
    win_rate: float | None = None
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None
    pseudo_turn: bool | None = None
    minimum_detectable_margin: float | None = None
    power: float | None = None
    turns_needed: int | None = None
    effective_votes: float | None = None
    judges: list[JudgeFigures] = Field(default_factory=list)
    metrics: list[MetricFigures] = Field(default_factory=list)
    family_bias: list[FamilyBias] = Field(default_factory=list)
    length_bias: LengthBias = Field(default_factory=LengthBias)
    what_if: WhatIf = Field(default_factory=WhatIf)
    looks: Looks | None = None
    noise_floor: NoiseFloor | None = None
    adaptive: Adaptive | None = None
    attempts: Attempts | None = None
    writers: dict[str, list[str]] = Field(default_factory=dict)
    calls: int | None = None
    tokens: dict[str, int] = Field(default_factory=dict)
    cost: float | None = None
    missing_votes: int | None = None
    offline: bool = False
    made_with: dict[str, Any] = Field(default_factory=dict)

    @property
    def opponent_name(self) -> str:
        """What the challenger was judged against, in words."""
        return "reference" if self.opponent == "assistant" or self.mode == 1 else "king"


def read(workspace: Workspace) -> Verdict:
    """The verdict of `workspace`. Raises UserError where there is none, or none that can be read."""
    if not workspace.duel.exists():
        raise UserError("there is no verdict to report", where=workspace.duel, hint="run validate.py first")
    try:
        return workspace.read(workspace.duel, Verdict)
    except ItemError as error:
        hint = "`validate.py --regate` writes it anew from score/, without a call"
        raise UserError(f"the verdict cannot be read: {error.what}", where=workspace.duel, hint=hint) from None
