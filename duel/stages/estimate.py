"""What a whole run will ask for, before any of it is asked: one job a turn for each of the paying stages."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from duel import calls, candidates, fence
from duel.audit import auditor
from duel.bookkeeping import Stage
from duel.calls import Request
from duel.judging import rubric
from duel.records import Answer, Commit, Message, Side
from duel.refining.rewrites import panel_settings
from duel.settings import Settings
from duel.stages import choose
from duel.workspace import Workspace

# What is assumed of a turn that is not drawn yet, in bytes. The dataset's 12.29 million rollouts hold about 112 billion
# tokens, 9,100 each; a turn is drawn from anywhere in one, so that half of it stands before the turn. At 3.8 bytes a
# token (the median of 41 real rollouts) that is 17 KB. A pull request's record took 5.2 KB in the mean of 39 real bug
# fixes; the dataset also holds features, so twice that and more.
HISTORY_BYTES = 17_000
PULL_BYTES = 12_000
REPLY = "x" * 850  # a candidate as the judges see it: the mean of 1,250 real turns
TYPICAL = partial(Answer, king=REPLY, challenger=REPLY + ".")
REFINED_EVERY = 4  # turns of which one ends in refined/: a quarter to a fifth did in trials
SAMPLED_FILES = 10  # files of 200 turns that are looked at, at least: at 100,000 turns all of them took 139 s


class PlannedTurn(NamedTuple):
    item: str
    answer: Answer  # with its history, and what a king and a challenger write on average
    commit: Commit | None

    def votes(self, settings: Settings) -> list[Request]:
        return votes(rubric.pair_of(self.item, self.answer, settings.duel.mode), settings)


Sample = tuple[list[PlannedTurn], float]  # turns, and how many turns of the run each of them stands for


def sample(workspace: Workspace, settings: Settings) -> Sample:
    """Prompts that are there, else a typical one."""
    if not (every := workspace.prompt_files()):
        return typical(settings)
    files = every[:: max(1, len(every) // SAMPLED_FILES)]
    stage = Stage("plan", workspace, settings)
    looked_at, turns = 0, []
    for stem, _, prompt in workspace.prompts(stage.damage, files):
        looked_at += 1
        commit = stage.pull_request(prompt.instance_id)
        if not stage.is_left_out(stem, prompt.instance_id, commit):
            history = candidates.fitted_history(prompt.messages, settings, commit)
            turns.append(PlannedTurn(stem, TYPICAL(instance_id=prompt.instance_id, messages=history), commit))
    return turns, 1.0 if len(files) == len(every) or not looked_at else workspace.count_prompts() / looked_at


def typical(settings: Settings) -> Sample:
    history = [Message(role="system", content="rules"), Message(role="user", content="x" * HISTORY_BYTES)]
    commit = Commit(instance_id="a turn", patch="x" * PULL_BYTES)
    return [PlannedTurn("a turn", TYPICAL(instance_id="a turn", messages=history), commit)], settings.sample.n


def plans(
    sample: Sample, workspace: Workspace, settings: Settings, *, again: bool = False, offline: bool = False
) -> list[calls.Plan]:
    """What the paying stages would ask of these turns. Nothing is asked or written."""
    turns, weight = sample
    jobs = {
        "king": written("king", turns, settings),
        "challenger": written("challenger", turns, settings),
        "judge": (calls.OpenTurn(turn.item, partial(turn.votes, settings)) for turn in turns),
    }
    if settings.choosers:  # a duel less than there are candidates, on each side
        duels = sum(len(settings.writers(side)) - 1 for side in choose.sides(settings))
        choosing = choose.judged_by_choosers(settings)
        jobs[choose.NAME] = (calls.OpenTurn(turn.item, partial(list, turn.votes(choosing) * duels)) for turn in turns)
    if settings.audit.auditor:
        jobs[auditor.STAGE] = audits(turns, settings)
    if settings.refine.held_out:
        jobs["refine"] = rewritten(turns, settings)
    plan = partial(calls.plan, workspace=workspace, settings=settings, again=again, offline=offline)
    return [plan(asked, stage=stage).times(weight) for stage, asked in jobs.items()]


def cost_of(plans: list[calls.Plan]) -> str:
    known = [plan.cost for plan in plans if plan.cost is not None]
    unknown = "" if len(known) == len(plans) else " and what has an unknown price"
    return f"at most ${sum(known):,.2f}{unknown}"


def written(side: Side, turns: Sequence[PlannedTurn], settings: Settings) -> Iterator[calls.OpenTurn]:
    """Without a pull request ch.py drops the turn, or asks a second blind writer in mode 1."""
    numbered = candidates.Numbered(settings)
    for item, answer, commit in turns:
        if side == "king" or commit is not None or settings.duel.mode == 1:
            mark = fence.nonce(b"", item)  # a plan writes nothing, and an unmade secret would have to be written
            questions = numbered.of(side, item, answer.messages, commit if side == "challenger" else None, mark)
            yield calls.OpenTurn(item, partial(list, [question.request for question in questions]))


def audits(turns: Sequence[PlannedTurn], settings: Settings) -> Iterator[calls.OpenTurn]:
    """What the auditor is asked if nothing keeps a turn out."""
    known = [(item, answer, commit) for item, answer, commit in turns if commit is not None]
    for item, answer, commit in known[:: round(1 / auditor.SHARE)]:
        asked = auditor.question(settings, item, answer, commit, fence.nonce(b"", item))
        yield calls.OpenTurn(item, partial(list, [asked]))


def rewritten(turns: Sequence[PlannedTurn], settings: Settings) -> Iterator[calls.OpenTurn]:
    """What `duel refine` will ask in all its rounds, and the judges of what it writes."""
    answers = {turn.item: turn.answer for turn in turns}
    for place, asked in enumerate(written("challenger", turns[::REFINED_EVERY], settings)):
        once = rewrite_requests(asked.requests()[0], answers[asked.item], REPLY, settings, place)
        yield calls.OpenTurn(asked.item, partial(list, once * settings.refine.rounds))


def rewrite_requests(rewrite: Request, answer: Answer, own: str, settings: Settings, place: int) -> list[Request]:
    """The rewrite of `own`, the one at `place` of those that wait, and the votes on it: by coaches, by held-out judges
    against king and parent, and on the control.
    """
    opponent, deciding = answer.king if settings.duel.mode == 2 else answer.assistant, panel_settings(settings, "king")
    pair = rubric.JudgedPair(rewrite.item, answer.messages, opponent, own + ".")
    control = [replace(pair, challenger=own)] * (place < settings.refine.control)
    decided = [vote for each in (pair, replace(pair, opponent=own), *control) for vote in votes(each, deciding)]
    return [rewrite, *votes(pair, panel_settings(settings, "coach")), *decided]


def votes(pair: rubric.JudgedPair, settings: Settings) -> list[Request]:
    return list(rubric.requests(pair, settings, b"").values())
