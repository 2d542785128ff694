"""What judges say of a pair, and what their votes make of it."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from duel.records.record import Order, Record


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
