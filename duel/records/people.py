"""What people say of the duels, on disk: one vote a line, and what all votes together make of the verdict."""

import re
from typing import ClassVar

from pydantic import Field

from duel.records.record import Part, Record
from duel.records.score import Preference

PERSON = "person:"
STAND_IN = "stand-in"  # How the names of rules begin that vote where no person does
RATER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")  # A rater's name is part of file names and of `judge`
LONGEST_REASON = 2_000  # Characters
LONGEST_SECONDS = 3_600.0


class Lot(Part):
    """How a turn came before a person: its chance in the draw, and the draw's seed."""

    probability: float = Field(gt=0, le=1)
    seed: int = 0


class PersonVote(Preference, Record):
    """One person's word on one pair. A skip has no values."""

    FORMAT: ClassVar[str] = "duel-person-vote/1"
    format: str = FORMAT
    key: str = Field(min_length=1, max_length=64)
    """Names this showing of this turn to this person: a later vote with the same key replaces the earlier one."""
    item: str = Field(min_length=1)  # The stem of the answer
    pair: str  # The fingerprint of the two texts that were compared
    skipped: str = ""  # Why the person would not say; "" for a vote
    repeat: bool = False  # Shown a second time, to see how far a person agrees with themselves
    seconds: float = Field(0.0, ge=0, le=LONGEST_SECONDS)  # Time in front of the pair, hidden tabs left out
    at: str = ""
    drawn: Lot | None = None  # None for a turn that was browsed: such votes are kept and never counted

    @property
    def rater(self) -> str:
        return self.judge.removeprefix(PERSON)


class PeopleFigure(Part):
    """Panel against people for one judge, dimension, bucket or rater: points of margin, interval bias ± error."""

    name: str
    labels: int
    panel: float | None = None
    people: float | None = None
    bias: float | None = None
    error: float | None = None  # Half the two-sided 95 % interval
    agreement: float | None = None  # Share of labeled turns on which both name the same winner
    alpha: float | None = None  # Krippendorff's alpha between the two on the winner


class RaterFigures(Part):
    """How one person voted. Shares are of the pairs voted on, repeats left out."""

    rater: str
    votes: int
    skipped: int = 0
    median_seconds: float | None = None
    ties: float | None = None  # Share without a preference
    first_shown: float | None = None  # Share of preferences for the side shown first; 0.5 is no lean
    repeats: int = 0
    self_agreement: float | None = None  # Share of repeats with the same winner
    with_panel: float | None = None  # Share with the panel's winner

    @property
    def stand_in(self) -> bool:
        return self.rater.startswith(STAND_IN)


class ScoreBucketRow(Part):
    """Labeled turns whose panel score is in one band, by what people preferred."""

    band: str
    challenger: int
    tie: int
    opponent: int


class Disagreement(Part):
    """A turn on which people and panel differ, with what both said. Margins in points."""

    item: str
    panel: float
    people: float
    panel_reason: str = ""
    people_reason: str = ""


class PeopleThreshold(Part):
    """The score from which people prefer the challenger in at least `share` of the turns, by fixed-sequence testing."""

    share: float
    final_min: float | None = None  # None: no threshold passes with these labels
    labels: int = 0  # Labeled turns from there on
    observed: float | None = None
    lower: float | None = None  # One-sided 95 % bound of the share from `final_min` on
    turns: int = 0  # All judged turns from there on


class People(Part):
    """What people's votes make of the verdict: margins and biases in points, bounds in deltas."""

    decision: str = "undecided"  # ahead (the bound is above 0) · not-shown · undecided (too few labeled pull requests)
    labels: int = 0
    clusters: int = 0  # Labeled pull requests (or repositories, where they are the clusters)
    raters: int = 0
    scope: str = ""  # Whom the figures speak of: these raters alone, or people like them
    margin: float | None = None
    lcb: float | None = None  # Lower bound of people's mean delta, with the panel's help
    margin_alone: float | None = None
    lcb_alone: float | None = None  # The same without the panel
    lcb_raters: float | None = None  # The bound with the differences between raters in it; None under three raters
    slope: float | None = None  # How much of the panel is used: 0 nothing
    panel_margin: float | None = None
    bias: float | None = None  # The panel's margin less people's
    bias_error: float | None = None
    labels_needed: dict[str, int] = Field(default_factory=dict)
    """Score points -> labels that decide such a lead, at the spread measured here."""
    by_judge: list[PeopleFigure] = Field(default_factory=list)
    by_metric: list[PeopleFigure] = Field(default_factory=list)
    by_bucket: list[PeopleFigure] = Field(default_factory=list)
    agreement: dict[str, float | None] = Field(default_factory=dict)
    """Krippendorff's alpha among people by dimension, and `total`."""
    by_rater: list[RaterFigures] = Field(default_factory=list)
    confusion: list[ScoreBucketRow] = Field(default_factory=list)
    final_min: list[PeopleThreshold] = Field(default_factory=list)
    differ: list[Disagreement] = Field(default_factory=list)
    set_aside: dict[str, int] = Field(default_factory=dict)  # Votes that do not count, by reason
