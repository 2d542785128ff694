"""The draw: distinct pull requests out of the drawn files, one rollout each, one turn a rollout.

Stage one draws files in proportion to their rows (`duel.sources.draw`). Stage two pools the pull requests of these
files, each with the same chance however many rollouts it has; of a pull request `per_instance` eligible rollouts are
drawn uniformly, of a rollout one eligible turn, by `weights` where there are any (`duel.sources.telling_turns`). A pull
request that straddles two files is pooled once. Every choice is a hash of the seed and of what is chosen from, so
neither the order of the work nor an interruption changes it.

The inclusion probability of a turn is the product: P(file) x P(pull request | pool) x P(rollout | pull request) x
P(turn | rollout). P(file) is files x rows / rows of all files, exact for equally long files; on the Hub the rows of all
files are estimated from the drawn ones. A `per_repo` cap, refused pull requests and the second file of a straddling one
are not in it.
"""

import bisect
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, groupby
from math import prod
from pathlib import Path

from duel.errors import ItemError, printable
from duel.records import Message, Prompt, Source
from duel.sections import SampleSection
from duel.settings import Settings
from duel.sources.draw import chance, draw_files, shuffled
from duel.sources.parquet_tables import ParquetTable
from duel.sources.rollouts import Rollout, check, eligible_turns, read, shape_problem
from duel.sources.telling_turns import kinds, odds, phases, systematic
from duel.spill import Spill, Spilled
from duel.turn import blocks

# Rows that cannot be used are listed one by one up to this many, and counted beyond.
LISTED_ROWS = 1000
# What a better-ranked rollout of the same pull request replaces within so many draws is never written to the file.
NEWEST = 64
# Files of the first candidates that are downloaded at a time, while others are read.
FETCHES = 4


@dataclass(frozen=True)
class DrawnTurn:
    """One drawn turn. Its text, the history and behind it the turn itself, is read again each time it is asked for."""

    rank: float
    file: str
    row: int
    instance_id: str
    repo: str
    exit_status: str
    turn: int
    said: Spilled
    share: float  # the chance that this turn of the rollout is drawn

    @property
    def messages(self) -> list[Message]:
        return [Message.model_construct(**message) for message in self.said.value()[:-1]]

    @property
    def assistant(self) -> str:
        return str(self.said.value()[-1]["content"])

    @property
    def task(self) -> str:
        return next((message.content for message in self.messages if message.role == "user"), "")

    @property
    def place(self) -> str:
        return f"{self.file} row {self.row}"


@dataclass
class Pool:
    """Candidates: of each pull request the best-ranked eligible rollouts, with one turn drawn from each."""

    settings: Settings
    changed: Mapping[str, Collection[str]] = field(default_factory=dict)  # by pull request, where `weights` ask for it
    spill: Spill = field(default_factory=Spill)
    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # rows that were left out, by reason
    unusable: list[dict[str, str]] = field(default_factory=list)
    """The first of the rows that cannot be used by anyone, as `Workspace.save_dropped` takes them."""
    best: dict[str, list[list[DrawnTurn]]] = field(default_factory=dict)  # a list of turns a rollout
    eligible: Counter[str] = field(default_factory=Counter)  # eligible rollouts by pull request

    def __post_init__(self) -> None:
        self._excluded = frozenset(self.settings.generate.exclude_ids)

    def add(self, rollout: Rollout) -> None:
        sample = self.settings.sample
        self.rows += 1
        if not rollout.instance_id:
            return self._refuse(rollout, "no-instance-id")
        if rollout.instance_id in self._excluded:
            self.reasons["excluded"] += 1
            return None
        if sample.exit_status and rollout.exit_status != sample.exit_status:
            self.reasons["other-exit-status"] += 1
            return None
        if problem := shape_problem(rollout.shape):
            return self._refuse(rollout, problem)
        turns = eligible_turns(rollout.shape, sample)
        if not turns:
            self.reasons["no-eligible-turn"] += 1
            return None
        try:
            if sample.skip_loops and not (turns := without_loops(turns, rollout.messages())):
                self.reasons["loops"] += 1
                return None
            if sample.phase and not (turns := of_phase(sample.phase, turns, rollout.messages())):
                self.reasons["other-phase"] += 1
                return None
            self._consider(rollout, turns)
        except ItemError as error:
            self._refuse(rollout, error.reason, error.what)
        return None

    def _consider(self, rollout: Rollout, turns: list[tuple[int, int]]) -> None:
        """Keep the rollout if it ranks among the best of its pull request; only then is its text decoded."""
        sample = self.settings.sample
        best = self.best.get(rollout.instance_id, [])
        rank = chance(sample.seed, "rollout", rollout.file, rollout.row)
        if len(best) < sample.per_instance or rank < best[-1][0].rank:
            bisect.insort(
                best,
                _cut(rollout, rank, self._drawn(rollout, turns), self.spill),
                key=lambda kept: kept[0].rank,
            )
            self.best[rollout.instance_id] = best[: sample.per_instance]
        self.eligible[rollout.instance_id] += 1

    def _drawn(self, rollout: Rollout, turns: Sequence[tuple[int, int]]) -> list[tuple[int, int, float]]:
        """The turns that are drawn, each with its chance to be."""
        sample = self.settings.sample
        if sample.weights:
            return weighted_turns(rollout, turns, sample, self.changed.get(rollout.instance_id, ()))
        share = min(sample.per_rollout, len(turns)) / len(turns)
        return [(*picked, share) for picked in drawn_turns(rollout, turns, sample)]

    def candidates(self) -> Iterator[DrawnTurn]:
        for instance_id in shuffled(self.settings.sample.seed, "pull request", list(self.best)):
            yield from chain.from_iterable(self.best[instance_id])

    def _refuse(self, rollout: Rollout, reason: str, detail: str = "") -> None:
        self.reasons[reason] += 1
        if len(self.unusable) < LISTED_ROWS:
            place = f"{rollout.file} row {rollout.row}"
            self.unusable.append(
                {"file": place, "instance_id": rollout.instance_id, "reason": reason, "detail": detail}
            )


def fill(
    settings: Settings,
    table: ParquetTable,
    say: Callable[[str], None],
    changed: Mapping[str, Collection[str]] | None = None,
    spilled_to: Path | None = None,
) -> tuple[Pool, dict[str, float]]:
    """Draw the files and pool their rows, each file read once. Returns the pool and P(file) of each drawn file."""
    sample = settings.sample
    pool = Pool(settings, changed or {}, Spill(spilled_to, level=1, newest=NEWEST))

    fetching = ThreadPoolExecutor(FETCHES)
    first = shuffled(sample.seed, "file", table.names)[: sample.files]
    coming = {name: fetching.submit(table.fetch, name) for name in first if table.missing(name)}

    @cache
    def rows(name: str) -> int:
        path = coming[name].result() if name in coming else table.fetch(name)
        return check(path, name).rows

    def read_file(name: str) -> None:
        for rollout in read(table.fetch(name), name):
            pool.add(rollout)
        say(f"read {printable(name, 120)}: {rows(name):,} rows, {len(pool.best):,} pull requests so far")

    try:
        drawn = draw_files(table.names, sample.files, sample.seed, rows, read_file)
    finally:
        fetching.shutdown(cancel_futures=True)
    return pool, file_odds(table, {name: rows(name) for name in drawn}, sample.files)


def file_odds(table: ParquetTable, rows: Mapping[str, int], wanted: int) -> dict[str, float]:
    if len(table.names) <= wanted or not rows:
        return dict.fromkeys(rows, 1.0)
    total = table.known_rows() or sum(rows.values()) / len(rows) * len(table.names)
    return {name: min(1.0, wanted * count / total) for name, count in rows.items()}


def probability(turn: DrawnTurn, pool: Pool, files: Mapping[str, float], looked_at: int) -> float:
    """P(file) x P(pull request | pool) x P(rollout | pull request) x P(turn | rollout), to six digits.

    `looked_at` is the number of pooled pull requests that were looked at before there were enough.
    """
    sample = pool.settings.sample
    rollout = min(1.0, sample.per_instance / max(1, pool.eligible[turn.instance_id]))
    return float(f"{files[turn.file] * looked_at / len(pool.best) * rollout * turn.share:.6g}")


def prompts(
    turns: Sequence[DrawnTurn], table: ParquetTable, pool: Pool, files: Mapping[str, float], looked_at: int
) -> Iterator[Prompt]:
    for turn in turns:
        yield Prompt(
            instance_id=turn.instance_id,
            repo=turn.repo,
            messages=turn.messages,
            assistant=turn.assistant,
            turn=turn.turn,
            source=Source(
                dataset=table.name,
                revision=table.revision,
                file=turn.file,
                row=turn.row,
                exit_status=turn.exit_status,
                probability=probability(turn, pool, files, looked_at),
            ),
        )


def drawn_turns(rollout: Rollout, turns: Sequence[tuple[int, int]], sample: SampleSection) -> list[tuple[int, int]]:
    """`per_rollout` of the eligible turns, drawn without replacement, in their order."""
    left = list(turns)
    for draw in range(min(sample.per_rollout, len(turns))):
        left.pop(int(chance(sample.seed, "turn", rollout.file, rollout.row, *([draw] if draw else [])) * len(left)))
    return [turn for turn in turns if turn not in left]


def weighted_turns(
    rollout: Rollout, turns: Sequence[tuple[int, int]], sample: SampleSection, changed: Collection[str]
) -> list[tuple[int, int, float]]:
    """`per_rollout` of the eligible turns by the product of the weights of what they are, with their chances."""
    named = kinds(rollout.messages(), changed)
    weights = [prod(w for kind, w in sample.weights.items() if kind in named[index]) for _, index in turns]
    chances = odds(weights, min(sample.per_rollout, len(turns)))
    drawn = systematic(chances, chance(sample.seed, "weighted turn", rollout.file, rollout.row))
    return [(*turns[place], chances[place]) for place in drawn]


def of_phase(phase: str, turns: Sequence[tuple[int, int]], messages: Sequence[Message]) -> list[tuple[int, int]]:
    known = phases(messages)
    return [(number, index) for number, index in turns if known[index] == phase]


def without_loops(turns: Sequence[tuple[int, int]], messages: Sequence[Message]) -> list[tuple[int, int]]:
    """The turns whose history does not go in circles: judges gave such turns 0.58 where others had 0.67."""
    commands = [blocks(message.content) if message.role == "assistant" else [] for message in messages]
    return [(number, index) for number, index in turns if not loops([*chain.from_iterable(commands[:index])])]


def loops(commands: Sequence[str]) -> bool:
    """True where half of at least four commands repeat an earlier one, or four in a row are the same."""
    same_in_a_row = max((len([*run]) for _, run in groupby(commands)), default=0)
    return same_in_a_row >= 4 or (len(commands) >= 4 and 2 * len({*commands}) <= len(commands))


def _cut(rollout: Rollout, rank: float, picked: Sequence[tuple[int, int, float]], spill: Spill) -> list[DrawnTurn]:
    """The rollout up to each picked turn. Raises ItemError where its text cannot be decoded."""
    said = [{"role": role, "content": content} for role, content in rollout.said()]
    of = (rollout.instance_id, rollout.repo, rollout.exit_status)
    return [
        DrawnTurn(rank, rollout.file, rollout.row, *of, number, spill.put(said[: index + 1]), share)
        for number, index, share in picked
    ]
