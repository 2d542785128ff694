"""One judged turn as the report sees it: the row of every table, and the order in which turns are read."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from duel import placement, turn
from duel.bookkeeping import Stage
from duel.errors import ItemError
from duel.judging import rubric
from duel.records import DIMENSIONS, Answer, Bucket, Commit, Score, Verdict
from duel.refining.rewrites import RefineRounds, RefiningPanels, Trial, lineage
from duel.reporting import text
from duel.settings import Settings
from duel.workspace import Workspace

LINE = 160
"""Characters of a command in the list."""
KEPT_COMMITS = 500
"""Pull requests that are held at a time: 10 MB of real ones."""


@dataclass(slots=True)
class ListedTurn:
    """A row: what is known of one turn. `bucket` is None where it goes nowhere, and `why` says for what reason."""

    file: str
    instance_id: str
    repo: str
    style: str
    license: str
    position: int
    """Which assistant turn of its trajectory it is, 1-based; 0 where that is not recorded."""
    parsed: bool
    score: float | None
    expected: float | None
    """The score that a second look is expected to give."""
    metrics: list[float | None]
    """In the order of `DIMENSIONS`."""
    flips: int
    leaking: bool | None
    """None: not checked."""
    bucket: Bucket | None
    why: str
    reason: str
    """A slug for `report/dropped.jsonl` where the turn goes nowhere."""
    length_difference: float | None
    """(challenger - opponent) / the longer of the two, in characters."""
    path: str
    """The answer file, relative to the workspace."""
    kept: str = ""
    """The file in its bucket, likewise."""
    title: str = ""
    """The issue in one line."""
    commands: tuple[str, str] = ("", "")
    """What the opponent and the challenger did, in one line each."""

    def dropped(self) -> dict[str, Any]:
        return {"file": self.file, "instance_id": self.instance_id, "reason": self.reason, "detail": self.why}


@dataclass
class Judged:
    """A turn with the records behind it, which only live while it is being written down."""

    turn: ListedTurn
    score: Score
    answer: Answer
    commit: Commit | None
    """The pull request; None where it is not there or cannot be read."""
    lineage: list[Trial] = field(default_factory=list)
    """The rewrites that led to the one that stands in `final/` in the challenger's place; [] where it stands itself."""

    def kept(self) -> Answer:
        """The answer as a bucket keeps it."""
        return self.answer.with_challenger(self.lineage[-1].rewrite.candidate) if self.lineage else self.answer


@dataclass
class Reader:
    """Reads the judged turns of a workspace, best first, one in memory at a time."""

    workspace: Workspace
    settings: Settings
    verdict: Verdict
    damage: list[ItemError] = field(default_factory=list)
    missing: list[dict[str, Any]] = field(default_factory=list)
    """Scores that belong to no answer that is there, as rows for `report/dropped.jsonl`."""
    refined: RefineRounds = field(init=False)
    """What became of every rewrite."""
    _finals: placement.Representatives = field(default_factory=placement.Representatives)
    _commits: dict[str, Commit | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.refined = RefineRounds(self.settings)
        self._panels = RefiningPanels(Stage("report", self.workspace, self.settings))

    def best_first(self) -> list[Path]:
        """The score files: highest score first, unparsed ones last, equals in natural order."""
        return sorted(self.workspace.score_paths(), key=_rank)

    def judged(self, paths: list[Path]) -> Iterator[Judged]:
        """Each turn with its records, in the order of `paths`. Turns that say the same as a better one are marked."""
        answers = {path.stem: path for path in self.workspace.answer_paths()}
        self._finals, self.refined = placement.Representatives(), RefineRounds(self.settings)
        for path in paths:
            judged = self._read(path, answers.get(path.stem))
            if judged is not None:
                yield judged

    def _read(self, path: Path, answer_path: Path | None) -> Judged | None:
        try:
            score = self.workspace.read(path, Score)
            answer = self.workspace.read(answer_path, Answer) if answer_path else None
        except ItemError as error:
            self.damage.append(error)
            return None
        reason, detail = "no-answer", "the score has no answer in answer_*/"
        if answer is not None:
            reason = differs(path.stem, score, answer, self.verdict, self.settings.judge.observed)
            detail = "the score is not of this verdict; validate.py asks anew"
        if reason or answer is None or answer_path is None:
            names = {"file": path.stem, "instance_id": score.instance_id}
            self.missing.append({**names, "reason": reason, "detail": detail})
            return None
        place = f"{answer_path.parent.name}/{answer_path.name}"
        commit = self._commit(answer.instance_id)
        judged = Judged(self._turn(path.stem, score, answer, commit, place), score, answer, commit)
        if answer.rewrites():
            self._take_rewrite(judged, self._panels.trials(answer_path, answer))
        return judged

    def _take_rewrite(self, judged: Judged, trials: list[Trial]) -> None:
        """Count the rewrites; the one that the held-out judges promoted takes the challenger's place in `final/`."""
        self.refined.add(judged.answer.instance_id, trials)
        line, turn = lineage(trials, self.settings), judged.turn
        if line and turn.bucket in ("refined", "defeat"):
            judged.lineage, last = line, line[-1]
            told = f"refined: held-out judges give {last.points:.1f}, and {last.against_parent:.1f} against its parent"
            final = placement.Placement("final", told)
            placed = self._finals.place(turn.file, final, last.rewrite.candidate.audit)
            turn.bucket, turn.why, turn.reason = placed.bucket, placed.reason, placed.slug

    def _turn(self, stem: str, score: Score, answer: Answer, commit: Commit | None, place: str) -> ListedTurn:
        audit = answer.audit("challenger")
        value = score.score if score.parsed else None
        placed = self._finals.place(stem, placement.place(value, audit, self.settings, score.confirmed), audit)
        protocol = audit.protocol if audit else None
        audited = audit.license if audit is not None else None
        opponent = answer.assistant if score.mode == 1 else answer.king
        longer = max(len(answer.challenger), len(opponent))
        return ListedTurn(
            file=stem,
            instance_id=answer.instance_id,
            repo=answer.repo,
            style=score.style or (protocol.style if protocol else "") or "other",
            license=audited if audited is not None else commit.license if commit else "",
            position=answer.turn,
            parsed=value is not None,
            score=value,
            expected=self.verdict.repeats.expected(value) if self.verdict.repeats else None,
            metrics=[score.metrics.get(name) for name in DIMENSIONS],
            flips=score.flips,
            leaking=audit.leaking if audit else None,
            bucket=placed.bucket,
            why=score.reason if placed.slug == "unparsed" and score.reason else placed.reason,
            reason="stopped" if placed.slug == "unparsed" and score.stopped else placed.slug,
            length_difference=(len(answer.challenger) - len(opponent)) / longer if longer else None,
            path=place,
            title=text.title(issue_of(answer, commit)),
            commands=(_command(opponent), _command(answer.challenger)),
        )

    def _commit(self, instance_id: str) -> Commit | None:
        """The pull request of a turn; the last ones are kept, since several turns can share one."""
        known = self._commits
        if instance_id not in known:
            if len(known) >= KEPT_COMMITS:
                known.clear()
            try:
                known[instance_id] = self.workspace.commit(instance_id)
            except ItemError:  # the stages that need the pull request name it
                known[instance_id] = None
        return known[instance_id]


def _rank(path: Path) -> float:
    """The place of a score file by its score alone; one that cannot be read is told when its turn comes."""
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
        told = orjson.loads(path.read_bytes())
        return -float(told["score"]) if told.get("parsed") else math.inf
    return math.inf


def issue_of(answer: Answer, commit: Commit | None) -> str:
    """What the turn is about: the pull request's issue, else the first message of the user."""
    known = commit.issue if commit is not None else ""
    return known if known.strip() else next((m.content for m in answer.messages if m.role == "user"), "")


def _command(reply: str) -> str:
    lines = turn.command(reply).strip().split("\n")
    return text.shorten(lines[0].strip(), LINE) + " …" * (len(lines) > 1)


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
