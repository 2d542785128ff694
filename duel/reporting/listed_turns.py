"""One judged turn as the report sees it: the row of every table, read from the records behind it."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

from duel import placement, turn
from duel.bookkeeping import Stage
from duel.errors import ItemError
from duel.judging import rubric
from duel.records import Answer, Audit, Bucket, Commit, Score, Side, Verdict
from duel.refining.rewrites import RefiningPanels, Trial, lineage
from duel.reporting.wording import shorten
from duel.settings import Settings
from duel.workspace import Workspace

LINE = 160  # characters of a command in the list
KEPT_COMMITS = 500  # pull requests that are held at a time: 10 MB of real ones
WRITERS: tuple[Side, ...] = ("king", "challenger")
TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens")
FIRST, BEST, REFINED, GUIDED = SOURCES = ("first try", "best of n", "refined", "guided")  # how a kept turn came about


@dataclass(slots=True)
class ListedTurn:
    """A row: what is known of one turn. `bucket` is None where it goes nowhere, and `why` says for what reason."""

    place: int  # among the scores, best first, from 0
    file: str
    instance_id: str
    repo: str
    style: str
    license: str
    position: int  # which assistant turn of its trajectory it is, 1-based; 0 where that is not recorded
    score: float | None
    metrics: dict[str, float | None]  # by dimension
    flips: int
    leaking: bool | None  # None: not checked
    bucket: Bucket | None
    why: str
    reason: str  # a slug for `report/dropped.jsonl` where the turn goes nowhere
    duplicates_of: str  # the turn that stands for its near-duplicates; "" for none
    length_difference: float | None  # (challenger - opponent) / the longer of the two, in characters
    path: str  # the answer file, relative to the workspace
    title: str  # the issue in one line
    commands: tuple[str, ...]  # what the opponent and the challenger did, in one line each
    source: str  # how its first challenger came about, whatever became of it later
    written: dict[Side, tuple[str, dict[str, int]]]  # the model of each reply, and the tokens it took
    evidence: str
    agreement: dict[str, int]  # how far its judges agree, and flip with the order
    rewritten: bool = False  # a rewrite stands in the challenger's place
    kept: str = ""  # the file in its bucket, relative to the workspace

    def settle(self, finals: placement.Representatives) -> None:
        """Inside `final/` one turn stands for its near-duplicates: the first to come."""
        placed = finals.place(self.file, placement.Placement(self.bucket, self.why, self.reason), self.duplicates_of)
        self.bucket, self.why, self.reason = placed.bucket, placed.reason, placed.slug

    def dropped(self) -> dict[str, Any]:
        return {"file": self.file, "instance_id": self.instance_id, "reason": self.reason, "detail": self.why}


@dataclass
class Judged:
    """A turn with the records behind it, which only live while it is being written down."""

    score: Score
    answer: Answer
    commit: Commit | None  # the pull request; None where it is not there or cannot be read
    audit: Audit | None  # of the challenger's text
    turn: ListedTurn = field(init=False)
    expected: float | None = None  # the score that a second look is expected to give
    trials: list[Trial] = field(default_factory=list)  # every rewrite, and what became of it
    lineage: list[Trial] = field(default_factory=list)
    """The rewrites that led to the one that stands in `final/` in the challenger's place; [] where it stands itself."""

    def kept(self) -> Answer:
        """The answer as a bucket keeps it."""
        return self.answer.with_challenger(self.lineage[-1].candidate) if self.lineage else self.answer


class NotOfThisVerdict(ItemError):
    """A score that has no answer, or was given to other replies, by other judges or in another mode."""


class Reader:
    """Reads judged turns, one in memory at a time."""

    def __init__(self, workspace: Workspace, settings: Settings, verdict: Verdict) -> None:
        self.workspace, self.settings, self.verdict = workspace, settings, verdict
        self._dimensions = verdict.dimensions
        self._panels = RefiningPanels(Stage("report", workspace, settings))
        self._commit = lru_cache(KEPT_COMMITS)(workspace.readable_commit)  # several turns can share one

    def read(self, place: int, path: Path, answer_path: Path | None) -> Judged:
        """One turn with its records. Raises ItemError where a record is damaged, and NotOfThisVerdict."""
        score = self.workspace.read(path, Score)
        if answer_path is None:
            raise NotOfThisVerdict("no-answer", "the score has no answer in answer_*/", where=score.instance_id)
        answer = self.workspace.read(answer_path, Answer)
        excluded = "excluded" if answer.instance_id in self.settings.generate.exclude_ids else ""
        if reason := excluded or differs(path.stem, score, answer, self.verdict, self.settings.judge.observed):
            detail = "by `exclude_ids`" if excluded else "the score is not of this verdict; validate.py asks anew"
            raise NotOfThisVerdict(reason, detail, where=score.instance_id)
        judged = Judged(score, answer, self._commit(answer.instance_id), answer.audit("challenger"))
        turn = judged.turn = self._turn(place, path, answer_path, judged)
        if self.verdict.repeats and turn.score is not None:
            judged.expected = self.verdict.repeats.expected(turn.score)
        if answer.rewrites():
            judged.trials = self._panels.trials(answer_path, answer)
            line = lineage(judged.trials, self.settings)
            if line and turn.bucket in ("refined", "defeat"):
                # What the held-out judges promoted takes the challenger's place, in `final/`.
                judged.lineage, last = line, line[-1]
                told = f"held-out judges give {last.points:.1f}, and {last.against_parent:.1f} against its parent"
                turn.bucket, turn.why, turn.rewritten = "final", f"refined: {told}", True
                turn.duplicates_of = (answer.audit_of(last.candidate) or Audit()).duplicates_of
        return judged

    def _turn(self, place: int, path: Path, answer_path: Path, judged: Judged) -> ListedTurn:
        score, answer, commit, audit = judged.score, judged.answer, judged.commit, judged.audit
        value = score.score if score.parsed else None
        placed = placement.place(value, audit, self.settings, score.confirmed)
        unparsed = placed.slug == "unparsed"
        protocol = audit.protocol if audit else None
        opponent = answer.assistant if score.mode == 1 else answer.king
        longer = max(len(answer.challenger), len(opponent))
        first = BEST if any(one.selection for one in answer.candidates) else FIRST
        commands = (turn.command(reply).strip().split("\n") for reply in (opponent, answer.challenger))
        return ListedTurn(
            place=place,
            file=path.stem,
            instance_id=answer.instance_id,
            repo=answer.repo,
            style=score.style or (protocol.style if protocol else "") or "other",
            license=audit.license if audit and audit.license is not None else commit.license if commit else "",
            position=answer.turn,
            score=value,
            metrics={name: score.metrics.get(name) for name in self._dimensions},
            flips=score.flips,
            leaking=audit.leaking if audit else None,
            bucket=placed.bucket,
            why=score.reason if unparsed and score.reason else placed.reason,
            reason="stopped" if unparsed and score.stopped else placed.slug,
            duplicates_of=audit.duplicates_of if audit else "",
            length_difference=(len(answer.challenger) - len(opponent)) / longer if longer else None,
            path="/".join(answer_path.parts[-2:]),
            title=_title(issue_of(answer, commit)),
            commands=tuple(shorten(lines[0].strip(), LINE) + " …" * (len(lines) > 1) for lines in commands),
            source=GUIDED if "guided" in answer.source.dataset.split("/") else first,
            written={
                side: (made.model, {name: n if isinstance(n := made.usage.get(name), int) else 0 for name in TOKENS})
                for side in WRITERS
                if (made := answer.made(side))
            },
            evidence=score.evidence,
            agreement=agreement(score, self.settings),
        )


def agreement(score: Score, settings: Settings) -> dict[str, int]:
    """How many pairs of judges name the same winner, and how many judges turn with the order of those asked in both."""
    leads: dict[str, list[float]] = {}
    for vote in (vote for vote in score.votes if vote.parsed):
        leads.setdefault(vote.judge, []).append(rubric.vote_points(vote, settings) - 50)
    winners = [(lead > 1e-9) - (lead < -1e-9) for lead in map(sum, leads.values())]
    pairs = [one == two for one, two in combinations(winners, 2)]
    asked = sum(len(both) == 2 for both in leads.values())
    return {"turns": 1, "agreed": sum(pairs), "pairs": len(pairs), "flipped": score.flips, "asked": asked}


def issue_of(answer: Answer, commit: Commit | None) -> str:
    """What the turn is about: the pull request's issue, else the first message of the user."""
    known = commit.issue if commit is not None else ""
    return known if known.strip() else next((m.content for m in answer.messages if m.role == "user"), "")


def _title(issue: str) -> str:
    """The first line that says something, without marks of Markdown or a template; "" if there is none."""
    lines = (re.sub(r"^[\s#>*_-]+|[\s*_:]+$", "", line) for line in issue.split("\n", 40)[:40])
    plain = (line for line in lines if re.search(r"\w{2}", line) and not re.fullmatch(r"</?[\w-]+>", line))
    return shorten(next(plain, ""), 140)


def differs(stem: str, score: Score, answer: Answer, verdict: Verdict, observed: bool = True) -> str:
    """What keeps a score from this verdict, as a slug: another mode, rubric or panel, or replies that have changed."""
    if score.mode != verdict.mode:
        return f"mode-{score.mode}"
    for name in ("rubric", "panel"):
        ours, theirs = score.made_with.get(name), verdict.made_with.get(name)
        # With evidence the rubric has an addition; the candidates' fingerprint, below, says which turns have any.
        if ours and theirs and ours.partition("+")[0] != theirs:
            return f"other-{name}"
    judged = score.made_with.get("candidates")
    if judged and judged != rubric.fingerprint(rubric.pair_of(stem, answer, score.mode, observed)):
        return "other-candidates"
    return ""
