"""Which candidates become prompts: the checks of each pull request, and a next one where one is left out."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from duel.audit import licenses
from duel.audit.contamination import Benchmarks
from duel.settings import Settings
from duel.sources.pulls import Head, Pulls
from duel.sources.sampling import DrawnTurn, Pool

# Candidates whose pull requests are looked up at once: a fifth more than are still wanted, so that one look usually
# does, and not more than this, since their issue texts are in memory meanwhile (3 KB each).
LOOK_UP_AT_MOST = 5000
_BASE_COMMIT = re.compile(r"^\s*[-*]\s*Base commit:\s*`?([0-9a-fA-F]{7,64})`?\s*$", re.MULTILINE)


@dataclass
class Admission:
    turns: list[DrawnTurn] = field(default_factory=list)
    dropped: list[dict[str, str]] = field(default_factory=list)
    """Candidates that a check refused, as `Workspace.save_dropped` takes them."""
    capped: int = 0  # candidates left out by `per_repo`
    looked_at: set[str] = field(default_factory=set)  # pull requests that were looked at

    @property
    def ids(self) -> set[str]:
        return {turn.instance_id for turn in self.turns}

    def keep(self, ids: set[str], damaged: Mapping[str, str]) -> None:
        """Leave out the turns whose pull request was found, but then could not be read."""
        for turn in self.turns:
            if turn.instance_id in damaged and turn.instance_id not in ids:
                self.drop(turn, "damaged-pull-request", damaged[turn.instance_id])
        self.turns = [turn for turn in self.turns if turn.instance_id in ids or turn.instance_id not in damaged]

    def drop(self, turn: DrawnTurn, reason: str, detail: str) -> None:
        self.dropped.append({"file": turn.place, "instance_id": turn.instance_id, "reason": reason, "detail": detail})

    @property
    def reasons(self) -> Counter[str]:
        counts = Counter(row["reason"] for row in self.dropped)
        if self.capped:
            counts["per-repo"] = self.capped
        return counts


def choose(pool: Pool, settings: Settings, pulls: Pulls | None, benchmarks: Benchmarks) -> Admission:
    """Take candidates in their order until there are `n`; the next takes the place of one that is refused."""
    choice = Admission()
    wanted = settings.sample.n
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
            if settings.sample.per_repo and repos[turn.repo] >= settings.sample.per_repo:
                choice.capped += 1
                continue
            reason, detail = refusal(turn, heads.get(turn.instance_id), settings, benchmarks)
            if reason:
                choice.drop(turn, reason, detail)
                continue
            repos[turn.repo] += 1
            choice.turns.append(turn)
    return choice


def refusal(turn: DrawnTurn, head: Head | None, settings: Settings, benchmarks: Benchmarks) -> tuple[str, str]:
    """(reason, detail) for a turn that must stay out, ("", "") for one that may stay.

    A turn without a pull request serves only where king and reference are compared (mode 1).
    """
    if head is None and settings.duel.mode == 2:
        return "no-pull-request", "the pull requests hold no row of this id"
    task = turn.task
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
    if problem_statement and _flat(problem_statement) not in _flat(task):
        return "issue-differs"
    return ""


def _flat(text: str) -> str:
    return " ".join(text.split())
