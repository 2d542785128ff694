"""The one model between what was kept and every training format: a conversation that ends on what is to be learned.

And the counts at every hand-over of it: turns in = turns out + dropped by reason, or the export fails. A neighbor's
pipeline once read an array as JSON lines and lost 4,045 rows without a word. Here each step says what it took and what
it gave, and the next one must take just that.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple, Self, TypeAlias

from duel import shell, turn
from duel.command import say
from duel.conversation import dialogue, tasks
from duel.conversation.model import Entry
from duel.errors import UserError, require
from duel.history import estimate_tokens, history_tokens
from duel.records import Audit, Message
from duel.spill import Spill, Spilled

# Turns of one style, and of one third of a run, that rows of single turns take of it at most.
TURNS_OF_A_KIND = 8


class SpilledMessages(Sequence[Message]):
    """A conversation that waits in a file, read again by who looks at it; `rewritten` goes there too."""

    def __init__(self, messages: Sequence[Message], spill: Spill) -> None:
        self._length, self._spill = len(messages), spill
        self._place = spill.put([message.model_dump() for message in messages])

    def rewritten(self, messages: Sequence[Message]) -> "SpilledMessages":
        return self if _read(self._place) == tuple(messages) else SpilledMessages(messages, self._spill)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: Any) -> Any:
        return _read(self._place)[place]

    def __iter__(self) -> Iterator[Message]:
        return iter(_read(self._place))


@lru_cache(maxsize=1)  # looked at again and again, then never
def _read(place: Spilled) -> tuple[Message, ...]:
    return tuple(map(Message.model_validate, place.value()))


@dataclass(frozen=True, kw_only=True)
class Example:
    """One unit of training data.

    From a duel: the history that the model saw, the accepted turn as the last message, the other side's turn in
    `rejected`. From a trajectory file: the whole conversation as it was recorded, with `rejected` empty.
    """

    id: str
    instance_id: str = ""
    repo: str = ""
    license: str = ""
    base_commit: str = ""
    dataset: str = ""  # where the conversation comes from: a Hub id or a file's name
    revision: str = ""
    messages: tuple[Message, ...] | SpilledMessages
    native: tuple[Message, ...] = ()  # the same conversation with its native calls, where the source kept both
    rejected: str = ""
    others: tuple[str, ...] = ()  # further losing candidates, which no panel compared with the last message
    lost: tuple[Message, ...] = ()  # of a pair of trajectories: what the failed run said and saw behind `opening`
    refused: tuple[tuple[int, str], ...] = ()
    """Of a guided run: (place of a message, the agent's proposal that did not run and that the message replaced)."""
    opening: int = 0  # how many messages both runs of a pair share; 0: only the last message is what is to be learned
    label: bool | None = None  # for unpaired preferences: whether the last message is wanted
    score: float | None = None  # panel score of the last message against `rejected`, 0-100; None where no panel saw it
    score_expected: float | None = None  # the score that a second look is expected to give
    bucket: str = ""
    style: str = ""
    model: str = ""  # the model that wrote the last message
    template: str = ""  # hash of the prompt file it was asked with
    agent: str = ""  # the harness, as the trajectory's format names it
    tools: tuple[Mapping[str, Any], ...] = ()
    """Function schemas of native tool calls, in OpenAI's shape; empty: the bash block is the only action."""
    exit_status: str = ""
    resolved: bool | None = None  # whether tests showed that the run solved its issue; None: unknown
    guess: str = ""  # what mine.py guesses of the run: "success", "failure" or "unknown". Nothing is chosen by it
    evidence: str = ""  # what `resolved` rests on, where the source tells
    audit: Audit | None = None  # of the accepted turn; None: it was never audited
    recorded: bool = False  # True for a whole trajectory, every turn of which is to be learned, not the last alone

    @property
    def prompt(self) -> tuple[Message, ...]:
        return self.messages[: self.opening or -1]

    @property
    def completion(self) -> tuple[Message, ...]:
        """What is wanted behind `prompt`: the last message, or the resolved run of a pair of trajectories."""
        return self.messages[len(self.prompt) :]

    @property
    def accepted(self) -> str:
        return self.messages[-1].content

    @property
    def margin(self) -> float | None:
        """How much of the panel preferred the last message, -1 to 1; 1 where tests told both runs apart."""
        if self.score is None:
            return 1.0 if self.lost else None  # by the issue's own tests
        return round((self.score - 50) / 50, 6)

    def weights(self) -> dict[str, float | None]:
        """What a trainer may weigh the row by: `weight` is the score (if known the expected one) as a share."""
        known = self.score if self.score_expected is None else self.score_expected
        weight = None if known is None else round(known / 100, 6)
        return {"weight": weight, "margin": self.margin, "score_expected": self.score_expected}

    @cached_property
    def tokens(self) -> int:
        longest = max(history_tokens(self.messages), history_tokens(self.native))
        losing = sum(estimate_tokens(text) for text in (self.rejected, *self.others) if text)
        return longest + losing + history_tokens(self.lost)

    def mapped(self, message: Callable[[Message], Message], text: Callable[[str], str]) -> Self:
        said = tuple(map(message, self.messages))
        return replace(
            self,
            messages=self.messages.rewritten(said) if isinstance(self.messages, SpilledMessages) else said,
            native=tuple(map(message, self.native)),
            lost=tuple(map(message, self.lost)),
            rejected=text(self.rejected),
            others=tuple(map(text, self.others)),
            refused=tuple((place, text(said)) for place, said in self.refused),
        )

    def dropped(self, reason: str, detail: str = "") -> "Dropped":
        return Dropped(self.id, self.instance_id, reason, detail)

    def task(self) -> str:
        return next((message.content for message in self.messages if message.role == "user"), "")

    def turns(self) -> "Turns":
        return Turns(dialogue.parse(self.messages), self.rejected, self.label)


@dataclass(frozen=True)
class Turns:
    """What must survive writing and reading back: who said what, what was run, what came of it."""

    entries: list[Entry]
    rejected: str = ""
    label: bool | None = None


class Dropped(NamedTuple):
    """One example that a step left out, and why. `reason` is a short slug that is counted."""

    id: str
    instance_id: str
    reason: str
    detail: str = ""


@dataclass
class Division:
    parts: dict[str, Sequence[Example]]
    by: str  # what stays whole: "repo" or "pr"
    notes: list[str] = field(default_factory=list)
    groups: dict[str, set[str]] = field(default_factory=dict)  # of each split, once they were checked
    named: dict[str, str] = field(default_factory=dict)  # the group of each example, by its id, as it was divided


@dataclass(frozen=True)
class Loaded:
    """What was found at the source: `found` counts what lay there before anything was parsed."""

    found: int
    examples: list[Example] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    origin: str = ""  # what was read, for the card: "final" or a file's name


Step: TypeAlias = Callable[[Sequence[Example]], Iterable[Example | Dropped]]  # what stays of them, and what does not


class ExportError(UserError):
    """An export whose counts do not add up, or that has nothing to write. Nothing is left half-written."""


class Handover:
    """The chain of counts of one export, and everything that was left out on the way.

    Its methods raise ExportError where a source held more or less, or a step lost or invented an example.
    """

    def __init__(self) -> None:
        # As they stand in the manifest: step, taken, given, dropped by reason.
        self.counts: list[dict[str, Any]] = []
        self.left_out: list[tuple[str, Dropped]] = []

    def read(self, loaded: Loaded) -> list[Example]:
        self.record(f"read {loaded.origin}", loaded.found, len(loaded.examples), loaded.dropped)
        return loaded.examples

    def through(self, name: str, examples: list[Example], step: Step) -> list[Example]:
        found = list(step(examples))
        kept = [one for one in found if isinstance(one, Example)]
        self.record(name, len(examples), len(kept), [one for one in found if isinstance(one, Dropped)])
        return kept

    def record(self, name: str, taken: int, given: int, dropped: Sequence[Dropped]) -> None:
        if taken != given + len(dropped):
            counts = f"{taken} in, {given} out, {len(dropped)} dropped"
            hint = "nothing was exported; this is a fault of the exporter or of a file that changed meanwhile"
            raise ExportError("the counts of a step do not add up", where=name, value=counts, hint=hint)
        reasons = dict(sorted(Counter(drop.reason for drop in dropped).items()))
        self.counts.append({"step": name, "taken": taken, "given": given, "dropped": reasons})
        self.left_out += [(name, drop) for drop in dropped]

    def must_be_some(self, examples: list[Example]) -> list[Example]:
        if not examples:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.reasons().most_common(5))
            what, hint = "nothing is left to export", "loosen the filters or the audit"
            raise ExportError(what, value=reasons or "the source is empty", hint=hint)
        return examples

    def reasons(self) -> Counter[str]:
        return Counter(drop.reason for _, drop in self.left_out)

    def say(self) -> None:
        for reason, count in sorted(self.reasons().items()):
            say(f"{count:,} dropped: {reason}")

    def rows(self) -> list[Mapping[str, Any]]:
        """What was left out, as rows of report/dropped.jsonl; a lone surrogate becomes a question mark."""
        rows = [
            {"file": one.id, "instance_id": one.instance_id, "reason": one.reason, "detail": f"{step}: {one.detail}"}
            for step, one in self.left_out
        ]
        return [{key: value.encode("utf-8", "replace").decode() for key, value in row.items()} for row in rows]


def recorded(example: Example, calls: bool = False, whole: bool = True) -> list[Example]:
    """The one row of a conversation, `calls`: with its native ones. Not `whole`: it ends on the last agent turn.

    What came back after that is nothing to learn.
    """
    messages = example.native or example.messages if calls else example.messages
    if not whole:
        turns = [place for place, message in enumerate(messages) if message.role == "assistant"]
        require(turns, "no-agent-turn", "the conversation holds no agent turn")
        messages = messages[: turns[-1] + 1]
    return [replace(example, messages=messages, native=(), rejected="", others=())]


recorded_calls = partial(recorded, calls=True)
calls_ending_on_turn = partial(recorded, calls=True, whole=False)


def text_only(example: Example) -> list[Example]:
    """A row that ends on an agent turn, for formats that know text alone."""
    plain = not dialogue.is_native(example.messages)
    require(plain, "native-tool-calls", "this format has no place for native tool calls")
    return recorded(example, whole=False)


def each_turn(example: Example, cap: int = TURNS_OF_A_KIND) -> list[Example]:
    """A row for each well-formed turn of a recorded run, the turn last; a duel's turn is the one row that it always is.

    At most `cap` turns of one style and of one third of the run, drawn by a hash of their place, so that a run that
    greps forty times does not teach grep.
    """
    [whole] = text_only(example)
    if not example.recorded:
        return [whole]
    problem = tasks.of_format(example.agent).problem
    messages = whole.messages
    fit = [
        place
        for place in range(1, len(messages))
        if [m.role for m in messages[place - 1 : place + 1]] == ["user", "assistant"]
        and not problem(messages[place].content)
    ]
    taken, kept = Counter[str](), dict[int, Example]()
    for place in sorted(fit, key=lambda place: hashlib.sha256(f"{example.id}\0{place}".encode()).digest()):
        row = _until(whole, place)
        kinds = (f"style {row.style}", f"third {3 * fit.index(place) // len(fit)}")
        if all(taken[kind] < cap for kind in kinds):
            taken.update(kinds)
            kept[place] = row
    require(kept, "no-agent-turn", "no turn is well-formed")
    return [row for _, row in sorted(kept.items())]


def _until(example: Example, place: int) -> Example:
    """The row of one turn: the conversation up to it, under an id of its own."""
    messages = example.messages[: place + 1]
    style = shell.style(turn.command(messages[-1].content))
    return replace(example, id=f"{example.id}@{place}", messages=messages, style=style)


def pair(example: Example, turns: bool = False, scored: bool = False) -> list[Example]:
    """A row for each losing candidate beside the accepted turn; the one that the panel saw comes first.

    Of a guided run: a row for each proposal that did not run beside the turn that did, behind what the agent saw.
    `turns`: one message a side. `scored`: only what the panel saw.
    """
    of_runs = "this format holds one message a side, and this is a pair of whole runs"
    require(not (turns and example.lost), "pair-of-runs", of_runs)
    require(not scored or example.margin is not None, "no-score", "the panel gave no score")
    if example.refused and not example.lost:
        bare = replace(example, refused=(), native=(), recorded=False)
        rows = [replace(_until(bare, place), rejected=text) for place, text in example.refused]
        rows = [row for row in rows if row.rejected.strip() != row.accepted.strip()]
        require(rows, "same-text", "every proposal says what ran")
        return rows[:1] if scored else rows
    require(example.rejected, "no-pair", "there is no second candidate")
    texts = dict.fromkeys((example.rejected, *example.others))
    accepted = example.accepted.strip()
    rows = [replace(example, rejected=text, others=()) for text in texts if text.strip() != accepted]
    require(rows and rows[0].rejected == example.rejected, "same-text", "both candidates say the same")
    return rows[:1] if scored else [rows[0], *(replace(row, score=None, score_expected=None) for row in rows[1:])]


def labeled(example: Example, turns: bool = False) -> list[Example]:
    """A row for the accepted turn, which is wanted, and one for each losing candidate, which is not."""
    rows: list[Example] = []
    for row in pair(example, turns):
        if not rows or row.prompt != rows[-1].prompt:
            bare = replace(row, rejected="", lost=())
            rows.append(replace(bare, label=True))
        said = row.lost or (Message(role="assistant", content=row.rejected),)
        rows.append(replace(bare, label=False, messages=(*row.prompt, *said)))
    return rows


scored_pair, pair_of_turns = partial(pair, scored=True), partial(pair, turns=True)
labeled_turns = partial(labeled, turns=True)
