"""The draw: distinct pull requests out of the drawn files, one rollout each, one turn a rollout.

Stage one draws files in proportion to their rows (`duel.sources.draw`). Stage two pools the pull requests of these
files, each with the same chance however many rollouts it has; of a pull request `per_instance` eligible rollouts are
drawn uniformly, of a rollout one eligible turn, by `weights` where there are any. A pull request that straddles two
files is pooled once. Every choice is a hash of the seed and of what is chosen from, so neither the order of the work
nor an interruption changes it.

The inclusion probability of a turn is the product: P(file) x P(pull request | pool) x P(rollout | pull request) x
P(turn | rollout). P(file) is files x rows / rows of all files, exact for equally long files; on the Hub the rows of all
files are estimated from the drawn ones. A `per_repo` cap, refused pull requests and the second file of a straddling one
are not in it.
"""

import bisect
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from math import prod
from pathlib import Path
from threading import Thread

from duel.bookkeeping import LeftOut
from duel.errors import DuelError, ItemError, printable
from duel.records import Message, Prompt, Source
from duel.settings import Settings
from duel.sources import draw, rollouts
from duel.sources.draw import chance
from duel.sources.parquet_tables import ParquetTable
from duel.sources.rollouts import Rollout
from duel.spill import Spill, Spilled

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
    spilled: Spilled
    share: float  # the chance that this turn of the rollout is drawn

    def said(self) -> list[Message]:
        return [Message.model_construct(**message) for message in self.spilled.value()]

    @property
    def place(self) -> str:
        return f"{self.file} row {self.row}"


@dataclass
class Pool:
    """Candidates: of each pull request the best-ranked eligible rollouts, with one turn drawn from each."""

    settings: Settings
    table: ParquetTable
    changed: Mapping[str, Collection[str]] = field(default_factory=dict)  # by pull request, where `weights` ask for it
    spill: Spill = field(default_factory=Spill)
    rows: int = 0
    left: LeftOut = field(default_factory=lambda: LeftOut(LISTED_ROWS))
    """Rows that are left out; listed are those that nobody can use."""
    best: dict[str, list[list[DrawnTurn]]] = field(default_factory=dict)  # a list of turns a rollout
    eligible: Counter[str] = field(default_factory=Counter)  # eligible rollouts by pull request
    file_odds: dict[str, float] = field(default_factory=dict)  # P(file) of each drawn file

    def __post_init__(self) -> None:
        self._excluded = frozenset(self.settings.generate.exclude_ids)

    def add(self, rollout: Rollout) -> None:
        """Keep the rollout if it ranks among the best of its pull request; only then is its text decoded."""
        sample, instance_id = self.settings.sample, rollout.instance_id
        self.rows += 1
        problem, detail, reason = rollout.problem, "", ""
        if not instance_id:
            problem = "no-instance-id"
        elif instance_id in self._excluded:
            reason = "excluded"
        elif sample.exit_status and rollout.exit_status != sample.exit_status:
            reason = "other-exit-status"
        elif not problem and not rollout.eligible:
            reason = "no-eligible-turn"
        elif not problem:
            try:
                reason = self._consider(rollout)
            except ItemError as error:
                problem, detail = error.reason, error.what
        if reason:
            self.left[reason] += 1
        elif problem:
            self.left.drop(f"{rollout.file} row {rollout.row}", instance_id, problem, detail)

    def _consider(self, rollout: Rollout) -> str:
        """Why its turns are not of those that are asked for; "" where it is a candidate."""
        sample, turns = self.settings.sample, list[tuple[int, int]]()
        if sample.skip_loops and not (turns := draw.without_loops(rollout.turns(), rollout.messages())):
            return "loops"
        if sample.phase:
            known = draw.phases(rollout.messages())
            turns = [(number, index) for number, index in turns or rollout.turns() if known[index] == sample.phase]
            if not turns:
                return "other-phase"
        best = self.best.get(rollout.instance_id, [])
        rank = chance(sample.seed, "rollout", rollout.file, rollout.row)
        if len(best) < sample.per_instance or rank < best[-1][0].rank:
            drawn = self._drawn(rollout, turns or rollout.turns())
            said = [{"role": role, "content": content} for role, content in rollout.said()]
            of = rollout.file, rollout.row, rollout.instance_id, rollout.repo, rollout.exit_status
            kept = [DrawnTurn(rank, *of, n, self.spill.put(said[: at + 1]), share) for n, at, share in drawn]
            bisect.insort(best, kept, key=lambda kept: kept[0].rank)
            self.best[rollout.instance_id] = best[: sample.per_instance]
        self.eligible[rollout.instance_id] += 1
        return ""

    def _drawn(self, rollout: Rollout, turns: Sequence[tuple[int, int]]) -> list[tuple[int, int, float]]:
        """`per_rollout` turns without replacement, in their order, each with its chance to be drawn."""
        sample = self.settings.sample
        wanted, of = min(sample.per_rollout, len(turns)), (rollout.file, rollout.row)
        if sample.weights:
            named = draw.kinds(rollout.messages(), self.changed.get(rollout.instance_id, ()))
            weights = [prod(w for kind, w in sample.weights.items() if kind in named[index]) for _, index in turns]
            chances = draw.odds(weights, wanted)
            places = draw.systematic(chances, chance(sample.seed, "weighted turn", *of))
            return [(*turns[place], chances[place]) for place in places]
        left = list(turns)
        for number in range(wanted):
            left.pop(int(chance(sample.seed, "turn", *of, *([number] if number else [])) * len(left)))
        return [(*turn, wanted / len(turns)) for turn in turns if turn not in left]

    def candidates(self) -> Iterator[DrawnTurn]:
        for instance_id in draw.shuffled(self.settings.sample.seed, "pull request", self.best):
            yield from chain.from_iterable(self.best[instance_id])


def fill(
    settings: Settings,
    table: ParquetTable,
    say: Callable[[str], None],
    changed: Mapping[str, Collection[str]] | None = None,
    spilled_to: Path | None = None,
    pulls: ParquetTable | None = None,
) -> Pool:
    """Draw the files and pool their rows, each file read once.

    Meanwhile the files of `pulls` are downloaded, which come next.
    """
    sample = settings.sample
    pool = Pool(settings, table, changed or {}, Spill(spilled_to, level=1, newest=NEWEST))

    def fetch_pulls() -> None:
        if pulls:
            with suppress(DuelError):  # who reads them says it
                for name in pulls.sizes:
                    pulls.fetch(name)

    fetching = ThreadPoolExecutor(FETCHES)
    first = draw.shuffled(sample.seed, "file", table.sizes)[: sample.files]
    coming = {name: fetching.submit(table.fetch, name) for name in first if table.missing(name)}
    beside = Thread(target=fetch_pulls, daemon=True)  # an interrupted run does not wait for the end of a large file
    beside.start()

    @cache
    def rows(name: str) -> int:
        path = coming[name].result() if name in coming else table.fetch(name)
        return rollouts.check(path, name).rows

    def read_file(name: str) -> None:
        for rollout in rollouts.read(table.fetch(name), name, sample):
            pool.add(rollout)
        say(f"read {printable(name, 120)}: {rows(name):,} rows, {len(pool.best):,} pull requests so far")

    try:
        drawn = draw.draw_files(table.sizes, sample.files, sample.seed, rows, read_file)
    finally:
        fetching.shutdown(cancel_futures=True)
    beside.join()
    if drawn:
        total = table.known_rows() or sum(map(rows, drawn)) / len(drawn) * len(table.sizes)
        all_read = len(table.sizes) <= sample.files
        pool.file_odds = {name: 1.0 if all_read else min(1.0, sample.files * rows(name) / total) for name in drawn}
    return pool


def prompts(turns: Sequence[DrawnTurn], pool: Pool, looked_at: int) -> Iterator[Prompt]:
    """A prompt a turn; `looked_at` pooled pull requests were looked at before there were enough."""
    for turn in turns:
        rollout = min(1.0, pool.settings.sample.per_instance / max(1, pool.eligible[turn.instance_id]))
        probability = pool.file_odds[turn.file] * looked_at / len(pool.best) * rollout * turn.share
        *history, last = turn.said()
        yield Prompt(
            instance_id=turn.instance_id,
            repo=turn.repo,
            messages=history,
            assistant=last.content,
            turn=turn.turn,
            source=Source(
                dataset=pool.table.name,
                revision=pool.table.revision,
                file=turn.file,
                row=turn.row,
                exit_status=turn.exit_status,
                probability=float(f"{probability:.6g}"),
            ),
        )
