"""One turn on its way: its draw and hidden pull request, its candidates with their audits, the turn that is kept."""

import hashlib
from collections.abc import Collection
from typing import Any

from pydantic import Field, model_validator

from duel.records.executed import Observed
from duel.records.record import Message, Part, Record, Side


def fingerprint(text: str) -> str:
    """16 hexadecimal digits that identify a text (BLAKE2b)."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class Source(Part):
    """Where a prompt came from, and how likely it was to be drawn."""

    dataset: str = ""
    revision: str = ""
    file: str = ""
    row: int = -1
    exit_status: str = ""
    probability: float | None = None


class Prompt(Record):
    """One sampled turn: the history up to it (`messages`) and the dataset's own next turn (`assistant`)."""

    format: str = "duel-prompt/1"
    instance_id: str = Field(min_length=1)
    repo: str = ""
    messages: list[Message] = Field(min_length=1)
    assistant: str = ""
    turn: int = 0
    source: Source = Field(default_factory=Source)


class ChangedFile(Part):
    """One file of a diff."""

    path: str
    status: str = "modified"
    additions: int = 0
    deletions: int = 0


class Commit(Record):
    """The hidden pull request of a prompt: what the challenger is shown and the king is not."""

    format: str = "duel-commit/1"
    instance_id: str = Field(min_length=1)
    repo: str = ""
    pull_number: int | None = None
    commit: str = ""
    issue: str = ""
    description: str = ""
    files: list[ChangedFile] = Field(default_factory=list)
    patch: str = ""
    test_patch: str = ""
    license: str = ""
    created_at: str = ""
    source: Source = Field(default_factory=Source)


class Leak(Part):
    """One fact that stands in the hidden pull request and nowhere in what the agent has seen."""

    kind: str
    value: str
    place: dict[str, Any] = Field(default_factory=dict)  # Where in the reply
    pr_place: dict[str, Any] = Field(default_factory=dict)  # Where in the pull request
    rarity: float = 0.0  # 0 (every program uses the name) to 1 (no other pull request has it)
    elsewhere: int = 0  # Other pull requests of the workspace that hold it
    weight: float = 0.0  # Its part of the leak score


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
    rests_on: str = ""  # Fingerprint of all they rest on: text, history, pull request, settings, lists, program
    leaks: list[Leak] = Field(default_factory=list)
    leak_score: float = 0.0
    leaking: bool = False  # The score exceeds `[audit] leak_max`
    reworded: bool = False  # Asked again with its leaks named: the words are gone, the knowledge may be there
    auditor: str = ""  # The model that was asked which claims follow from nothing; "" where none was
    attempts: list[str] = Field(default_factory=list)  # Kinds of attempts to sway a judge
    minded: dict[str, str] = Field(default_factory=dict)  # What checks of other packages mind, by the check's name
    protocol: ProtocolCheck | None = None
    secrets: dict[str, int] = Field(default_factory=dict)  # Kind -> how many
    contaminated: str = ""  # Which benchmark holds the pull request, in words; "" for none
    license: str | None = None
    license_refused: str = ""
    duplicates_of: str = ""  # The stem of the turn that stands for its group of near-duplicates; "" for none

    def about(self, text: str) -> bool:
        return self.text == fingerprint(text)


class Refinement(Part):
    """Which rewrite a text is: of which text, in which round, after whose reasons."""

    round: int  # From 1
    parent: str  # Fingerprint of the text it was rewritten from
    coaches: list[str] = Field(default_factory=list)  # The judges whose reasons its writer was given


class Promotion(Part):
    """Why a rewrite stands in `final/`: what the held-out judges gave it."""

    round: int
    parent: str  # The candidate it was rewritten from, by its id
    score: float  # Against the king, 0-100
    against_parent: float  # Above 50 it is the better one
    judges: list[str] = Field(default_factory=list)


class Made(Part):
    """What one reply was made with: enough to tell whether it is still what the settings ask for.

    `plan` is the fingerprint of the question, without the workspace's nonce: a rerun compares it, and needs no call.
    """

    model: str = ""
    plan: str = ""
    question_hash: str = ""  # Of what was sent, the nonce left out
    template_hash: str = ""  # Of the prompt file that was rendered into it; "" where the history was sent as it is
    attempt: int = 0
    usage: dict[str, Any] = Field(default_factory=dict)
    finish_reason: str = ""
    at: str = ""
    refine: Refinement | None = Field(None, exclude_if=lambda refine: refine is None)  # Of a rewrite alone


class Selection(Part):
    """Why a candidate was chosen among several of its side, or was not."""

    outcome: str
    """"chosen"; else what kept it out ("leak", "protocol", …), "failed" (its command), "same" (does what `to` does),
    "outnumbered" (by what most others do), "lost" (its duel with `to`)."""
    to: str = ""
    score: float | None = None  # Points of 100 in the duel that it lost
    reason: str = ""  # What the judges of that duel said
    method: str = ""  # Of the chosen one: `[generate] select`; how many there were, and duels and judges that it took
    of: int | None = None
    duels: int | None = None
    panel: list[str] = Field(default_factory=list)
    rests_on: str = ""  # Fingerprint of all that the choice rests on


class Candidate(Part):
    """One text for a turn. `id` is unique in its answer: the side, a dash, a number from 1 (`king-1`).

    The text of the chosen one stands in the answer's field of its side and nowhere else; `Answer.text_of` gives either.
    """

    id: str
    side: Side
    text: str = ""  # "" for the chosen one
    made: Made | None = None  # None for a text from elsewhere
    audit: Audit | None = None
    observed: Observed | None = None  # What its command did; None until `duel execute` has run it
    chosen: bool = False
    selection: Selection | None = Field(None, exclude_if=lambda selection: selection is None)  # None for an only one


class Answer(Record):
    """One turn with its candidates. `king`, `challenger` and `assistant` hold the chosen texts, "" for none."""

    format: str = "duel-answer/2"
    instance_id: str = Field(min_length=1)
    king: str
    challenger: str = ""
    assistant: str = ""
    messages: list[Message] = Field(min_length=1)
    candidates: list[Candidate] = Field(default_factory=list)
    repo: str = ""
    turn: int = 0
    source: Source = Field(default_factory=Source)

    @model_validator(mode="before")
    @classmethod
    def _first_format(cls, fields: Any) -> Any:
        """Version 1 kept `made` by side and one `audit`, which named no text and therefore counts as none."""
        if not isinstance(fields, dict) or "candidates" in fields:
            return fields
        kept = {key: value for key, value in fields.items() if key not in ("made", "audit", "format")}
        made: Any = fields.get("made") if isinstance(fields.get("made"), dict) else {}
        sides = [side for side in ("king", "challenger") if side in made]
        kept["candidates"] = [{"id": f"{side}-1", "side": side, "made": made[side], "chosen": True} for side in sides]
        if "format" in fields and str(fields["format"]).split("/")[0] != cls.kind():
            kept["format"] = fields["format"]  # another record's tag, which the reader names
        return kept

    def chosen(self, side: Side) -> Candidate | None:
        """The candidate whose text stands in the field of `side`; None where it came from elsewhere or is not there."""
        found = [one for one in self.candidates if one.side == side and one.chosen]
        return found[0] if found else None

    def text_of(self, candidate: Candidate) -> str:
        return str(getattr(self, candidate.side)) if candidate.chosen else candidate.text

    def of_side(self, side: Side) -> list[Candidate]:
        return [candidate for candidate in self.candidates if candidate.side == side]

    def rewrites(self) -> list[Candidate]:
        """What `duel refine` wrote, round by round; never the challenger of the duel."""
        found = [(c.made.refine.round, c) for c in self.of_side("challenger") if c.made and c.made.refine]
        return [candidate for _, candidate in sorted(found, key=lambda one: one[0])]

    def with_challenger(self, candidate: Candidate) -> "Answer":
        """A copy in which `candidate` is the challenger; this answer stays as it is."""
        copied = self.model_copy(update={"candidates": [one.model_copy() for one in self.candidates]})
        copied.choose(candidate, self.text_of(candidate))
        return copied

    def audit(self, side: Side) -> Audit | None:
        return self.audit_of(self.chosen(side))

    def audit_of(self, candidate: Candidate | None) -> Audit | None:
        """The audit of a candidate's text; None where there is none, or where it is about another text."""
        found = candidate.audit if candidate else None
        return found if candidate and found and found.about(self.text_of(candidate)) else None

    def made(self, side: Side) -> Made | None:
        """How the chosen text of `side` was made; None for a text from elsewhere."""
        candidate = self.chosen(side)
        return candidate.made if candidate else None

    def choose(self, candidate: Candidate, text: str) -> None:
        """Make `candidate` the chosen one of its side, in place of one of its id; the one before keeps its text."""
        before = self.chosen(candidate.side)
        if before is not None:
            before.text, before.chosen = getattr(self, candidate.side), False
        setattr(self, candidate.side, text)
        self.put(candidate.model_copy(update={"text": "", "chosen": True}))

    def put(self, candidate: Candidate) -> None:
        """Add `candidate`, or replace the one of its id, in place."""
        for place, other in enumerate(self.candidates):
            if other.id == candidate.id:
                self.candidates[place] = candidate
                return
        self.candidates.append(candidate)

    def remove(self, side: Side, keep: Collection[str] = ()) -> None:
        """Take the candidates of a side away but for the ids in `keep`; the chosen text goes with its candidate."""
        chosen = self.chosen(side)
        if chosen is None or chosen.id not in keep:
            setattr(self, side, "")
        self.candidates = [one for one in self.candidates if one.side != side or one.id in keep]

    def examine(self, side: Side, audit: Audit) -> None:
        """Keep `audit` with the chosen text of `side`, which becomes a candidate if it came from elsewhere."""
        candidate = self.chosen(side) or Candidate(id=f"{side}-1", side=side, chosen=True)
        self.put(candidate.model_copy(update={"audit": audit}))


class Kept(Answer):
    """A turn in `final/`, `refined/` or `defeat/`: the answer with what the panel said of it."""

    format: str = "duel-kept/2"
    score: float | None = None
    score_expected: float | None = None  # What a re-judge is expected to give: shrunk by the reliability. DESIGN 4.9
    metrics: dict[str, float | None] = Field(default_factory=dict)
    reason: str = ""
    bucket_reason: str = ""
    mode: int = 2
    license: str = ""
    base_commit: str = ""
    lineage: list[Promotion] = Field(default_factory=list)  # The rewrites that led here, oldest first
