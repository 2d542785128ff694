"""Who is shown which turns in which order, a pair as one person sees it, and how votes get to disk.

Every prefix of the seeded order is a probability sample: first one turn of each pull request, pull requests in random
order; once all have one, a second turn of each, and so on. A larger sample contains every smaller one, so raters may
stop early and further raters may go on where others end. What was drawn is kept in `review/draws.jsonl`. A ballot is
two texts in a secret order, under names that tell nothing.
"""

import hashlib
import hmac
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import orjson
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from duel.errors import ItemError, WorkspaceError
from duel.judging import rubric
from duel.records import Answer, Candidate, Lot, Order, PersonVote, Record, Score
from duel.records.votes import LONGEST_REASON, LONGEST_SECONDS, PERSON, STAND_IN
from duel.settings import Settings
from duel.workspace import Workspace, disk_errors

OVERLAP = 4  # one turn in so many is one that others are shown as well, as far as there are any: agreement among people
REPEATS = 10  # one repeat for so many turns: agreement of a person with themselves


class Showing(Record):
    """One turn before one person. Its place in the file is its place on the person's page."""

    format: str = "duel-showing/1"
    rater: str
    item: str = Field(min_length=1)
    repeat: bool = False
    drawn: Lot | None = None  # None for a turn that the person wanted to see


def sequence(turns: Mapping[str, str], seed: int) -> list[str]:
    """The names of `turns` {name: pull request} in the order in which they are drawn."""

    def place(kind: str, name: str) -> bytes:
        return hashlib.sha256(f"duel-review:{seed}:{kind}:{name}".encode("utf-8", "surrogatepass")).digest()

    met: Counter[str] = Counter()
    ranked, places = [], {pull: place("pull", pull) for pull in set(turns.values())}
    for name in sorted(turns, key=lambda name: place("turn", name)):
        ranked.append((met[turns[name]], places[turns[name]], name))
        met[turns[name]] += 1
    return [name for *_, name in sorted(ranked)]


def chances(turns: Mapping[str, str], count: int) -> dict[str, float]:
    """The chance of each turn to be among the first `count` of the sequence, over all seeds; exact."""
    size, left, whole, rest = Counter(turns.values()), min(count, len(turns)), 0, 0.0
    while left > 0:
        open_pulls = sum(turns_of_pull > whole for turns_of_pull in size.values())
        if left < open_pulls:
            rest = left / open_pulls
            break
        whole, left = whole + 1, left - open_pulls
    of_size = {n: (min(n, whole) + rest * (n > whole)) / n for n in set(size.values())}
    return {name: of_size[size[pull]] for name, pull in turns.items()}


def draw_for(rater: str, count: int, seed: int, turns: Mapping[str, str], earlier: Sequence[Showing]) -> list[Showing]:
    """The showings that bring `rater` to `count` drawn turns; [] where the person has as many.

    `turns` {name: pull request} are all judged turns; `earlier` is what was drawn before, for anyone. A quarter is
    taken from what others are shown, the rest goes on where the draw has come to, so that all draws together are one
    sample. Repeats of the first half are mixed into the second.
    """
    drawn = [showing for showing in earlier if showing.drawn is not None and not showing.repeat]
    own = {showing.item for showing in drawn if showing.rater == rater}
    others = {showing.item for showing in drawn if showing.rater != rater}
    order = [name for name in sequence(turns, seed) if name not in own]
    wanted = min(count - len(own), len(order))
    if wanted <= 0:
        return []
    shared, fresh = (iter([name for name in order if (name in others) is told]) for told in (True, False))
    # Every OVERLAP-th from those shared, as far as there are any of either.
    chosen = [next(chain(fresh, shared) if place % OVERLAP else chain(shared, fresh)) for place in range(wanted)]
    chance = chances(turns, len(own | others | set(chosen)))
    lots = {name: Lot(probability=chance[name], seed=seed) for name in chosen}
    half, step = len(chosen) // 2, REPEATS // 2
    shown = []
    for place, name in enumerate(chosen):
        shown.append(Showing(rater=rater, item=name, drawn=lots[name]))
        if place >= half and (place - half) % step == step - 1:  # behind every fifth one of the first half once more
            again = chosen[place - half - step + 1]
            shown.append(Showing(rater=rater, item=again, repeat=True, drawn=lots[again]))
    return shown


def browse_for(rater: str, names: Sequence[str], earlier: Sequence[Showing]) -> list[Showing]:
    """Showings of turns that `rater` names. What was drawn for the person before stays drawn."""
    known = {showing.item for showing in earlier if showing.rater == rater}
    return [Showing(rater=rater, item=name) for name in names if name not in known]


class Cast(BaseModel):
    """What a page sends for one pair. `first` and `second` are all that it knows of the sides."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    rater: str = Field(max_length=40)
    id: str = Field(max_length=64)
    pair: str = Field(max_length=64)
    choices: dict[str, int] | None = None  # dimension -> 1 the first shown, 2 the second, 0 neither; None for a skip
    skipped: str = Field("", max_length=LONGEST_REASON)
    reason: str = Field("", max_length=LONGEST_REASON)
    seconds: float = Field(0.0, ge=0)
    at: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$")

    @classmethod
    def parse(cls, row: object) -> "Cast":
        """One vote of a page, a JSON object or its bytes. Raises ItemError (reason `unreadable`)."""
        try:
            return cls.model_validate_json(row) if isinstance(row, bytes) else cls.model_validate(row)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "the line"
            raise ItemError("unreadable", f"not a vote: {place}: {first['msg']}") from None


class Ballot:
    """One showing with its texts, and what only this side of the page knows: which text is whose.

    Names and order are keyed hashes: without the workspace's secret they say nothing. The order is drawn anew for every
    person and turn; a repeat shows the sides the other way round.
    """

    def __init__(self, showing: Showing, answer: Answer, settings: Settings, secret: bytes) -> None:
        def keyed(*parts: str) -> str:
            whole = "\0".join(("review", *parts)).encode("utf-8", "surrogatepass")
            return hmac.digest(secret, whole, "sha256").hex()[:24]

        def shown(opponent: str, challenger: str) -> tuple[str, str]:
            return (challenger, opponent) if swapped else (opponent, challenger)

        rater, item, mode, judge = showing.rater, showing.item, settings.duel.mode, settings.judge
        self.showing, self.pair = showing, rubric.pair_of(item, answer, mode, judge.observed)
        self.dimensions = judge.dimensions
        self.fingerprint = rubric.fingerprint(self.pair)
        self.id, self.pair_id = keyed("ballot", rater, item, str(showing.repeat)), keyed("pair", item, self.fingerprint)
        self.key = keyed("vote", self.id, self.fingerprint)  # names this showing of these very texts
        swapped = bool(int(keyed("side", rater, item)[:2], 16) & 1) ^ showing.repeat
        self.order: Order = "challenger_first" if swapped else "king_first"
        self.texts = shown(self.pair.opponent, self.pair.challenger)  # in the order in which they are shown
        # What their commands printed, where both were executed: one alone tells the sides.
        printed = [_printed(answer.chosen(side)) for side in ("king" if mode == 2 else "assistant", "challenger")]
        self.observed = shown(printed[0], printed[1]) if printed[0] is not None and printed[1] is not None else None
        mine = 2 - swapped
        self.worth = {mine: 1.0, 3 - mine: 0.0, 0: 0.5}  # what each button says of the challenger

    def vote(self, cast: Cast) -> PersonVote:
        """Raises ItemError (reason `unreadable`) where `cast` says too little, or of what nobody asked."""
        chosen, asked, showing = cast.choices, self.dimensions, self.showing
        if not cast.skipped if chosen is None else chosen.keys() != {*asked} or not {*chosen.values()} <= {0, 1, 2}:
            need = f"0, 1 or 2 for each of {', '.join(asked)}, or a reason to skip"
            raise ItemError("unreadable", f"not a vote: choices must give {need}")
        skipped = cast.skipped.strip() or "no reason given" if chosen is None else ""
        told: dict[str, Any] = {name: self.worth[choice] for name, choice in (chosen or {}).items()}
        told |= {"key": self.key, "pair": self.fingerprint, "judge": PERSON + showing.rater, "order": self.order}
        told |= {"item": showing.item, "repeat": showing.repeat, "drawn": showing.drawn, "at": cast.at}
        told |= {"reason": cast.reason.strip(), "seconds": min(cast.seconds, LONGEST_SECONDS), "skipped": skipped}
        return PersonVote(**told)

    def choices(self, vote: PersonVote) -> dict[str, int] | None:
        """The buttons that `vote` was, as shown on this ballot; None for a skip, or where less was asked then."""
        button = {value: place for place, value in self.worth.items()}
        said = vote.on(self.dimensions)
        return None if said is None else {name: button[one] for name, one in zip(self.dimensions, said, strict=True)}


def _printed(candidate: Candidate | None) -> str | None:
    """What a command printed, in words; None where it did not run."""
    if candidate is None or (observed := candidate.observed) is None or not observed.ran:
        return None
    ended = f"[stopped: {observed.ended_by}]" if observed.ended_by else f"[exit code {observed.exit}]"
    parts = (observed.printed.rstrip() or "(printed nothing)", observed.changed.rstrip(), ended)
    return "\n".join(part for part in parts if part)


# Votes on disk: appended, synced before anyone is told so, each exactly once.
VOTES_FILE, DRAWS_FILE = "votes.jsonl", "draws.jsonl"
RowType = TypeVar("RowType", bound=Record)


@dataclass
class Taken:
    new: int = 0
    there_before: int = 0
    set_aside: list[tuple[str, str]] = field(default_factory=list)  # (which, why)
    acknowledged: list[str] = field(default_factory=list)  # `id at` of each vote that is on disk


def take_votes(workspace: Workspace, shown: Iterable[Ballot], rows: Iterable[object]) -> Taken:
    """The one way for a page's votes to get into `review/votes.jsonl`; `shown` are those whose votes may come in.

    Each row is checked, and what is new appended in one synced write. Raises WorkspaceError where that fails.
    """
    ballots = {ballot.id: ballot for ballot in shown}
    taken, votes = Taken(), dict[tuple[str, str], PersonVote]()
    for number, row in enumerate(rows, start=1):
        try:
            cast = Cast.parse(row)
            ballot = ballots.get(cast.id)
            if ballot is None or ballot.showing.rater != cast.rater:
                raise ItemError("unknown", "this workspace has drawn no such turn for this person")
            if ballot.pair_id != cast.pair:
                raise ItemError("texts-changed", "the texts have changed since", where=ballot.showing.item)
            vote = ballot.vote(cast)
            taken.there_before += (vote.key, vote.at) in votes
            votes.setdefault((vote.key, vote.at), vote)
            taken.acknowledged.append(f"{cast.id} {cast.at}")
        except ItemError as error:
            taken.set_aside.append((str(error.where or f"vote {number}"), error.what))

    def unknown(lines: bytes) -> list[PersonVote]:
        known = {(vote.key, vote.at) for vote in _rows(lines, PersonVote, [])}
        return [vote for key, vote in votes.items() if key not in known]

    if votes:
        taken.new = _append(workspace, VOTES_FILE, unknown)
        taken.there_before += len(votes) - taken.new
    return taken


def read_votes(workspace: Workspace, damage: list[ItemError]) -> list[PersonVote]:
    """Every vote in the order in which they came; lines that cannot be read are appended to `damage`."""
    return _rows(workspace.review / VOTES_FILE, PersonVote, damage)


def read_showings(workspace: Workspace, damage: list[ItemError]) -> list[Showing]:
    return _rows(workspace.review / DRAWS_FILE, Showing, damage)


def add_showings(workspace: Workspace, showings: Sequence[Showing]) -> None:
    """Keep what was drawn, before anyone sees it."""
    _append(workspace, DRAWS_FILE, lambda _: showings)


def _rows(lines: bytes | Path, kind: type[RowType], damage: list[ItemError]) -> list[RowType]:
    found = []
    if isinstance(lines, Path):
        try:
            lines = lines.read_bytes() if lines.exists() else b""
        except OSError as error:
            raise WorkspaceError("cannot read", where=lines, value=error.strerror) from None
    for number, line in enumerate(lines.splitlines(), start=1):
        try:
            if line.strip():
                found.append(kind.parse(line))
        except ItemError as error:
            damage.append(ItemError("damaged", error.what, where=f"review, {kind.__name__} line {number}"))
    return found


def _append(workspace: Workspace, name: str, made: Callable[[bytes], Sequence[Record]]) -> int:
    """Append what `made` makes of the file's lines and sync, one process at a time; gives how many rows that are.

    A line that a power cut left half is ended first, so that it spoils no other.
    """
    path = workspace.review / name
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        workspace.private.mkdir(parents=True, exist_ok=True)
        with FileLock(workspace.private / f"{name}.lock"), path.open("ab+", buffering=0) as file:
            file.seek(0)
            before = file.read()
            rows = made(before)
            payload = b"".join(orjson.dumps(row.model_dump(mode="json")) + b"\n" for row in rows)
            if payload and before and not before.endswith(b"\n"):
                payload = b"\n" + payload
            while payload:
                payload = payload[file.write(payload) :]
            os.fsync(file.fileno())
    return len(rows)


# Rules that vote in place of people where no person takes part: offline runs show what the figures look like.
STAND_INS = (f"{STAND_IN}-1", f"{STAND_IN}-2")
AT = "1970-01-01T00:00:00Z"
OWN_MIND = 0.4  # how often a stand-in votes by lot and not as the panel does


def stand_in_casts(ballots: Iterable[Ballot], scores: Mapping[str, Score]) -> list[Cast]:
    found = []
    for ballot in (one for one in ballots if one.showing.item in scores):
        rater, item, choices = ballot.showing.rater, ballot.showing.item, {}
        draw, button = random.Random(f"{rater} {item}"), {value: place for place, value in ballot.worth.items()}
        for name in ballot.dimensions:
            points = scores[item].metrics.get(name) or 0.0
            own = draw.random() < OWN_MIND
            choices[name] = button[draw.choice((1, 0.5, 0)) if own else (1 + (points > 55) - (points < 45)) / 2]
        said = "A rule voted here."
        found.append(Cast(rater=rater, id=ballot.id, pair=ballot.pair_id, choices=choices, reason=said, at=AT))
    return found
