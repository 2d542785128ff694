"""What the report counts for itself, over all judged turns one at a time, and the summary of a run as plain data.

The summary is what `report.py --json` prints and what the page shows at its head; the verdict's own figures in it come
from `_duel.json`. Null means that there is no data.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from duel.calls import prices
from duel.calls.ledger import Ledger
from duel.records import Verdict
from duel.records.record import json_object
from duel.registry import OFFLINE
from duel.reporting import wording
from duel.reporting.listed_turns import FIRST, GUIDED, REFINED, SOURCES, ListedTurn
from duel.settings import Settings
from duel.workspace import BUCKETS, Workspace

# Three judges in two orders over five dimensions give scores in steps of 1.67 points: three steps to a bin of 5, so
# that no bin is higher than its neighbor only because more scores can fall into it.
SCORE_BIN = 5
SCORE_BINS = 100 // SCORE_BIN
LENGTH_BINS = 10
MEASURES = ("calls", "dollars", "minutes")  # of what a kept turn costs
GROUPINGS = ("style", "repo", "position", "license")
SEEN = ("shown", "same")
# Stages that leave turns out, in the order of a run; what others name (no evidence, a refused rewrite) goes on.
ORDER = ("prompt", "king", "challenger", "audit", "validate", "report")
# Stages of the ledger whose calls belong to one source, as do those of `refine-…`: a judge's, say.
BY_STAGE = {"refine": REFINED, "guide": GUIDED}
_SPENT = (
    "SELECT stage, item, COUNT(*), SUM(cost), SUM(cost IS NULL), SUM(latency_s) / 60 FROM replies GROUP BY stage, item"
)


@dataclass
class Group:
    """Turns that share an action style, a repository, a turn position or a license."""

    scores: list[float] = field(default_factory=list)
    buckets: Counter[str] = field(default_factory=Counter)


@dataclass
class Executed:
    """The judged turns by what is known of their commands, and how far judges agree with and without it."""

    kinds: Counter[str] = field(default_factory=Counter)
    counted: dict[str, Counter[str]] = field(default_factory=lambda: {"with": Counter(), "without": Counter()})
    """Evidence -> turns, pairs of judges that agreed of all, judges that flipped of all."""

    def add(self, evidence: str, agreement: dict[str, int]) -> None:
        self.kinds[evidence] += 1
        self.counted["with" if evidence in SEEN else "without"].update(agreement)

    def summary(self, run: dict[str, Any]) -> dict[str, Any]:
        """As plain data; `run` is report/execute.json."""
        kinds, counted = self.kinds, self.counted.items()
        return {
            "evidence": sum(kinds[kind] for kind in SEEN),
            "same": kinds["same"],
            "without": {kind: count for kind, count in sorted(kinds.items()) if kind and kind not in SEEN},
            **{name: str(run.get(name, "")) for name in ("executor", "why_not")},
            "agreement": {kind: ratio(told["agreed"], told["pairs"]) for kind, told in counted},
            "flip_rate": {kind: ratio(told["flipped"], told["asked"]) for kind, told in counted},
            "turns": {kind: told["turns"] for kind, told in counted},
        }


@dataclass
class SourceCounts:
    """What one source of kept turns tried, kept and took. `dollars` is None where a price is unknown."""

    turns: int = 0
    kept: int = 0
    calls: int = 0
    dollars: float | None = 0.0
    minutes: float = 0.0

    def each(self, what: str) -> float | None:
        """Calls, dollars or minutes by kept turn; None where it is not known, or nothing was kept."""
        total: float | None = getattr(self, what)
        return None if total is None else ratio(total, self.kept)

    def told(self, what: str) -> str:
        if not self.kept:
            return "none kept"
        return wording.dollars(self.each(what)) if what == "dollars" else wording.plain(self.each(what), 1)


@dataclass
class Tally:
    buckets: Counter[str] = field(default_factory=Counter)  # "" holds the turns that go nowhere
    leaking: Counter[bool | None] = field(default_factory=Counter)  # None: not checked
    flipped: int = 0
    groups: dict[str, dict[str, Group]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Group)))
    clusters: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # instance id -> its deltas
    histogram: list[Counter[str]] = field(default_factory=lambda: [Counter() for _ in range(SCORE_BINS)])
    """A bin of `SCORE_BIN` points each: bucket -> turns."""
    score_by_length: Counter[tuple[int, int]] = field(default_factory=Counter)
    """(bin of the length difference, bin of the score) -> turns."""
    length_scores: list[list[float]] = field(default_factory=lambda: [[] for _ in range(LENGTH_BINS)])
    writer_tokens: defaultdict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """(side, model) -> prompt and completion tokens, and the replies they were for."""
    executed: Executed = field(default_factory=Executed)
    sources: dict[str, str] = field(default_factory=dict)  # file -> how its first challenger came about
    kept: Counter[str] = field(default_factory=Counter)  # source -> turns in `final/`

    def add(self, turn: ListedTurn) -> None:
        bucket = turn.bucket or ""
        self.buckets[bucket] += 1
        self.leaking[turn.leaking] += 1
        self.flipped += turn.flips > 0
        for name in GROUPINGS:
            group = self.groups[name][str(getattr(turn, name) or "")]
            group.buckets[bucket] += 1
            if turn.score is not None:
                group.scores.append(turn.score)
        for side, (model, tokens) in turn.written.items():
            self.writer_tokens[side, model or "unknown"].update(tokens, replies=1)
        self.executed.add(turn.evidence, turn.agreement)
        self.sources[turn.file] = turn.source
        if turn.bucket == "final":
            self.kept[REFINED if turn.rewritten else turn.source] += 1
        if turn.score is not None:
            self.clusters[turn.instance_id].append(turn.score / 100 - 0.5)
            score_bin = _bin(turn.score / 100, SCORE_BINS)
            self.histogram[score_bin][turn.bucket or "none"] += 1
            if turn.length_difference is not None:
                length_bin = _bin((turn.length_difference + 1) / 2, LENGTH_BINS)
                self.score_by_length[length_bin, score_bin] += 1
                self.length_scores[length_bin].append(turn.score)

    def yields(self, workspace: Workspace) -> dict[str, SourceCounts]:
        """Each source with what the ledger says it took; {} for a workspace without a ledger.

        A call for a turn that was never judged belongs to the commonest source: it was made to get that.
        """
        if not workspace.ledger.exists():
            return {}
        turns = Counter(self.sources.values())
        found = {name: SourceCounts(turns[name], self.kept[name]) for name in SOURCES}
        commonest = max(turns, key=lambda name: turns[name], default=FIRST)
        with Ledger(workspace.ledger) as ledger:
            for stage, item, calls, dollars, unpriced, minutes in ledger.query(_SPENT):
                one = found[BY_STAGE.get(stage.partition("-")[0]) or self.sources.get(item) or commonest]
                one.turns += stage in BY_STAGE
                one.calls, one.minutes = one.calls + calls, one.minutes + minutes
                one.dollars = None if unpriced or one.dollars is None else one.dollars + dollars
        return {name: one for name, one in found.items() if one.turns or one.calls}

    def summary(
        self, verdict: Verdict, workspace: Workspace, settings: Settings, rounds: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """All figures above the table of turns. `rounds`: a row for each round of refining.

        What the other stages left in report/ is read there.
        """
        final_min, defeat_min = settings.report.final_min, settings.report.defeat_min
        held, promoted = self.buckets, any(row["promoted"] for row in rounds)
        turns = held.total()
        audited = turns - self.leaking[None]
        leaking = self.leaking[True] if audited else None
        rules = {
            "final": f"score ≥ {final_min:g}" + ", or promoted by refining" * promoted,
            "refined": f"{defeat_min:g} ≤ score < {final_min:g}",
            "defeat": f"score < {defeat_min:g}",
            "": "in no bucket",
        }
        taking_part = [model for side in verdict.writers.values() for model in side]
        taking_part += [judge.judge for judge in verdict.judges]
        return {
            "format": "duel-report/1",
            # Whatever the verdict's own flag says.
            "offline": verdict.offline or any(model.startswith(OFFLINE) for model in taking_part),
            "mode": verdict.mode,
            "opponent": verdict.opponent_name,
            "verdict": verdict.model_dump(mode="json", exclude={"format"}),
            "buckets": [
                {"bucket": name or "none", "rule": rule, "turns": held[name], "share": ratio(held[name], turns)}
                for name, rule in rules.items()
            ],
            "left_out": left_out(workspace.dropped()),
            "turns": {"judged": turns, "audited": audited, "leaking": leaking, "flipped": self.flipped},
            "groups": {name: _largest_first(self.groups[name]) for name in GROUPINGS},
            "judge_metrics": {judge.judge: judge.by_metric for judge in verdict.judges},
            "execution": self.executed.summary(json_object(workspace.report / "execute.json")),
            "refining": rounds,
            "costs": self._costs(verdict, settings),
            "sampling": json_object(workspace.report / "sampling.json"),
            "auditor": json_object(workspace.report / "audit.json").get("auditor") or {},
            "thresholds": {"final_min": final_min, "defeat_min": defeat_min},
        }

    def _costs(self, verdict: Verdict, settings: Settings) -> list[dict[str, Any]]:
        """Calls, tokens and dollars: each writer's accepted replies, then each judge's calls."""
        rows: list[tuple[Any, ...]] = []
        kings_first = sorted(self.writer_tokens.items(), key=lambda item: (item[0][0] != "king", item[0]))
        for (side, model), tokens in kings_first:
            price = prices.price_of(model, settings, offline=model.startswith(OFFLINE))
            prompt, completion = tokens["prompt_tokens"], tokens["completion_tokens"]
            rows.append((side, model, tokens["replies"], prompt, completion, prices.cost(price, tokens)))
        rows += [("judge", j.judge, j.calls, j.input_tokens, j.output_tokens, j.cost) for j in verdict.judges]
        names = ("role", "model", "calls", "input_tokens", "output_tokens", "cost")
        return [dict(zip(names, row, strict=True)) for row in rows]


def _largest_first(groups: Mapping[str, Group]) -> list[dict[str, Any]]:
    rows = [
        {"name": name, "turns": one.buckets.total(), "parsed": len(one.scores), "score": mean(one.scores)}
        | {bucket: one.buckets[bucket] for bucket in BUCKETS}
        for name, one in groups.items()
    ]
    return sorted(rows, key=lambda row: (-row["turns"], row["name"]))


def left_out(dropped: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many items each stage left out, by reason; the most frequent first. A turn counts where it is named first."""
    counted: Counter[tuple[str, str]] = Counter()
    named_by: dict[str, str] = {}
    for row in sorted(dropped, key=lambda row: [*ORDER, row.get("stage")].index(row.get("stage"))):
        stage, reason, file = (str(row.get(name, "")) for name in ("stage", "reason", "file"))
        goes_on = not file or stage not in ORDER or reason.startswith("one-")
        if goes_on or named_by.setdefault(file, stage) == stage:
            counted[stage, reason] += 1
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [{"stage": stage, "reason": reason, "items": number} for (stage, reason), number in ordered]


def last_reply(workspace: Workspace) -> int:
    """The number of the last reply that was paid for: what the counts rest on."""
    if not workspace.ledger.exists():
        return 0
    with Ledger(workspace.ledger) as ledger:
        return int(ledger.query("SELECT COALESCE(MAX(id), 0) FROM replies")[0][0])


def ratio(part: float, of: int) -> float | None:
    return part / of if of else None


def mean(values: Sequence[float]) -> float | None:
    return ratio(sum(values), len(values))


def _bin(share: float, bins: int) -> int:
    """The bin of a share of 0 to 1; 1 itself is in the last one."""
    return min(max(int(share * bins + 1e-9), 0), bins - 1)
