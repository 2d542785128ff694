"""What a whole run will ask for, before any of it is asked: one job a turn for each of the three paying stages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from duel import calls, candidates, fence
from duel.audit import auditor
from duel.bookkeeping import Stage
from duel.calls import Request
from duel.judging import rubric
from duel.records import RULE, Answer, Commit, Message, Side
from duel.refining.rewrites import panel_settings
from duel.settings import Settings
from duel.stages import audit, choose
from duel.workspace import Workspace

# What is assumed of a turn that is not drawn yet, in bytes. The dataset's 12.29 million rollouts hold about 112 billion
# tokens, 9,100 each; a turn is drawn from anywhere in one, so that half of it stands before the turn. At 3.8 bytes a
# token (the median of 41 real rollouts) that is 17 KB. A pull request's record took 5.2 KB in the mean of 39 real bug
# fixes; the dataset also holds features, so twice that and more.
HISTORY_BYTES = 17_000
PULL_BYTES = 12_000
# A candidate as the judges see it: the mean of 1,250 real turns has 850 bytes.
REPLY = "x" * 850
# Every so many turns end in refined/, as a plan assumes before anything is judged: a quarter to a fifth did in trials.
REFINED_EVERY = 4
# Of a large draw at least so many files of 200 turns are looked at: at 100,000 turns all of them took 139 s.
SAMPLED_FILES = 10


@dataclass(frozen=True)
class Expected:
    item: str
    asked: list[Request]

    def requests(self) -> list[Request]:
        return self.asked

    async def work(self, ask: object) -> None:
        """Nothing: an estimate is counted, never asked."""


@dataclass(frozen=True)
class PlannedTurn:
    """A turn with its history, its pull request, and what a king and a challenger write on average."""

    item: str
    instance_id: str
    history: list[Message]
    commit: Commit | None

    @property
    def answer(self) -> Answer:
        return Answer(instance_id=self.instance_id, king=REPLY, challenger=REPLY + ".", messages=self.history)

    def votes(self, settings: Settings) -> list[Request]:
        pair = rubric.pair_of(self.item, self.answer, settings.duel.mode)
        return list(rubric.requests(pair, settings, b"").values())


@dataclass(frozen=True)
class TurnSample:
    """The turns that a plan looks at, and how many of the run each of them stands for."""

    turns: list[PlannedTurn]
    weight: float = 1.0


def sample(workspace: Workspace, settings: Settings) -> TurnSample:
    """The prompts that are there, of a large draw some; where none are drawn yet, a typical one for all."""
    every = workspace.prompt_files()
    if not every:
        return typical(settings)
    files = every[:: max(1, len(every) // SAMPLED_FILES)]
    stage = Stage("plan", workspace, settings)
    looked_at, turns = 0, []
    for stem, _, prompt in workspace.prompts(stage.damage, files):
        looked_at += 1
        commit = stage.pull_request(prompt.instance_id)
        if not stage.is_left_out(stem, prompt.instance_id, commit):
            history = candidates.fitted_history(prompt.messages, settings, commit)
            turns.append(PlannedTurn(stem, prompt.instance_id, history, commit))
    whole = len(files) == len(every) or not looked_at
    return TurnSample(turns, 1.0 if whole else workspace.count_prompts() / looked_at)


def typical(settings: Settings) -> TurnSample:
    history = [Message(role="system", content="rules"), Message(role="user", content="x" * HISTORY_BYTES)]
    turn = PlannedTurn("a turn", "a turn", history, Commit(instance_id="a turn", patch="x" * PULL_BYTES))
    return TurnSample([turn], settings.sample.n)


def plans(sample: TurnSample, workspace: Workspace, settings: Settings, *, offline: bool = False) -> list[calls.Plan]:
    """What the paying stages would ask of these turns. Nothing is asked or written."""
    turns = sample.turns
    jobs = {
        "king": written("king", turns, settings),
        "challenger": written("challenger", turns, settings),
        "judge": (Expected(turn.item, turn.votes(settings)) for turn in turns),
    }
    if settings.choosers:  # a duel less than there are candidates, on each side
        duels = sum(len(settings.writers(side)) - 1 for side in choose.sides(settings))
        judged = choose.judged_by_choosers(settings)
        jobs[choose.NAME] = (Expected(turn.item, turn.votes(judged) * duels) for turn in turns)
    if settings.audit.auditor:
        jobs[audit.AUDITOR] = audits(turns, settings)
    if settings.refine.held_out:
        jobs["refine"] = rewrites(turns, settings)
    return [
        calls.plan(asked, workspace=workspace, settings=settings, stage=stage, offline=offline).times(sample.weight)
        for stage, asked in jobs.items()
    ]


def cost_of(plans: list[calls.Plan]) -> str:
    known = [plan.cost for plan in plans if plan.cost is not None]
    unknown = "" if len(known) == len(plans) else " and what has an unknown price"
    return f"at most ${sum(known):,.2f}{unknown}"


def written(side: Side, turns: list[PlannedTurn], settings: Settings) -> Iterator[Expected]:
    """Without a pull request ch.py drops the turn, or asks a second blind writer in mode 1."""
    numbered = candidates.Numbered(settings)
    for turn in turns:
        if side == "king" or turn.commit is not None or settings.duel.mode == 1:
            mark = fence.nonce(b"", turn.item)  # a plan writes nothing, and an unmade secret would have to be written
            commit = turn.commit if side == "challenger" else None
            questions = numbered.of(side, turn.item, turn.history, commit, mark)
            yield Expected(turn.item, [question.request for question in questions])


def audits(turns: list[PlannedTurn], settings: Settings) -> Iterator[Expected]:
    """What the auditor is asked if nothing keeps a turn out."""
    known = [(turn, turn.commit) for turn in turns if turn.commit is not None]
    for turn, commit in known[:: round(1 / auditor.SHARE)]:
        asked = audit.request(settings, turn.item, turn.answer, commit, fence.nonce(b"", turn.item))
        yield Expected(turn.item, [asked])


def rewrites(turns: list[PlannedTurn], settings: Settings) -> Iterator[Expected]:
    """What `duel refine` will ask in all its rounds, and the judges of what it writes."""
    chosen = turns[::REFINED_EVERY]
    for place, (turn, asked) in enumerate(zip(chosen, written("challenger", chosen, settings), strict=False)):
        votes = rewrite_votes(asked.item, turn.answer, REPLY, settings, place)
        yield Expected(asked.item, [asked.asked[0], *votes] * settings.refine.rounds)


def rewrite_votes(item: str, answer: Answer, own: str, settings: Settings, place: int) -> list[Request]:
    """The votes on a rewrite of `own`: by coaches, by held-out judges against king and parent, and on the control."""
    opponent = answer.king if settings.duel.mode == 2 else answer.assistant
    pair = rubric.JudgedPair(item, answer.messages, opponent, own + ".")
    deciding = panel_settings(settings, "king")
    control = [replace(pair, challenger=own)] * (place < settings.refine.control)
    votes = rubric.requests(pair, panel_settings(settings, "coach"), b"")
    asked = [rubric.requests(each, deciding, b"") for each in (pair, replace(pair, opponent=own), *control)]
    return [request for each in (votes, *asked) for (judge, _), request in each.items() if not judge.startswith(RULE)]
