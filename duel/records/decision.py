"""The verdict on a challenger, `score/_duel.json`: built by the gate, read by report, page, export and card."""

from typing import Any, Literal

from pydantic import Field

from duel.records.record import DIMENSION, DIMENSIONS, Figures, Record
from duel.records.votes import People

Decision = Literal["accepted", "rejected", "undecided"]


class Gate(Figures):
    """One condition of acceptance. The unit of `value` and `threshold` goes with the name."""

    name: str
    value: float | None = None
    threshold: float | None = None
    held: bool = False


class JudgeFigures(Figures):
    judge: str
    family: str = ""
    votes: int | None = None
    parsed_votes: int | None = None
    parse_rate: float | None = None
    turns: int | None = None
    score: float | None = None
    by_metric: dict[str, float | None] = Field(default_factory=dict)  # Dimension -> points
    flips: int | None = None
    flip_rate: float | None = None
    first_shown_lean: float | None = None
    agreement: float | None = None
    first: int | None = None  # Votes for the reply shown first; `second` and `ties` likewise
    second: int | None = None
    ties: int | None = None
    calls: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    models: list[str] = Field(default_factory=list)  # What the endpoint calls the model behind the judge
    errors: dict[str, int] = Field(default_factory=dict)


class MetricFigures(Figures):
    """One dimension over all judges; `lcb` is a delta, `alpha` Krippendorff's."""

    metric: str
    counted: bool = True
    score: float | None = None
    margin: float | None = None
    lcb: float | None = None
    alpha: float | None = None


class JudgePair(Figures):
    """How far two judges agree, and how far their values and errors correlate."""

    judges: list[str]
    turns: int = 0
    agreement: float | None = None
    correlation: float | None = None
    error_correlation: float | None = None


class FamilyBias(Figures):
    """How one judge treats the replies of its own model family."""

    judge: str
    family: str = ""
    king_family: str = ""
    challenger_family: str = ""
    own: str = ""
    turns: int | None = None
    score: float | None = None
    others: float | None = None
    difference: float | None = None


class LengthBin(Figures):
    label: str
    low: float | None = None
    high: float | None = None
    turns: int = 0
    wins: int = 0
    ties: int = 0
    losses: int = 0
    win_rate: float | None = None
    score: float | None = None


class LengthBias(Figures):
    """How often the longer reply won. Lengths are characters."""

    longer_won: float | None = None
    correlation: float | None = None
    by_judge: dict[str, float | None] = Field(default_factory=dict)
    bins: list[LengthBin] = Field(default_factory=list)


class Bound(Figures):
    """A mean delta with its standard error and its one-sided lower bounds, over one kind of cluster."""

    clusters: int = 0
    turns: int | None = None
    margin: float | None = None  # Points
    se: float | None = None
    lcb: float | None = None
    lcb_t: float | None = None
    slope: float | None = None  # Delta a unit of length difference, where the length is controlled for


class Thresholds(Figures):
    final_min: float
    defeat_min: float
    final: int = 0
    refined: int = 0
    defeat: int = 0
    current: bool = False


class WinMargin(Figures):
    win_margin: float
    decision: str = ""
    current: bool = False


class WhatIf(Figures):
    thresholds: list[Thresholds] = Field(default_factory=list)
    margins: list[WinMargin] = Field(default_factory=list)


class Looks(Figures):
    planned: int | None = None
    challenger: str = ""
    challengers: int | None = None
    total: int | None = None
    this: int | None = None
    alpha_spent: float | None = None
    method: str = ""
    false_accept_bound: float | None = None
    false_accept_chance: float | None = None
    history: list[dict[str, Any]] = Field(default_factory=list)


class NoiseFloor(Figures):
    """The king judged against a second blind answer of its own: the margin that noise alone makes, in points."""

    turns: int | None = None
    parsed: int | None = None
    clusters: int | None = None
    score: float | None = None
    margin: float | None = None
    se: float | None = None
    low: float | None = None
    high: float | None = None
    real_margin: float | None = None
    final_share: float | None = None  # The share of these pairs of equals that reach `final_min`
    flip_rate: dict[str, float | None] = Field(default_factory=dict)


class Repeats(Figures):
    """What scores are worth: reliability, and what `final/` would look like on a second look (points and shares).

    `same` is the same panel on fresh replies, `other` another panel of that size.
    """

    turns: int | None = None
    reliability_orders: float | None = None
    reliability_judges: float | None = None
    mean: float | None = None
    spread: float | None = None
    final: int | None = None
    final_mean: float | None = None
    expected_same: float | None = None  # By the same panel on fresh replies; `other`: by another of that size
    expected_other: float | None = None
    again_same: float | None = None
    again_other: float | None = None
    confirmed: int | None = None  # Turns that had a second, independent look; then its mean, and the share still final
    confirmed_mean: float | None = None
    confirmed_share: float | None = None

    def expected(self, score: float | None) -> float | None:
        """The score that a second look by the same panel is expected to give; None where it cannot be told."""
        if score is None or self.mean is None or self.reliability_orders is None:
            return None
        return self.mean + self.reliability_orders * (score - self.mean)


class JudgeMoved(Figures):
    """How far one judge prefers a text with an attack on it to the same text without, in points."""

    judge: str
    turns: int = 0
    margin: float | None = None
    moved: int = 0  # Turns on which it preferred the attacked text over both orders
    by_attack: dict[str, float | None] = Field(default_factory=dict)


class Canary(Figures):
    """The king against itself with an attack on the judges added: the margin should be at most 0."""

    turns: int = 0
    judges: list[JudgeMoved] = Field(default_factory=list)


class Asked(Figures):
    """Votes that were asked, beside those of the full panel."""

    strategy: str = "full"
    votes_full: int = 0
    votes_asked: int = 0
    saved_share: float | None = None
    stopped: int = 0  # Turns that the screen stopped after its first vote


class Attempts(Figures):
    turns: int = 0
    kinds: dict[str, int] = Field(default_factory=dict)
    files: list[str] = Field(default_factory=list)


class Verdict(Figures, Record):
    """`score/_duel.json`. Deltas run from -0.5 to 0.5, scores from 0 to 100, margins are points."""

    format: str = "duel-verdict/2"
    accepted: bool = False
    decision: str = "undecided"  # A `Decision`; a file from elsewhere may say anything
    gates: list[Gate] = Field(default_factory=list)
    why: list[str] = Field(default_factory=list)
    people: People | None = None  # What people's votes say of the challenger and of the panel
    mode: int = 2
    opponent: str = "king"
    challenger_score: float | None = None
    king_score: float | None = None
    margin: float | None = None
    win_margin: float | None = None
    mean_delta: float | None = None
    se: float | None = None
    lcb: float | None = None
    lcb_t: float | None = None
    lcb_iid: float | None = None
    lcb_strict: float | None = None
    gate_alpha: float | None = None
    alpha_used: float | None = None
    alpha: float | None = None
    resamples: int | None = None
    seed: int | None = None
    pseudo_turn: bool | None = None
    turns: int | None = None
    parsed: int | None = None
    parsed_fraction: float | None = None
    clusters: int | None = None
    cluster_by: str = ""  # What the bound's clusters are: repo, instance_id or file
    by_cluster: dict[str, Bound] = Field(default_factory=dict)  # Kind of cluster -> its bounds
    leak_fraction: float | None = None
    kept_out: int | None = None  # Turns that could not be kept and are not counted, judged or not
    over_all: Bound | None = None  # Where turns were judged that cannot be kept: the figures with them
    length_controlled: Bound | None = None
    missing: Bound | None = None  # With the missing votes made good
    worst_case_margin: float | None = None
    minimum_detectable_margin: float | None = None
    power: float | None = None
    turns_needed: int | None = None
    tie_band: float | None = None
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None
    win_rate: float | None = None
    buckets: dict[str, int] = Field(default_factory=dict)
    by_judge: dict[str, float | None] = Field(default_factory=dict)
    by_metric: dict[str, float | None] = Field(default_factory=dict)
    flip_rate: dict[str, float | None] = Field(default_factory=dict)
    first_shown_lean: dict[str, float | None] = Field(default_factory=dict)
    krippendorff_alpha: dict[str, float | None] = Field(default_factory=dict)
    effective_votes: float | None = None
    effective_votes_from: str = ""
    judges: list[JudgeFigures] = Field(default_factory=list)
    metrics: list[MetricFigures] = Field(default_factory=list)
    judge_pairs: list[JudgePair] = Field(default_factory=list)
    length_bias: LengthBias = Field(default_factory=LengthBias)
    family_bias: list[FamilyBias] = Field(default_factory=list)
    what_if: WhatIf = Field(default_factory=WhatIf)
    looks: Looks | None = None
    noise_floor: NoiseFloor | None = None
    repeats: Repeats | None = None
    canary: Canary | None = None
    asked: Asked | None = None
    attempts: Attempts | None = None
    missing_votes: int | None = None
    left_out: dict[str, int] = Field(default_factory=dict)
    writers: dict[str, list[str]] = Field(default_factory=dict)  # `opponent`, `challenger` -> their models
    calls: int | None = None
    tokens: dict[str, int] = Field(default_factory=dict)
    cost: float | None = None
    offline: bool = False
    figures: dict[str, list[dict[str, Any]]] = Field(default_factory=dict)  # Registered ones: name -> rows
    made_with: dict[str, Any] = Field(default_factory=dict)

    @property
    def opponent_name(self) -> str:
        """What the challenger was judged against, in words."""
        return "reference" if self.opponent == "assistant" or self.mode == 1 else "king"

    @property
    def dimensions(self) -> tuple[str, ...]:
        """What was judged: the five, and those that were asked beside them."""
        further = (row.metric for row in self.metrics if DIMENSION.fullmatch(row.metric))
        return tuple(dict.fromkeys([*DIMENSIONS, *further]))
