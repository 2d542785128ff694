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
        try:
            cast = cls.model_validate(row)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "the line"
            raise ItemError("unreadable", f"not a vote: {place}: {first['msg']}") from None
        told = cast.choices
        if not cast.skipped if told is None else set(told) != set(DIMENSIONS) or not set(told.values()) <= {0, 1, 2}:
            need = "0, 1 or 2 for each of the five dimensions, or a reason to skip"
            raise ItemError("unreadable", f"not a vote: choices must give {need}")
        return cast


@dataclass(frozen=True)
class Ballot:
    """One showing with its texts, and what only this side of the page knows: which text is whose."""

    showing: Showing
    pair: JudgedPair
    fingerprint: str
    id: str
    pair_id: str
    key: str  # names this showing of these very texts
    order: Order
    texts: tuple[str, str]  # in the order in which they are shown
    observed: tuple[str, str] | None  # what their commands printed, where both were executed: one alone tells the sides

    @classmethod
    def of(cls, showing: Showing, answer: Answer, mode: int, secret: bytes, observed: bool = True) -> Ballot:
        """The ballot of `showing`. Names and order are keyed hashes: without the workspace's secret they say nothing.

        The order is drawn anew for every person and turn; a repeat shows the sides the other way round.
        """

        def keyed(*parts: str) -> bytes:
            return hmac.digest(secret, "\0".join(("review", *parts)).encode("utf-8", "surrogatepass"), "sha256")

        def shown(opponent: str, challenger: str) -> tuple[str, str]:
            return (challenger, opponent) if swapped else (opponent, challenger)

        rater, item = showing.rater, showing.item
        pair = rubric.pair_of(item, answer, mode, observed)
        fingerprint, name = rubric.fingerprint(pair), keyed("ballot", rater, item, str(showing.repeat)).hex()[:24]
        swapped = bool(keyed("side", rater, item)[0] & 1) ^ showing.repeat
        opponent = _printed(answer.chosen("king" if mode == 2 else "assistant"))
        challenger = _printed(answer.chosen("challenger"))
        return cls(
            showing,
            pair,
            fingerprint,
            id=name,
            pair_id=keyed("pair", item, fingerprint).hex()[:24],
            key=keyed("vote", name, fingerprint).hex()[:24],
            order="challenger_first" if swapped else "king_first",
            texts=shown(pair.opponent, pair.challenger),
            observed=None if opponent is None or challenger is None else shown(opponent, challenger),
        )

    @property
    def worth(self) -> dict[int, float]:
        """What each button says of the challenger."""
        mine = 1 if self.order == "challenger_first" else 2
        return {mine: 1.0, 3 - mine: 0.0, 0: 0.5}

    def vote(self, cast: Cast) -> PersonVote:
        return PersonVote(
            key=self.key,
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
            **{name: self.worth[choice] for name, choice in (cast.choices or {}).items()},
        )

    def choices(self, vote: PersonVote) -> dict[str, int] | None:
        """The buttons that `vote` was, as shown on this ballot; None for a skip."""
        button = {value: place for place, value in self.worth.items()}
        return None if vote.values is None else {name: button[getattr(vote, name)] for name in DIMENSIONS}


def _printed(candidate: Candidate | None) -> str | None:
    """What a command printed, in words; None where it did not run."""
    observed = candidate.observed if candidate else None
    if observed is None or not observed.ran:
        return None
    ended = f"[stopped: {observed.ended_by}]" if observed.ended_by else f"[exit code {observed.exit}]"
    parts = (observed.printed.rstrip() or "(printed nothing)", observed.changed.rstrip(), ended)
    return "\n".join(part for part in parts if part)


# -- rules that vote in place of people where no person takes part: offline runs show what the figures look like ------

STAND_INS = (f"{STAND_IN}-1", f"{STAND_IN}-2")
AT = "1970-01-01T00:00:00Z"
OWN_MIND = 0.4  # how often a stand-in votes by lot and not as the panel does


def stand_in_casts(ballots: Iterable[Ballot], scores: Mapping[str, Score]) -> list[Cast]:
    found = []
    for ballot in (one for one in ballots if one.showing.item in scores):
        rater, item = ballot.showing.rater, ballot.showing.item
        draw, choices = random.Random(f"{rater} {item}"), {}
        button = {value: place for place, value in ballot.worth.items()}
        for name in DIMENSIONS:
            points = scores[item].metrics.get(name) or 0.0
            own = draw.random() < OWN_MIND
            choices[name] = button[draw.choice((1, 0.5, 0)) if own else (1 + (points > 55) - (points < 45)) / 2]
        said = "A rule voted here."
        found.append(Cast(rater=rater, id=ballot.id, pair=ballot.pair_id, choices=choices, reason=said, at=AT))
    return found
