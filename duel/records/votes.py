"""What judges and people say of pairs of candidates: their votes, which are facts, and the figures that follow."""

import re
from collections.abc import Sequence
from operator import attrgetter
from typing import Annotated, Any

from pydantic import Field, model_validator

from duel.records.record import DIMENSIONS, Figures, Order, Part, Record, further

PERSON = "person:"
STAND_IN = "stand-in"  # How the names of rules begin that vote where no person does
RATER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")  # A rater's name is part of file names and of `judge`
LONGEST_REASON = 2_000  # Characters
LONGEST_SECONDS = 3_600.0
MOST = 1 << 30  # replies, and characters of one text
_FIVE = attrgetter(*DIMENSIONS)
Worth = Annotated[float | None, Field(ge=0, le=1)]


class Preference(Part):
    """Who said what of a pair in which order, from the challenger's side: 1.0 won, 0.5 drawn, 0.0 lost."""

    judge: str  # A model's id, `rule:<name>` or `person:<name>`
    order: Order
    correctness: Worth = None
    grounding: Worth = None
    progress: Worth = None
    protocol: Worth = None
    efficiency: Worth = None
    reason: str = ""

    @property
    def values(self) -> list[float] | None:
        """The five dimensions; None where one is missing (what did not parse, or a skip)."""
        found = [*_FIVE(self)]
        return None if None in found else found

    def on(self, dimensions: Sequence[str]) -> list[float] | None:
        """`values` and what was said on `dimensions` behind the five; None where one is missing."""
        found, others = self.values, [getattr(self, name, None) for name in further(dimensions)]
        said = [float(one) for one in others if isinstance(one, int | float) and 0 <= one <= 1]
        return None if found is None or len(said) < len(others) else found + said


class Vote(Preference):
    """A judge's word on the pair of the record that it stands in; null in every dimension where it did not parse."""

    error: str = ""
    usage: dict[str, Any] = Field(default_factory=dict)  # Summed over the replies it took
    cost: float | None = None
    model: str = ""  # As the endpoint names it
    asked: int = Field(0, ge=0, le=MOST)  # Replies it took, those that did not parse included

    @property
    def parsed(self) -> bool:
        return self.values is not None


class PairIds(Part):
    """The two candidates that the votes are about, by their ids in the answer ("king-1"; "assistant" is no candidate).

    `opponent` stands in the king's place, also where it is the reference turn or where both sides are kings.
    """

    opponent: str = ""
    challenger: str = ""


class Score(Record):
    """The panel's view of one pair. `score` is 0-100 from the challenger's side, null where it is not parsed.

    `votes` are the facts; `parsed`, `score`, `delta`, `metrics`, `flips`, `stopped` and `reason` follow from them
    (`duel.judging.scoring.settle`).
    """

    format: str = "duel-score/2"
    file: str
    instance_id: str = Field(min_length=1)
    mode: int = 2
    pair: PairIds = Field(default_factory=PairIds)
    parsed: bool = False
    score: float | None = None
    delta: float | None = None
    metrics: dict[str, float | None] = Field(default_factory=dict)
    votes: list[Vote] = Field(default_factory=list)
    flips: int = 0  # Judges that preferred one side in one order and the other in the other
    stopped: bool = False  # The screen's first vote was too low to ask for the others
    confirmed: float | None = None  # What a second, independent look gave (`validate.py --confirm`; `score/_confirm/`)
    style: str = ""
    reason: str = ""
    evidence: str = ""
    """"shown": judges saw what the commands did; "same": both did the same, a draw in correctness by rule (a vote's
    `said` keeps what the judge said); else why not ("unfaithful"), "" where nothing was executed."""
    attempts: list[dict[str, str]] = Field(default_factory=list)  # {side, kind}: attempts to sway the judges
    writers: dict[str, str] = Field(default_factory=dict)  # The models that wrote `opponent` and `challenger`
    lengths: dict[str, Annotated[int, Field(ge=0, le=MOST)]] = Field(default_factory=dict)  # Characters, `history` too
    made_with: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _first_format(cls, fields: Any) -> Any:
        """Version 1 called the opponent `king` also where it was the reference turn."""
        if not isinstance(fields, dict) or str(fields.get("format", "")) != "duel-score/1":
            return fields
        kept = {key: value for key, value in fields.items() if key not in ("unasked", "score_high")}
        for name in ("writers", "lengths"):
            found = kept.get(name)
            if isinstance(found, dict) and "king" in found:
                kept[name] = {"opponent" if key == "king" else key: value for key, value in found.items()}
        return kept | {"format": "duel-score/2"}


class Lot(Part):
    """How a turn came before a person: its chance in the draw, and the draw's seed."""

    probability: float = Field(gt=0, le=1)
    seed: int = 0


class PersonVote(Preference, Record):
    """One person's word on one pair. A skip has no values."""

    format: str = "duel-person-vote/1"
    key: str = Field(min_length=1, max_length=64)  # Names this showing: a later vote of one key replaces the earlier
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


class PeopleFigure(Figures):
    """Panel against people for one judge, dimension, bucket or rater: points of margin, interval bias ± error."""

    name: str
    labels: int
    panel: float | None = None
    people: float | None = None
    bias: float | None = None
    error: float | None = None  # Half the two-sided 95 % interval
    agreement: float | None = None  # Share of labeled turns on which both name the same winner
    alpha: float | None = None  # Krippendorff's alpha between the two on the winner


class RaterFigures(Figures):
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


class ScoreBucketRow(Figures):
    """Labeled turns whose panel score is in one band, by what people preferred."""

    band: str
    challenger: int
    tie: int
    opponent: int


class Disagreement(Figures):
    """A turn on which people and panel differ, with what both said. Margins in points."""

    item: str
    panel: float
    people: float
    panel_reason: str = ""
    people_reason: str = ""


class PeopleThreshold(Figures):
    """The score from which people prefer the challenger in at least `share` of the turns, by fixed-sequence testing."""

    share: float
    final_min: float | None = None  # None: no threshold passes with these labels
    labels: int = 0  # Labeled turns from there on
    observed: float | None = None
    lower: float | None = None  # One-sided 95 % bound of the share from `final_min` on
    turns: int = 0  # All judged turns from there on


class People(Figures):
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
    labels_needed: dict[str, int] = Field(default_factory=dict)  # Lead in points -> labels that decide it
    by_judge: list[PeopleFigure] = Field(default_factory=list)
    by_metric: list[PeopleFigure] = Field(default_factory=list)
    by_bucket: list[PeopleFigure] = Field(default_factory=list)
    agreement: dict[str, float | None] = Field(default_factory=dict)  # Krippendorff's alpha among people
    by_rater: list[RaterFigures] = Field(default_factory=list)
    confusion: list[ScoreBucketRow] = Field(default_factory=list)
    final_min: list[PeopleThreshold] = Field(default_factory=list)
    differ: list[Disagreement] = Field(default_factory=list)
    set_aside: dict[str, int] = Field(default_factory=dict)  # Votes that do not count, by reason
