"""The draw: distinct pull requests out of the drawn files, one rollout each, one turn a rollout; and its chance.

Every choice is a hash of the seed and of what is chosen from: neither the order of the work nor an interruption counts.
"""

import hashlib
from bisect import bisect_right, insort
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, chain, groupby
from math import prod
from pathlib import Path
from threading import Thread

from duel import shell, turn
from duel.bookkeeping import LeftOut
from duel.conversation import shown_output
from duel.errors import DuelError, ItemError, printable, require
from duel.records import Message, Prompt, Source
from duel.settings import Settings
from duel.sources import rollouts
from duel.sources.parquet_tables import LocalTable, ParquetTable, footer
from duel.sources.rollouts import Rollout
from duel.spill import Spill, Spilled

LISTED_ROWS = 1000  # rows that cannot be used are listed one by one up to this many, and counted beyond
# What a better-ranked rollout of the same pull request replaces within so many draws is never written to the file.
NEWEST = 64
FETCHES = 4  # files of the first candidates that are downloaded at a time, while others are read


def chance(*parts: object) -> float:
    """A number in [0, 1) made of `parts` alone: the same on every machine and in whatever order the work is done."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return (int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 11) / 2**53


def shuffled(seed: int, what: str, names: Collection[str]) -> list[str]:
    """`names` in a random order of their own: a name keeps its place among the others when more are added."""
    return sorted(names, key=lambda name: (chance(seed, what, name), name))


def draw_files(names: Collection[str], wanted: int, seed: int, rows: Callable[[str], int]) -> Iterator[str]:
    """Draw `wanted` files without replacement, each draw in proportion to the rows of the files that are left.

    `rows(name)` may cost a download, so it is asked of few files only: candidates come in a random order, and one is
    accepted with probability rows / most rows seen, else it goes back to the end. Where nearly all files are equally
    long, as in the dataset, that looks at little more than `wanted` files and is exactly the draw by rows; the first
    `wanted` candidates are looked at before any is decided on, so that a short one does not pass for a long one.
    Files without rows are never drawn.
    """
    queue = deque(shuffled(seed, "file", names))
    most = max((rows(name) for name in list(queue)[:wanted]), default=0) if len(queue) > wanted else 0
    attempt = 0
    while queue and wanted:
        attempt += 1
        name = queue.popleft()
        count = rows(name)
        most = max(most, count)
        if count and (len(queue) < wanted or chance(seed, "accept", name, attempt) * most < count):
            wanted -= 1
            yield name
        elif count:
            queue.append(name)


def odds(weights: Sequence[float], wanted: int) -> list[float]:
    """The chance of each to be among `wanted`, by weight (positive), 1 at most; they add up to `wanted`."""
    certain: set[int] = set()
    while True:
        total = sum(weight for place, weight in enumerate(weights) if place not in certain)
        share = (wanted - len(certain)) / total if total else 0.0
        sure = {place for place, weight in enumerate(weights) if place not in certain and weight * share >= 1}
        if not sure:
            return [1.0 if place in certain else weight * share for place, weight in enumerate(weights)]
        certain |= sure


def systematic(chances: Sequence[float], at: float) -> list[int]:
    """The places at `at` (in [0, 1)) and every 1 behind it on the sums of `chances`, each by its own (Madow 1949)."""
    sums, places = list(accumulate(chances)), list[int]()
    for step in range(wanted := round(sums[-1])):
        place = max(bisect_right(sums, at + step), places[-1] + 1 if places else 0)  # sums are rounded: none twice
        places.append(min(place, len(sums) - wanted + step))
    return places


def phases(messages: Sequence[Message]) -> dict[int, str]:
    """The phase of each reply, by its place: "before" the first edit, "at" it, "after" it."""
    replies = [place for place, message in enumerate(messages) if message.role == "assistant"]
    edits = (place for place in replies if shell.style(turn.command(messages[place].content)) == "edit")
    first = next(edits, len(messages))
    return {place: "before" if place < first else "at" if place == first else "after" for place in replies}


def kinds(messages: Sequence[Message], changed: Collection[str]) -> dict[int, set[str]]:
    """By place, what `[sample] weights` may name of a reply: its phase, "failed", "first-read".

    `changed` are the paths that the pull request changes; the first turn that reads or searches one of them by name is
    the "first-read".
    """
    found: dict[int, set[str]] = {place: {phase} for place, phase in phases(messages).items()}
    unread = bool(changed)
    for place, names in found.items():
        command = turn.command(messages[place].content)
        behind = messages[place + 1] if place + 1 < len(messages) else None
        if behind is not None and behind.role == "user" and shown_output.shown(behind.content, command).failed:
            names.add("failed")
        script = shell.parse(command)
        if unread and shell.style(script) in {"read", "search"}:
            words = {word.removeprefix("./") for one in script.commands for word in one.words[1:]}
            if any(word == path or word.endswith(f"/{path}") for word in words for path in changed):
                names.add("first-read")
                unread = False
    return found


def without_loops(turns: Sequence[tuple[int, int]], messages: Sequence[Message]) -> list[tuple[int, int]]:
    """The turns whose history does not go in circles: judges gave such turns 0.58 where others had 0.67."""
    commands = [turn.blocks(message.content) if message.role == "assistant" else [] for message in messages]
    return [(number, index) for number, index in turns if not loops([*chain.from_iterable(commands[:index])])]


def loops(commands: Sequence[str]) -> bool:
    same_in_a_row = max((len([*run]) for _, run in groupby(commands)), default=0)
    return same_in_a_row >= 4 or (len(commands) >= 4 and 2 * len({*commands}) <= len(commands))


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
        return [Message.model_construct(role=role, content=content) for role, content in self.spilled.value()]

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
        self.rows += 1
        try:
            if reason := self._consider(rollout):
                self.left[reason] += 1
        except ItemError as error:
            self.left.drop(f"{rollout.file} row {rollout.row}", rollout.instance_id, error.reason, error.what)

    def _consider(self, rollout: Rollout) -> str:
        """Why it is not asked for; "" where it is a candidate. Raises ItemError where nobody can use it."""
        sample, turns = self.settings.sample, list[tuple[int, int]]()
        require(rollout.instance_id, "no-instance-id")
        if rollout.instance_id in self._excluded:
            return "excluded"
        if sample.exit_status and rollout.exit_status != sample.exit_status:
            return "other-exit-status"
        require(not rollout.problem, rollout.problem)
        if not rollout.eligible:
            return "no-eligible-turn"
        if sample.skip_loops and not (turns := without_loops(rollout.turns(), rollout.messages())):
            return "loops"
        if sample.phase:
            known = phases(rollout.messages())
            turns = [(number, index) for number, index in turns or rollout.turns() if known[index] == sample.phase]
            if not turns:
                return "other-phase"
        best = self.best.get(rollout.instance_id, [])
        rank = chance(sample.seed, "rollout", rollout.file, rollout.row)
        if len(best) < sample.per_instance or rank < best[-1][0].rank:
            drawn = self._drawn(rollout, turns or rollout.turns())
            said = rollout.said()
            of = rollout.file, rollout.row, rollout.instance_id, rollout.repo, rollout.exit_status
            kept = [DrawnTurn(rank, *of, n, self.spill.put(said[: at + 1]), share) for n, at, share in drawn]
            insort(best, kept, key=lambda kept: kept[0].rank)
            self.best[rollout.instance_id] = best[: sample.per_instance]
        self.eligible[rollout.instance_id] += 1
        return ""

    def _drawn(self, rollout: Rollout, turns: Sequence[tuple[int, int]]) -> list[tuple[int, int, float]]:
        """`per_rollout` turns without replacement, in their order, each with its chance to be drawn."""
        sample = self.settings.sample
        wanted, of = min(sample.per_rollout, len(turns)), (rollout.file, rollout.row)
        if sample.weights:
            named = kinds(rollout.messages(), self.changed.get(rollout.instance_id, ()))
            weights = [prod(w for kind, w in sample.weights.items() if kind in named[index]) for _, index in turns]
            chances = odds(weights, wanted)
            places = systematic(chances, chance(sample.seed, "weighted turn", *of))
            return [(*turns[place], chances[place]) for place in places]
        left = list(turns)
        for number in range(wanted):
            left.pop(int(chance(sample.seed, "turn", *of, *([number] if number else [])) * len(left)))
        return [(*one, wanted / len(turns)) for one in turns if one not in left]

    def candidates(self) -> Iterator[DrawnTurn]:
        for instance_id in shuffled(self.settings.sample.seed, "pull request", self.best):
            yield from chain.from_iterable(self.best[instance_id])


def fill(
    settings: Settings,
    table: ParquetTable,
    say: Callable[[str], None],
    changed: Mapping[str, Collection[str]] | None = None,
    spilled_to: Path | None = None,
    pulls: ParquetTable | None = None,
) -> Pool:
    """Draw the files and pool their rows, each file read once; those of `pulls` are downloaded meanwhile."""
    sample = settings.sample
    pool = Pool(settings, table, changed or {}, Spill(spilled_to, level=1, newest=NEWEST))

    def fetch_pulls() -> None:
        if pulls:
            with suppress(DuelError):  # who reads them says it
                for name in pulls.sizes:
                    pulls.fetch(name)

    fetching = ThreadPoolExecutor(FETCHES)
    first = shuffled(sample.seed, "file", table.sizes)[: sample.files]
    coming = {name: fetching.submit(table.fetch, name) for name in first if table.missing(name)}
    beside = Thread(target=fetch_pulls, daemon=True)  # an interrupted run does not wait for the end of a large file
    beside.start()

    @cache
    def rows(name: str) -> int:
        return rollouts.check(coming[name].result() if name in coming else table.fetch(name), name).rows

    drawn: list[str] = []
    try:
        for name in draw_files(table.sizes, sample.files, sample.seed, rows):
            drawn.append(name)
            for rollout in rollouts.read(table.fetch(name), name, sample):
                pool.add(rollout)
            say(f"read {printable(name, 120)}: {rows(name):,} rows, {len(pool.best):,} pull requests so far")
    finally:
        fetching.shutdown(cancel_futures=True)
    beside.join()
    if drawn:
        total = sum(map(rows, drawn)) / len(drawn) * len(table.sizes)
        if isinstance(table, LocalTable):  # to count them needs no download
            total = sum(footer(path, name).rows for name, path in table.paths.items())
        all_read = len(table.sizes) <= sample.files
        pool.file_odds = {name: 1.0 if all_read else min(1.0, sample.files * rows(name) / total) for name in drawn}
    return pool


def prompts(turns: Sequence[DrawnTurn], pool: Pool, looked_at: int) -> Iterator[Prompt]:
    """A prompt a turn; `looked_at` pooled pull requests were looked at before there were enough.

    Its probability is P(file) x P(pull request | pool) x P(rollout | pull request) x P(turn | rollout). P(file), files
    x rows / rows of all, is exact for equally long files; on the Hub all rows are estimated from the drawn files. A
    `per_repo` cap, refused pull requests and the second file of a straddling one are not in it.
    """
    for drawn in turns:
        rollout = min(1.0, pool.settings.sample.per_instance / max(1, pool.eligible[drawn.instance_id]))
        probability = pool.file_odds[drawn.file] * looked_at / len(pool.best) * rollout * drawn.share
        *history, last = drawn.said()
        told = {"turn": drawn.turn, "messages": history, "assistant": last.content}
        place = {"dataset": pool.table.name, "revision": pool.table.revision, "file": drawn.file, "row": drawn.row}
        source = Source(**place, exit_status=drawn.exit_status, probability=float(f"{probability:.6g}"))
        yield Prompt(instance_id=drawn.instance_id, repo=drawn.repo, source=source, **told)
