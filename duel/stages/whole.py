"""Run all stages in order: prompt.py, king.py, ch.py, the audit, validate.py, report.py.

    run.py --offline         all of it with the bundled sample and the stand-in endpoint
    run.py --plan            what a run would call and cost, before a cent is spent
    run.py                   the real thing; run it again after an interruption
    run.py --source runs/    the same with trajectories of your own, as prompt.py takes them

Each stage reads what the one before it wrote. Where a side has several candidates, one is chosen before the audit. The
audit comes before the judges: no call is spent on a turn that cannot be kept. If some items of a stage stay open, the
others go on and the run ends with exit code 1; if the user must change something, or a stage fails in a way that nobody
foresaw, it stops there.
"""

from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import Any

from duel import calls
from duel.bookkeeping import Result
from duel.command import say
from duel.errors import EXIT_FINISHED, EXIT_OPEN, UserError
from duel.execution.backends import BACKENDS
from duel.sections import SampleSection
from duel.settings import Settings
from duel.sources.output import read_mark
from duel.stages import audit, challenger, choose, estimate, execute, king, prompt, refine, report, review, validate
from duel.stages.asking import limited
from duel.stages.doctor import check
from duel.stages.opening import taken_by
from duel.workspace import SHARD_FILE, Workspace

FURTHER = 12  # turns of the noise floor and of the canary in an offline run: enough to show both in the report


def run(
    workspace: Workspace,
    settings: Settings,
    *,
    again: bool = False,
    budget: float | None = None,
    offline: bool = False,
    configured: SampleSection | None = None,
    check_models: bool = False,
) -> Result:
    """Run the stages; `budget`, in dollars, is one for all of them. `found` is what the report found.

    Before the first download the key, the address and the models are checked; `check_models` also asks each model for
    one token. `configured`: see `duel.stages.prompt.run`. Prompts that were put there by hand are taken as they are.
    """
    if (workspace.root / SHARD_FILE).exists() and not workspace.count_prompts():
        say("this shard has no turns")
        return Result("run")
    settings = limited(workspace, settings, budget)
    asked: dict[str, Any] = {"again": again, "offline": offline}
    if not offline and (check_models or not workspace.prompt_files()):
        check(workspace, settings, ask_models=check_models)
    if settings.execute.backend != "off":
        _ = BACKENDS[settings.execute.backend]  # a misspelled one is told before anything is done

    votes = partial(review.run, workspace, settings, offline=True)
    further: dict[str, Any] = {"noise_floor": FURTHER, "canary": FURTHER, "confirm": True, "before_verdict": votes}
    further = further if offline else {}  # there a contest costs nothing, and rules vote in place of people
    stages: dict[str, Callable[[], Result]] = {"prompt": lambda: draw(workspace, settings, offline, configured)}
    stages["king"] = lambda: king.run(workspace, settings, **asked)
    stages["challenger"] = lambda: challenger.run(workspace, settings, **asked)
    if settings.execute.backend != "off":
        stages["execute"] = lambda: execute.where_possible(workspace, settings, offline=offline)
    if settings.most_candidates > 1:
        stages["choose"] = lambda: choose.run(workspace, settings, **asked)
    stages["audit"] = lambda: audit.run(workspace, settings, **asked)
    stages["validate"] = lambda: validate.run(workspace, settings, **further, **asked)
    for number in range(1, settings.refine.rounds + 1 if settings.refine.held_out else 1):
        stages[f"refine, round {number}"] = lambda: refine.run(workspace, settings, **asked)
        stages[f"validate, round {number}"] = lambda: validate.run(workspace, settings, **asked)
    stages["report"] = lambda: report.run(workspace, settings)
    code, result = EXIT_FINISHED, Result("run")
    for number, (name, stage) in enumerate(stages.items(), start=1):
        say(f"\n[{number}/{len(stages)}] {name}")
        result = stage()
        if result.exit_code not in (EXIT_FINISHED, EXIT_OPEN):
            return result
        code = max(code, result.exit_code)
    return Result("run", code, result.found)


def draw(workspace: Workspace, settings: Settings, offline: bool, configured: SampleSection | None) -> Result:
    """Draw, unless prompts from elsewhere lie there; say what the turns need that the mode asks for."""
    if workspace.prompt_files() and not read_mark(workspace):
        say("prompt/ holds prompts that were not drawn here: they are taken as they are")
        result = Result("prompt")
    else:
        result = prompt.run(workspace, settings, offline=offline, configured=configured)
    if settings.duel.mode == 2 and next(workspace.commits([]), None) is None:
        what = "mode 2 needs the pull request of each turn: the challenger is written with it in hand"
        hint = "DUEL_MODE=1 judges a second writer against the dataset's own turn instead"
        raise UserError(what, where=workspace.root / "commit", hint=hint)
    return result


def plan(workspace: Workspace, settings: Settings, *, again: bool = False, offline: bool = False) -> list[calls.Plan]:
    """What the paying stages would ask, and at most cost. Nothing is asked, downloaded or written."""
    turns, weight = estimate.sample(workspace, settings)
    assumed = f"{settings.sample.n:,} turns of the dataset's average length are assumed"
    if not workspace.prompt_files():
        say(f"no prompt is drawn yet: {assumed}")
    elif is_drawn_anew(workspace, settings):
        say(f"another draw lies here, of {workspace.count_prompts():,} turns: {assumed}")
        turns, weight = estimate.typical(settings)
    elif weight > 1:
        fresh = ", as if none were answered" if workspace.answer_folders() else ""
        say(f"estimated from {len(turns):,} of {workspace.count_prompts():,} turns{fresh}")
    elif workspace.answer_paths():
        return begun(turns, workspace, settings, again=again, offline=offline)
    return estimate.plans((turns, weight), workspace, settings, again=again, offline=offline)


def begun(
    turns: list[estimate.PlannedTurn], workspace: Workspace, settings: Settings, *, again: bool, offline: bool
) -> list[calls.Plan]:
    """Each stage's own plan of what has come to it, and what is expected of the turns that stages before it change."""
    expected = partial(estimate.plans, workspace=workspace, settings=settings, again=again, offline=offline)
    asked = {"again": again, "offline": offline}
    kings, challengers = king.plan(workspace, settings, **asked), challenger.plan(workspace, settings, **asked)
    unwritten = [turn for turn in turns if turn.item in kings.names - challengers.names]
    names = kings.names | challengers.names
    if settings.execute.backend != "off":  # what a command is seen to do is shown to the judges
        names |= {path.stem for path, one in workspace.answers([]) if any(c.observed is None for c in one.candidates)}
    changed = [turn for turn in turns if turn.item in names]
    plans = {plan.stage: plan for plan in expected((changed, 1.0))} | {"king": kings}
    [further] = [plan for plan in expected((unwritten, 1.0)) if plan.stage == "challenger"]
    plans["challenger"] = challengers + further
    plans["judge"] += validate.plan(workspace, settings, without=names, **asked)
    if settings.audit.auditor:
        plans[audit.Suspects.NAME] += audit.plan(workspace, settings, side="challenger", **asked)
    if settings.refine.held_out:  # which turns it takes is known once they are judged
        plans |= {plan.stage: plan for plan in expected((turns, 1.0)) if plan.stage == "refine"}
    return list(plans.values())


def is_drawn_anew(workspace: Workspace, settings: Settings) -> bool:
    """True where a run replaces the draw that lies here, because [sample] or a flag asks for another one."""
    made, usual = read_mark(workspace).get("sample"), SampleSection().model_dump(mode="json")
    return made is not None and usual | made != settings.sample.model_dump(mode="json")


def main(arguments: Namespace) -> int:
    workspace, settings, configured = prompt.opened_draw(arguments)
    if not arguments.plan:
        return run(workspace, settings, configured=configured, **taken_by(run, arguments)).exit_code
    plans = plan(workspace, settings, **taken_by(plan, arguments))
    for stage in plans:
        stage.say()
    batches = f", by batch at most ${sum(stage.batch_cost for stage in plans):,.2f}" if plans[0].batch_h else ""
    print(f"in all: {sum(stage.calls for stage in plans):,} calls, {estimate.cost_of(plans)}{batches}")
    return EXIT_FINISHED
