"""A pair as one person sees it: two texts in a secret order, under names that tell nothing."""

from __future__ import annotations

import hmac
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from duel.errors import ItemError
from duel.judging import rubric
from duel.judging.rubric import JudgedPair
from duel.records import DIMENSIONS, Answer, Candidate, Order, PersonVote, Score
from duel.records.people import LONGEST_REASON, LONGEST_SECONDS, PERSON, STAND_IN
from duel.review.showings import Showing


class Cast(BaseModel):
    """What a page sends for one pair. `first` and `second` are all that it knows of the sides."""

    model_config = ConfigDict(extra="ignore")
    FORMAT: ClassVar[str] = "duel-ballot/1"
    rater: str = Field(max_length=40)
    id: str = Field(max_length=64)
    pair: str = Field(max_length=64)
    choices: dict[str, int] | None = None  # dimension -> 1 the first shown, 2 the second, 0 neither; None for a skip
    skipped: str = Field("", max_length=LONGEST_REASON)
    reason: str = Field("", max_length=LONGEST_REASON)
    seconds: float = Field(0.0, ge=0)
    at: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$")

    @classmethod
    def parse(cls, row: object) -> Cast:
        """One vote of a page. Raises ItemError (reason `unreadable`)."""
        if not isinstance(row, dict):
            raise ItemError("unreadable", "not a vote: the line is no JSON object")
        try:
            cast = cls.model_validate(row)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "the line"
            raise ItemError("unreadable", f"not a vote: {place}: {first['msg']}") from None
        told = cast.choices
        if told is None and not cast.skipped:
            raise ItemError("unreadable", "not a vote: neither choices nor a reason to skip")
        if told is not None and (set(told) != set(DIMENSIONS) or not set(told.values()) <= {0, 1, 2}):
            raise ItemError("unreadable", "not a vote: choices must give 0, 1 or 2 for each of the five dimensions")
        return cast


@dataclass(frozen=True)
class Ballot:
    """One showing with its texts, and what only this side of the page knows: which text is whose."""

    showing: Showing
    pair: JudgedPair
    fingerprint: str
    id: str
    pair_id: str
    order: Order
    printed: tuple[str, str] | None  # by the commands of opponent and challenger, where both were executed

    @classmethod
    def of(cls, showing: Showing, answer: Answer, mode: int, secret: bytes, observed: bool = True) -> Ballot:
        """The ballot of `showing`. Names and order are keyed hashes: without the workspace's secret they say nothing.

        The order is drawn anew for every person and turn; a repeat shows the sides the other way round.
        """
        pair = rubric.pair_of(showing.item, answer, mode, observed)
        fingerprint = rubric.fingerprint(pair)
        swapped = _keyed(secret, "side", showing.rater, showing.item)[0] & 1 ^ int(showing.repeat)
        # One output alone would tell the sides.
        opponent = _printed(answer.chosen("king" if mode == 2 else "assistant"))
        challenger = _printed(answer.chosen("challenger"))
        return cls(
            showing,
            pair,
            fingerprint,
            _keyed(secret, "ballot", showing.rater, showing.item, str(showing.repeat)).hex()[:24],
            _keyed(secret, "pair", showing.item, fingerprint).hex()[:24],
            "challenger_first" if swapped else "king_first",
            None if opponent is None or challenger is None else (opponent, challenger),
        )

    @property
    def texts(self) -> tuple[str, str]:
        return self._shown((self.pair.opponent, self.pair.challenger))

    @property
    def observed(self) -> tuple[str, str] | None:
        return self._shown(self.printed) if self.printed else None

    def _shown(self, both: tuple[str, str]) -> tuple[str, str]:
        return both if self.order == "king_first" else both[::-1]

    @property
    def mine(self) -> int:
        """The button of the challenger."""
        return 1 if self.order == "challenger_first" else 2

    def key(self, secret: bytes) -> str:
        """Names this showing of these very texts."""
        return _keyed(secret, "vote", self.id, self.fingerprint).hex()[:24]

    def vote(self, cast: Cast, secret: bytes) -> PersonVote:
        value = {self.mine: 1.0, 3 - self.mine: 0.0, 0: 0.5}
        return PersonVote(
            key=self.key(secret),
            item=self.showing.item,
            pair=self.fingerprint,
            judge=PERSON + self.showing.rater,
            order=self.order,
            reason=cast.reason.strip(),
            skipped=cast.skipped.strip() or "no reason given" if cast.choices is None else "",
            repeat=self.showing.repeat,
            seconds=min(cast.seconds, LONGEST_SECONDS),
            at=cast.at,
            drawn=self.showing.drawn,
            **{name: value[choice] for name, choice in (cast.choices or {}).items()},
        )

    def choices(self, vote: PersonVote) -> dict[str, int] | None:
        """The buttons that `vote` was, as shown on this ballot; None for a skip."""
        button = {1.0: self.mine, 0.0: 3 - self.mine, 0.5: 0}
        return None if vote.values is None else {name: button[getattr(vote, name)] for name in DIMENSIONS}


def _printed(candidate: Candidate | None) -> str | None:
    """What a command printed, in words; None where it did not run."""
    observed = candidate.observed if candidate else None
    if observed is None or not observed.ran:
        return None
    ended = f"[stopped: {observed.ended_by}]" if observed.ended_by else f"[exit code {observed.exit}]"
    parts = (observed.printed.rstrip() or "(printed nothing)", observed.changed.rstrip(), ended)
    return "\n".join(part for part in parts if part)


def _keyed(secret: bytes, *parts: str) -> bytes:
    return hmac.digest(secret, "\0".join(("review", *parts)).encode("utf-8", "surrogatepass"), "sha256")


# -- rules that vote in place of people where no person takes part: offline runs show what the figures look like ------

STAND_INS = (f"{STAND_IN}-1", f"{STAND_IN}-2")
AT = "1970-01-01T00:00:00Z"
OWN_MIND = 0.4  # how often a stand-in votes by lot and not as the panel does


def stand_in_casts(ballots: Iterable[Ballot], scores: Mapping[str, Score]) -> list[Cast]:
    found = []
    for ballot in ballots:
        rater, item = ballot.showing.rater, ballot.showing.item
        if item in scores:
            draw = random.Random(f"{rater} {item}")
            button = {1: ballot.mine, -1: 3 - ballot.mine, 0: 0}
            choices = {}
            for name in DIMENSIONS:
                points = scores[item].metrics.get(name) or 0.0
                lean = draw.choice((1, 0, -1)) if draw.random() < OWN_MIND else (points > 55) - (points < 45)
                choices[name] = button[lean]
            said = "A rule voted here."
            found.append(Cast(rater=rater, id=ballot.id, pair=ballot.pair_id, choices=choices, reason=said, at=AT))
    return found
