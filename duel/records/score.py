"""The votes on a pair of candidates, which are facts, and the score that follows from them."""

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from duel.records.record import DIMENSIONS, Order, Part, Record

Worth = Annotated[float | None, Field(ge=0, le=1)]
MOST = 1 << 30  # replies, and characters of one text


class Preference(Part):
    """Who said what of a pair in which order, from the challenger's side: 1.0 won, 0.5 drawn, 0.0 lost.

    `judge` is who said it: a model's id, `rule:<name>` or `person:<name>`.
    """

    judge: str
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
        found = [getattr(self, name) for name in DIMENSIONS]
        return None if None in found else found


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

    FORMAT: ClassVar[str] = "duel-score/2"
    format: str = FORMAT
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
    confirmed: float | None = None
    """What a second, independent look at the pair gave (`validate.py --confirm`; votes in `score/_confirm/`)."""
    style: str = ""
    reason: str = ""
    evidence: str = ""
    """"shown": judges saw what the commands did; "same": both did the same, a draw in correctness by rule (a vote's
    `said` keeps what the judge said); else why not ("unfaithful"), "" where nothing was executed."""
    attempts: list[dict[str, str]] = Field(default_factory=list)
    """{side, kind}: what in a reply looks like an attempt to influence the judges."""
    writers: dict[str, str] = Field(default_factory=dict)
    """The models that wrote `opponent` and `challenger`; the reference turn's is not known."""
    lengths: dict[str, Annotated[int, Field(le=MOST)]] = Field(default_factory=dict)
    """Characters of `opponent`, `challenger` and the `history` before them."""
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
        return kept | {"format": cls.FORMAT}
