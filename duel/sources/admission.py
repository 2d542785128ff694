"""Which candidates become prompts: the checks of each, a next one where one is left out; and the account of it."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from duel import wordlists
from duel.audit import licenses
from duel.audit.contamination import Benchmarks
from duel.bookkeeping import LeftOut
from duel.command import say
from duel.errors import SourceError, printable
from duel.settings import Settings
from duel.sources.parquet_tables import ParquetTable
from duel.sources.pulls import Head, Pulls
from duel.sources.sampling import DrawnTurn, Pool

# Candidates whose pull requests are looked up at once: a fifth more than are still wanted, so that one look usually
# does, and not more than this, since their issue texts are in memory meanwhile (3 KB each).
LOOK_UP_AT_MOST = 5000
NARROWED_BY = set(
    "min_turn max_turn per_instance per_repo exit_status max_history_tokens per_rollout skip_loops".split()
)
_BASE_COMMIT = re.compile(r"^\s*[-*]\s*Base commit:\s*`?([0-9a-fA-F]{7,64})`?\s*$", re.MULTILINE)


@dataclass
class Admission:
    pool: Pool
    turns: list[DrawnTurn] = field(default_factory=list)
    left: LeftOut = field(default_factory=LeftOut)  # candidates that a check refused
    looked_at: set[str] = field(default_factory=set)  # pull requests that were looked at

    @property
    def ids(self) -> set[str]:
        return {turn.instance_id for turn in self.turns}

    def keep(self, ids: set[str], damaged: Mapping[str, str]) -> None:
        """Leave out the turns whose pull request was found, but then could not be read."""
        lost = damaged.keys() - ids
        for turn in self.turns:
            if turn.instance_id in lost:
                self.left.drop(turn.place, turn.instance_id, "damaged-pull-request", damaged[turn.instance_id])
        self.turns = [turn for turn in self.turns if turn.instance_id not in lost]

    def page(self, pulls: ParquetTable | None, benchmarks: Benchmarks, huge: Mapping[str, int]) -> dict[str, Any]:
        pool, sample, table = self.pool, self.pool.settings.sample, self.pool.table
        named = {"dataset": table.name, "revision": table.revision, "files_in_all": len(table.sizes)}
        files = [{"file": name, "probability": odds} for name, odds in sorted(pool.file_odds.items())]
        counts = {"rows": pool.rows, "rollouts": pool.eligible.total(), "pull_requests": len(pool.best)}
        narrowed = sample.model_dump(mode="json", include=NARROWED_BY)
        narrowed |= sample.model_dump(mode="json", include={"phase", "weights"}, exclude_defaults=True)
        return {
            "format": "duel-sampling/1",
            "asked": sample.n,
            "prompts": len(self.turns),
            "pull_requests": len(self.ids),
            "repositories": len({turn.repo for turn in self.turns}),
            "seed": sample.seed,
            "mode": pool.settings.duel.mode,
            "trajectories": named | {"files": files},
            "pulls": {"dataset": pulls.name, "revision": pulls.revision} if pulls else None,
            "candidates": counts | {"pull_requests_looked_at": len(self.looked_at)},
            "left_out": {"rows": dict(sorted(pool.left.items())), "turns": dict(sorted(self.left.items()))},
            "huge": dict(sorted(huge.items())),
            "contamination": {"checked": benchmarks.checked, "unchecked": benchmarks.unchecked},
            "narrowed_by": narrowed,
        }

    def say(self, benchmarks: Benchmarks, huge: Mapping[str, int]) -> None:
        turns, asked, files = len(self.turns), self.pool.settings.sample.n, self.pool.file_odds
        say(f"{_count(turns, 'turn')} from {_count(len(self.ids), 'pull request')}")
        if turns < asked:
            hint = "; --files draws from more of them" if len(self.pool.table.sizes) > len(files) else ""
            say(f"that is fewer than the {asked:,} asked for: the files hold no more that are eligible{hint}")
        for line in self._left_out(" left out"):
            say(f"  {line}")
        if huge:
            say(f"too large for the challenger's prompt: {_count(len(huge), 'pull request')} (report/hugePR.md)")
        for why in sorted(set(benchmarks.unchecked.values())):
            names = ", ".join(name for name, reason in benchmarks.unchecked.items() if reason == why)
            say(f"not checked against {printable(names, 200)}: {printable(why, 200)} (--again tries anew)")

    def _left_out(self, what: str = "") -> Iterator[str]:
        meanings = wordlists.table("left_out", __package__)
        for kind, reasons in (("row", self.pool.left), ("turn", self.left)):
            for reason, count in sorted(reasons.items()):
                yield f"{_count(count, kind)}{what}: {meanings.get(reason, printable(reason, 60))}"

    def nothing_drawn(self) -> SourceError:
        hint = ""
        if self.left["no-pull-request"]:
            hint = "are these the trajectories' pull requests? In mode 1 (DUEL_MODE=1) turns without one are drawn too"
        if self.left["contaminated"]:
            hint = "set `decontaminate = []` in [audit] to sample benchmark instances on purpose"
        why = "; ".join(self._left_out()) or "there are no rows"
        return SourceError("no turn can be drawn", where=self.pool.table.name, value=why, hint=hint)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def choose(pool: Pool, settings: Settings, pulls: Pulls | None, benchmarks: Benchmarks) -> Admission:
    """Take candidates in their order until there are `n`; the next takes the place of one that is refused."""
    choice, wanted, most = Admission(pool), settings.sample.n, settings.sample.per_repo
    repos: Counter[str] = Counter()
    candidates = pool.candidates()
    while missing := wanted - len(choice.turns):
        ahead = list(islice(candidates, min(LOOK_UP_AT_MOST, missing + missing // 5 + 20)))
        if not ahead:
            break
        heads = pulls.heads({turn.instance_id for turn in ahead}) if pulls else {}
        for turn in ahead:
            if len(choice.turns) == wanted:
                return choice
            choice.looked_at.add(turn.instance_id)
            if most and repos[turn.repo] >= most:
                choice.left["per-repo"] += 1
                continue
            reason, detail = refusal(turn, heads.get(turn.instance_id), settings, benchmarks)
            if reason:
                choice.left.drop(turn.place, turn.instance_id, reason, detail)
                continue
            repos[turn.repo] += 1
            choice.turns.append(turn)
    return choice


def refusal(turn: DrawnTurn, head: Head | None, settings: Settings, benchmarks: Benchmarks) -> tuple[str, str]:
    """(reason, detail) for a turn that must stay out, ("", "") for one that may stay; mode 1 needs no pull request."""
    if head is None and settings.duel.mode == 2:
        return "no-pull-request", "the pull requests hold no row of this id"
    task = next((message.content for message in turn.said() if message.role == "user"), "")
    if head is not None:
        if reason := mismatch(task, head.base_commit, head.problem_statement):
            return reason, "the rollout's task is not this pull request's"
        if detail := licenses.refused(head.license, settings):
            return "license", detail
    commit, issue = (head.base_commit, head.problem_statement) if head else ("", task)
    detail = benchmarks.reason(turn.instance_id, turn.repo, commit, issue)
    return ("contaminated", detail) if detail else ("", "")


def mismatch(task: str, base_commit: str, problem_statement: str) -> str:
    """Why the rollout's task (its first user message) is not the pull request's, as a slug; "" where it is.

    The base commit is compared where the task names one (mini-swe-agent's own template does not), the issue text
    wherever the pull request has one, with all white space alike, since templates indent and wrap.
    """
    named = [commit.lower() for commit in _BASE_COMMIT.findall(task)]
    base = base_commit.lower()  # either hash may be abbreviated
    if named and base and not any(commit.startswith(base) or base.startswith(commit) for commit in named):
        return "base-commit-differs"
    if problem_statement and " ".join(problem_statement.split()) not in " ".join(task.split()):
        return "issue-differs"
    return ""
