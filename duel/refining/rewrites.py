"""Every rewrite of a turn, what the judges said of it, and which one, if any, stands in `final/`.

Rewrites are further candidates of the answer and never its challenger: the verdict of the duel speaks of the first
challengers alone. Coaches compare a rewrite with the king, held-out judges with the king and with the turn it was
rewritten from; a drawn part of the turns stands before the held-out judges unchanged.

A turn that was chosen because it is borderline scores higher or lower when it is judged again, whatever was done to it.
Two figures are free of that: the duel of a rewrite against the very text it was rewritten from, and the share that the
held-out judges promote, beside the share that they promote of turns which nobody has changed.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from duel import placement, turn
from duel.bookkeeping import Stage
from duel.errors import SettingsError
from duel.judging import rubric
from duel.judging.contests import DUEL, Contest
from duel.judging.panel import OpenPair, Panel
from duel.judging.rubric import JudgedPair, short_hash
from duel.judging.scoring import settle
from duel.judging.statistics import Clusters, student_quantile
from duel.records import RULE, Answer, Candidate, Promotion, Score, fingerprint
from duel.registry import OFFLINE
from duel.settings import Settings
from duel.workspace import Workspace

Arm = Literal["coach", "king", "parent", "control"]
"""Who compares what: coaches the rewrite with the king; held-out judges the rewrite with the king, the rewrite with the
text it was rewritten from, and that text, unchanged, with the king."""
ARMS: tuple[Arm, ...] = ("coach", "king", "parent", "control")
JUDGED_AS = "refine-judge"  # how the ledger groups the votes on rewrites
# Twins set a question apart from the duel's very same one: a rewrite that changes nothing gets fresh votes, and so does
# the control arm. Room for 10,000 turns with the very same texts in each round.
FRESH_VOTES, CONTROL_VOTES, ROUND = 600_000, 800_000, 10_000


def roles(settings: Settings) -> tuple[list[str], list[str]]:
    """(coaches, held-out judges). Raises SettingsError where nobody is left, one is both, or a coach has not judged."""
    panel = settings.judge.models
    coaches, held_out = settings.refine.judges, settings.refine.held_out
    if all(model.startswith(OFFLINE) for model in panel):  # offline no other judge is there
        coaches, held_out = ([m for m in named if m.startswith(OFFLINE)] for named in (coaches, held_out))
    models = [model for model in panel if not model.startswith(RULE)]
    held_out = held_out or ([m for m in panel if m not in coaches] if coaches else models[-1:])
    coaches = coaches or [model for model in panel if model not in held_out]
    if not held_out or not coaches:
        hint = "name a further model in `held_out`"
        raise SettingsError("no judge is left over", where="[refine]", value=f"{len(panel)} in the panel", hint=hint)
    if both := set(coaches) & set(held_out):
        hint = "a judge whose reasons the writer has read is no judge of what it wrote"
        raise SettingsError("a judge both coaches and decides", where="[refine]", value=", ".join(both), hint=hint)
    if others := [model for model in coaches if model not in panel]:
        hint = "coaches are judges of the panel: their reasons are in score/ already"
        raise SettingsError("a coach has not judged", where="[refine] judges", value=", ".join(others), hint=hint)
    return coaches, held_out


def panel_settings(settings: Settings, kind: Arm) -> Settings:
    """The settings of those who compare: coaches, or the held-out panel, every one of whose votes must be there."""
    coaches, held_out = roles(settings)
    chosen = {"models": coaches} if kind == "coach" else {"models": held_out, "quorum": len(held_out)}
    return settings.with_keys(judge={"strategy": "full", **chosen})


@dataclass(frozen=True)
class Trial:
    """One rewrite of `parent`, and what came of it. Points are None where votes are missing."""

    round: int
    candidate: Candidate
    parent: Candidate
    refused: str = ""
    coach: Score | None = None
    held_out: Score | None = None
    against_parent: float | None = None
    control: float | None = None  # what the held-out judges gave the unchanged turn; None where it was not drawn

    @property
    def points(self) -> float | None:
        return self.held_out.score if self.held_out is not None else None

    @property
    def decided(self) -> bool:
        """True once every vote that decides is there: one that is missing leaves the turn open."""
        return bool(self.refused) or None not in (self.points, self.against_parent)

    @property
    def settled(self) -> bool:
        """True once nothing is left to ask, coaches included: a further round may start from here."""
        return self.decided and bool(self.refused or self.coach)

    @property
    def better(self) -> bool:
        """True where the held-out judges prefer it to the text it was rewritten from."""
        return not self.refused and self.against_parent is not None and self.against_parent > 50

    def promoted(self, settings: Settings) -> bool:
        """True where it may stand in `final/`: high enough against the king, and better than its parent."""
        return self.decided and self.better and (self.points or 0.0) >= settings.report.final_min

    def promotion(self) -> Promotion:
        assert self.held_out is not None and self.points is not None and self.against_parent is not None
        return Promotion(
            round=self.round,
            parent=self.parent.id,
            score=self.points,
            against_parent=self.against_parent,
            judges=list(dict.fromkeys(vote.judge for vote in self.held_out.votes)),
        )


def of_answer(answer: Answer) -> list[Trial]:
    """The rewrites that descend from the challenger that stands there now, round by round."""
    known, found = {fingerprint(answer.challenger): first_challenger(answer)}, []
    for candidate in answer.rewrites():
        refine = candidate.made.refine if candidate.made else None
        if refine is not None and refine.parent in known:
            found.append(Trial(refine.round, candidate, known[refine.parent]))
            known.setdefault(fingerprint(candidate.text), candidate)
    return found


def first_challenger(answer: Answer) -> Candidate:
    return answer.chosen("challenger") or Candidate(id="challenger-1", side="challenger", chosen=True)


def refused(rewrite: Trial, answer: Answer, settings: Settings) -> str:
    """Why a rewrite is not judged and never replaces its parent, as a slug; "" where it is."""
    audit, before = answer.audit_of(rewrite.candidate), answer.audit_of(rewrite.parent)
    if audit is None:
        return "not-audited"
    if (obstacle := placement.obstacle(audit, settings)) is not None:
        return obstacle.slug
    if audit.leaking or audit.leak_score > (before.leak_score if before else 0.0):
        return "leak" if audit.leaking else "leak-rose"
    seen = "\n".join(message.content for message in answer.messages)
    return "speaks-of-review" if turn.aside(rewrite.candidate.text, "reviewer", seen) else ""


def contest(kind: Arm, number: int) -> Contest:
    """The comparison of one kind in round `number`; its votes lie in score/_refine-<round>-<kind>/."""
    twins = (CONTROL_VOTES if kind == "control" else FRESH_VOTES) + ROUND * number
    return Contest(f"refine-{number}-{kind}", partial(_pair, kind, number), twins, stage=JUDGED_AS)


def _pair(kind: Arm, number: int, item: str, answer: Answer, settings: Settings) -> JudgedPair | None:
    rewrite = next((one for one in of_answer(answer) if one.round == number), None)
    observed = settings.judge.observed
    if rewrite is None or (kind != "control" and refused(rewrite, answer, settings)):
        return None
    parent, child = rewrite.parent, rewrite.candidate
    if kind != "parent":
        shown = answer.with_challenger(parent if kind == "control" else child)
        return rubric.pair_of(item, shown, settings.duel.mode, observed)
    pair = JudgedPair(item, answer.messages, answer.text_of(parent), child.text, (parent.id, child.id))
    if pair.opponent.strip() == pair.challenger.strip():
        return None  # a draw, whoever is asked
    return rubric.with_evidence(pair, parent.observed, child.observed) if observed else pair


def standing(trials: list[Trial]) -> list[Trial]:
    """The rewrites that each beat the text before them: the last one's text is where the next round starts."""
    return [trial for trial in trials if trial.better]


def lineage(trials: list[Trial], settings: Settings) -> list[Trial]:
    """The rewrites that led to the newest promoted one, which stands in `final/`; [] where none was promoted."""
    promoted = [place for place, trial in enumerate(trials, start=1) if trial.promoted(settings)]
    return standing(trials[: promoted[-1]]) if promoted else []


@dataclass
class RefiningPanels:
    """The panels of every round and kind in one workspace, and the duel's own."""

    stage: Stage
    _panels: dict[str, Panel] = field(default_factory=dict)

    def panel(self, kind: Arm | None = None, number: int = 0) -> Panel:
        """Those who compare as `kind` in round `number`; without a kind the duel's own panel."""
        asked, stage = contest(kind, number) if kind else DUEL, self.stage
        if asked.name not in self._panels:
            settings = panel_settings(stage.settings, kind) if kind else stage.settings
            self._panels[asked.name] = Panel(Stage("refine", stage.workspace, settings, again=stage.again), asked)
        return self._panels[asked.name]

    def score(self, path: Path, answer: Answer, kind: Arm | None = None, number: int = 0) -> Score | None:
        """A panel's score of one turn (without a kind, of the duel), if every vote stands under the settings."""
        pair = self.panel(kind, number).met(path.stem, answer)
        if pair is None or pair.kept is None or pair.owes(pair.kept):
            return None
        return settle(pair.kept, pair.panel.settings)

    def trials(self, path: Path, answer: Answer) -> list[Trial]:
        """Every rewrite of one turn, with what the judges have said of it so far."""
        trials = []
        for rewrite in of_answer(answer):
            found = {kind: self.score(path, answer, kind, rewrite.round) for kind in ARMS}
            given = {kind: score.score if score else None for kind, score in found.items()}
            trial = replace(rewrite, control=given["control"], refused=refused(rewrite, answer, self.stage.settings))
            if not trial.refused:
                same = answer.text_of(trial.parent).strip() == trial.candidate.text.strip()
                against = 50.0 if same else given["parent"]
                trial = replace(trial, coach=found["coach"], held_out=found["king"], against_parent=against)
            trials.append(trial)
        return trials

    def jobs(self, rounds: Mapping[Path, int]) -> Iterator[OpenPair]:
        """A pair for every vote that is missing; `rounds` are the answers with rewrites, and how many each has."""
        workspace, settings = self.stage.workspace, self.stage.settings
        for number in range(1, max(rounds.values(), default=0) + 1):
            paths = [path for path, last in rounds.items() if last >= number]
            # The control arm is drawn by a keyed hash: a larger one keeps those of a smaller one.
            keys = {path: f"{settings.duel.seed}:refine-{number}:{path.stem}" for path in paths}
            ranks = {path: hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest() for path, key in keys.items()}
            drawn = sorted(paths, key=ranks.__getitem__)[: settings.refine.control]
            for kind in ARMS:
                asked = drawn if kind == "control" else paths
                answers = ((path, workspace.read(path, Answer)) for path in asked)
                yield from self.panel(kind, number).open_turns(answers)


CONFIDENCE = 0.95
LEAST = 10  # pull requests under which a figure has no error that anyone should trust


Refined = tuple[str, Trial]  # the pull request that a turn is about, and one rewrite of the turn


def summary(every: Sequence[Refined], settings: Settings) -> list[dict[str, Any]]:
    """A row for each round, as plain data; shares and points, null where there is no data."""
    least, rows = settings.report.final_min, []
    for number in sorted({trial.round for _, trial in every}):
        trials = [(label, trial) for label, trial in every if trial.round == number]
        decided = [(label, trial) for label, trial in trials if trial.decided]
        judged = [(label, trial) for label, trial in decided if not trial.refused]
        coached = [trial for _, trial in trials if trial.refused or trial.coach is not None]
        by_coaches = sum(bool(trial.coach and (trial.coach.score or 0.0) >= least) for trial in coached)
        new = estimate((label, float((trial.points or 0.0) >= least)) for label, trial in decided)
        unchanged = estimate((label, float(t.control >= least)) for label, t in trials if t.control is not None)
        parent = estimate((label, trial.against_parent or 0.0) for label, trial in judged)
        errors = (new["error"], unchanged["error"])
        rows.append(
            {
                "round": number,
                "rewritten": len(trials),
                "refused": dict(sorted(Counter(trial.refused for _, trial in trials if trial.refused).items())),
                "open": len(trials) - len(decided),
                "by_coaches": by_coaches / len(coached) if coached else None,
                "by_held_out": new,
                "control": unchanged,
                "gain": None if None in errors else new["mean"] - unchanged["mean"],
                "gain_error": None if None in errors else sum(error**2 for error in errors) ** 0.5,
                "against_parent": parent,
                "better": sum(trial.better for _, trial in judged),
                "promoted": sum(trial.promoted(settings) for _, trial in judged),
                "helped": None if parent["error"] is None else parent["mean"] - parent["error"] > 50,
            }
        )
    return rows


def estimate(values: Iterable[tuple[str, float]]) -> dict[str, Any]:
    """{turns, clusters, mean, error} of (pull request, value): a 95 % interval, robust to turns that share one.

    `error` is half its width (Liang & Zeger 1986, Student's t), null under `LEAST` pull requests.
    """
    labels, numbers = [*zip(*values, strict=True)] or ((), ())
    if not labels:
        return {"turns": 0, "clusters": 0, "mean": None, "error": None}
    clusters, error = Clusters.of(numbers, labels), None
    if clusters.count >= LEAST:
        error = student_quantile((1 + CONFIDENCE) / 2, clusters.count - 1) * float(clusters.errors()[0])
    return {"turns": len(labels), "clusters": clusters.count, "mean": float(clusters.means()[0]), "error": error}


def looks_of_rounds(workspace: Workspace, settings: Settings) -> list[dict[str, Any]]:
    """What the history of looks keeps of each round: a rewrite is a further challenger, and its judging a look."""
    panels, found = RefiningPanels(Stage("refine", workspace, settings)), list[Refined]()
    stems = (path.stem for path in workspace.score_paths(contest("king", 1).name))
    for path, answer in workspace.answers_of(stems, []):
        found += ((answer.instance_id, trial) for trial in panels.trials(path, answer))
    rows = []
    for row in (row for row in summary(found, settings) if row["helped"] is not None):
        trials, parent = [trial for _, trial in found if trial.round == row["round"]], row["against_parent"]
        models = sorted({trial.candidate.made.model for trial in trials if trial.candidate.made})
        rows.append(
            {
                "challenger": short_hash(["refine", row["round"], models]),
                "writers": models,
                "mode": settings.duel.mode,
                "turns": row["rewritten"],
                "parsed": parent["turns"],
                "clusters": parent["clusters"],
                "alpha": (1 - CONFIDENCE) / 2,
                "margin": 2 * parent["mean"] - 100,
                "lcb": (parent["mean"] - parent["error"] - 50) / 100,
                "decision": "helped" if row["helped"] else "did not help",
                "votes": short_hash([[trial.points, trial.against_parent] for trial in trials]),
                "statistic": "refine",
            }
        )
    return rows
