"""Every rewrite of a turn, what the judges said of it, and which one, if any, stands in `final/`.

Rewrites are further candidates of the answer and never its challenger: the verdict of the duel speaks of the first
challengers alone. Coaches compare a rewrite with the king, held-out judges with the king and with the turn it was
rewritten from; a drawn part of the turns stands before the held-out judges unchanged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from duel import placement, turn
from duel.bookkeeping import Stage
from duel.judging import rubric
from duel.judging.contests import DUEL, Contest
from duel.judging.panel import OpenPair, Panel
from duel.judging.rubric import JudgedPair
from duel.records import Answer, Candidate, Promotion, Score, fingerprint
from duel.refining import roles
from duel.settings import Settings

Kind = Literal["coach", "king", "parent", "control"]
"""Who compares what: coaches the rewrite with the king; held-out judges the rewrite with the king, the rewrite with the
text it was rewritten from, and that text, unchanged, with the king."""
KINDS: tuple[Kind, ...] = ("coach", "king", "parent", "control")
JUDGED_AS = "refine-judge"
"""How the ledger groups the votes on rewrites."""
# Twins set a question apart from the duel's very same one: a rewrite that changes nothing gets fresh votes, and so does
# the control arm. Room for 10,000 turns with the very same texts in each round.
FRESH_VOTES, CONTROL_VOTES, ROUND = 600_000, 800_000, 10_000


@dataclass(frozen=True)
class Rewrite:
    """One text of a lineage and the one before it."""

    round: int
    candidate: Candidate
    parent: Candidate


def of_answer(answer: Answer) -> list[Rewrite]:
    """The rewrites that descend from the challenger that stands there now, round by round."""
    known, found = {fingerprint(answer.challenger): first_challenger(answer)}, []
    for candidate in answer.rewrites():
        refine = candidate.made.refine if candidate.made else None
        if refine is not None and refine.parent in known:
            found.append(Rewrite(refine.round, candidate, known[refine.parent]))
            known.setdefault(fingerprint(candidate.text), candidate)
    return found


def first_challenger(answer: Answer) -> Candidate:
    """The challenger of the duel."""
    return answer.chosen("challenger") or Candidate(id="challenger-1", side="challenger", chosen=True)


def refused(rewrite: Rewrite, answer: Answer, settings: Settings) -> str:
    """Why a rewrite is not judged and never replaces its parent, as a slug; "" where it is."""
    audit, before = rewrite.candidate.audit, rewrite.parent.audit
    if audit is None or not audit.about(rewrite.candidate.text):
        return "not-audited"
    if (obstacle := placement.obstacle(audit, settings)) is not None:
        return obstacle.slug
    if audit.leaking or audit.leak_score > (before.leak_score if before else 0.0):
        return "leak" if audit.leaking else "leak-rose"
    seen = "\n".join(message.content for message in answer.messages)
    return "speaks-of-review" if turn.aside(rewrite.candidate.text, "reviewer", seen) else ""


def contest(kind: Kind, number: int) -> Contest:
    """The comparison of one kind in round `number`; its votes lie in score/_refine-<round>-<kind>/."""
    twins = (CONTROL_VOTES if kind == "control" else FRESH_VOTES) + ROUND * number
    return Contest(f"refine-{number}-{kind}", partial(_pair, kind, number), twins, stage=JUDGED_AS)


def _pair(kind: Kind, number: int, item: str, answer: Answer, settings: Settings) -> JudgedPair | None:
    rewrite = next((one for one in of_answer(answer) if one.round == number), None)
    if rewrite is None:
        return None
    mode, observed = settings.duel.mode, settings.judge.observed
    if kind == "control":
        return rubric.pair_of(item, answer.with_challenger(rewrite.parent), mode, observed)
    if refused(rewrite, answer, settings):
        return None
    if kind != "parent":
        return rubric.pair_of(item, answer.with_challenger(rewrite.candidate), mode, observed)
    parent, child = rewrite.parent, rewrite.candidate
    pair = JudgedPair(item, answer.messages, answer.text_of(parent), child.text, (parent.id, child.id))
    if pair.opponent.strip() == pair.challenger.strip():
        return None  # a draw, whoever is asked
    return rubric.with_evidence(pair, parent.observed, child.observed) if observed else pair


@dataclass(frozen=True)
class Trial:
    """One rewrite and what came of it. Points are None where votes are missing."""

    rewrite: Rewrite
    refused: str = ""
    coach: Score | None = None
    held_out: Score | None = None
    against_parent: float | None = None
    control: float | None = None
    """What the held-out judges gave the unchanged turn; None where it was not drawn."""

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
        """As the kept record tells it."""
        assert self.held_out is not None and self.points is not None and self.against_parent is not None
        return Promotion(
            round=self.rewrite.round,
            parent=self.rewrite.parent.id,
            score=self.points,
            against_parent=self.against_parent,
            judges=list(dict.fromkeys(vote.judge for vote in self.held_out.votes)),
        )


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

    def panel(self, kind: Kind, number: int) -> Panel:
        """The judges of one kind in round `number`."""
        return self._panel(contest(kind, number), roles.coaching if kind == "coach" else roles.deciding)

    def _panel(self, asked: Contest, of: Callable[[Settings], Settings]) -> Panel:
        if asked.name not in self._panels:
            apart = Stage("refine", self.stage.workspace, of(self.stage.settings), again=self.stage.again)
            self._panels[asked.name] = Panel(apart, asked)
        return self._panels[asked.name]

    def duel(self, path: Path, answer: Answer) -> Score | None:
        """The panel's score of the first challenger, if it stands under the present settings."""
        return _standing(self._panel(DUEL, lambda settings: settings), path, answer)

    def trials(self, path: Path, answer: Answer) -> list[Trial]:
        """Every rewrite of one turn, with what the judges have said of it so far."""
        return [self._trial(rewrite, path, answer) for rewrite in of_answer(answer)]

    def _trial(self, rewrite: Rewrite, path: Path, answer: Answer) -> Trial:
        found = {kind: _standing(self.panel(kind, rewrite.round), path, answer) for kind in KINDS}
        parent, control = (score.score if (score := found[kind]) else None for kind in ("parent", "control"))
        if reason := refused(rewrite, answer, self.stage.settings):
            return Trial(rewrite, reason, control=control)
        same = answer.text_of(rewrite.parent).strip() == rewrite.candidate.text.strip()
        return Trial(rewrite, "", found["coach"], found["king"], 50.0 if same else parent, control)

    def jobs(self, rounds: Mapping[Path, int]) -> Iterator[OpenPair]:
        """A pair for every vote that is missing; `rounds` are the answers with rewrites, and how many each has."""
        workspace, control = self.stage.workspace, self.stage.settings.refine.control
        for number in range(1, max(rounds.values(), default=0) + 1):
            # The control arm is drawn by a keyed hash: a larger one keeps those of a smaller one.
            rank = partial(_rank, f"{self.stage.settings.duel.seed}:refine-{number}")
            paths = [path for path, last in rounds.items() if last >= number]
            for kind in KINDS:
                asked = sorted(paths, key=rank)[:control] if kind == "control" else paths
                answers = ((path, workspace.read(path, Answer)) for path in asked)
                yield from self.panel(kind, number).open_turns(answers)


def _rank(key: str, path: Path) -> bytes:
    return hashlib.sha256(f"{key}:{path.stem}".encode("utf-8", "surrogatepass")).digest()


def _standing(panel: Panel, path: Path, answer: Answer) -> Score | None:
    """The score of one turn, if every vote that is asked for is there and stands under the present settings."""
    from duel.judging.scoring import settle

    if next(panel.open_turns([(path, answer)]), None) is not None:
        return None
    kept = panel.kept(path.stem)
    return settle(kept, panel.settings) if kept is not None else None
