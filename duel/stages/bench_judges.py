"""Ask the judges about pairs whose better side is known: which judges are worth their price, and do I need three?

    duel bench-judges --labels FILE        published verdicts (LLMBar's or PandaLM's table); no call

reads   trajectories ([sample] dataset), pull requests, answer_*/ where `duel execute` ran
writes  report/judges.json

Known by construction: a sound recorded turn against the same turn with one flaw. Known by execution: both commands ran,
and one failed. Controls have no better side. Each pair is asked in both orders; where [execute] backend can run both
commands, once without and once with what they printed.
"""

import asyncio
from argparse import Namespace
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from duel import calls
from duel.bookkeeping import Result, Stage
from duel.command import say, say_error
from duel.errors import EXIT_FINISHED, EXIT_OPEN, SourceError, UserError
from duel.execution import backends
from duel.execution.executor import closing
from duel.execution.replay import Task, as_done, observe
from duel.judging import known_truth, rubric
from duel.judging.known_truth import ALL, KnownPair, Says
from duel.judging.panel import OpenPair, Panel
from duel.records import Answer
from duel.settings import Settings
from duel.stages import asking, execute, verify
from duel.stages.opening import options
from duel.synchronous import synchronous
from duel.workspace import Workspace

NAME = "bench-judges"
ARMS, SIDES = ("without", "with"), ("better", "worse")
LINE = "{:<34}{:<24}{:>6}{:>10}{:>16}{:>7}{:>9}{:>10}"


@dataclass
class KnownQuestion(OpenPair):
    """One pair before the panel; its votes are kept in memory, the replies behind them in the ledger."""

    known: KnownPair = field(kw_only=True)
    arm: str = field(kw_only=True)
    votes: list[Any] = field(default_factory=list)

    async def work(self, ask: calls.Ask) -> None:
        self.votes = await asyncio.gather(*(self._vote(ask, key, None) for key in list(self.questions)))


async def run_async(workspace: Workspace, settings: Settings, **named: Any) -> Result:
    """Ask about some pairs of each kind; `named` are the options of the command line by name."""
    asked = options(NAME, named)
    if asked.labels:
        pairs, said = known_truth.read_labels(Path(asked.labels))
        found: dict[str, Any] = {"labels": Path(asked.labels).name, "without": figures(pairs, said, {})}
        tell(workspace, found)
        return Result(NAME, found=found)
    settings = asking.limited(workspace, settings, asked.budget)
    return await asking.in_rounds(partial(round_of_votes, workspace, settings, asked))


run = synchronous(run_async)


async def round_of_votes(workspace: Workspace, settings: Settings, given: Namespace) -> Result:
    stage = Stage(NAME, workspace, settings, given.again, given.offline)
    with workspace.lock("bench", "duel bench-judges"):
        jobs = questions(stage, await with_observations(stage, drawn(workspace, settings, given)))
        summary = await asking.drive(jobs, stage, role="judge", total=len(jobs))
    found: dict[str, Any] = {}
    for arm in ARMS:
        asked = [job for job in jobs if job.arm == arm and job.votes]
        said: defaultdict[tuple[str, str], tuple[float | None, ...]] = defaultdict(tuple)
        costs: defaultdict[tuple[str, str], float] = defaultdict(float)
        for job in asked:
            better = known_truth.better_is_challenger(job.known)
            for vote in job.votes:  # the mean over what counts, from the better side; None where it did not parse
                mean = rubric.vote_points(vote, settings) / 100 if vote.parsed else None
                said[vote.judge, job.known.id] += (mean if better or mean is None else 1 - mean,)
                costs[vote.judge, job.known.id] += vote.cost or 0.0
        found[arm] = figures([job.known for job in asked], said, costs)
    tell(workspace, found)
    result = stage.finish(summary, found)
    open_votes = any(row["unparsed"] for arm in ARMS for row in found[arm]["judges"])
    return replace(result, exit_code=result.exit_code or (EXIT_OPEN if open_votes else EXIT_FINISHED))


def plan(workspace: Workspace, settings: Settings, **named: Any) -> calls.Plan:
    """What `run` would ask at least, and at most cost: evidence, where commands can be run, is asked on top."""
    asked = options(NAME, named)
    pairs = [] if asked.labels else drawn(workspace, settings, asked)
    stage = Stage(NAME, workspace, settings, asked.again, asked.offline)
    return asking.planned(questions(stage, pairs), stage)


def drawn(workspace: Workspace, settings: Settings, given: Namespace) -> list[KnownPair]:
    """At most `each` pairs of a kind, from as many `rollouts`. Raises SourceError where there are none."""
    told = (known_truth.by_execution(path.stem, answer) for path, answer in workspace.answers([]))
    pairs = [pair for pair in told if pair is not None]
    for row in islice(verify.rollouts_of(workspace, settings, "", given.offline), given.rollouts):
        pairs += known_truth.by_construction(row.instance_id, row.messages(), f"@{row.row}")
    if not pairs:
        raise SourceError("no rollout yields a pair with a known better side", where=settings.sample.dataset)
    return known_truth.draw(pairs, given.each, settings.duel.seed)


async def with_observations(stage: Stage, pairs: list[KnownPair]) -> list[KnownPair]:
    """The pairs, with what both commands did where they can be run here."""
    workspace, settings, offline = stage.workspace, stage.settings, stage.offline
    if settings.execute.backend == "off":
        return pairs
    try:
        executor = backends.open_executor(workspace, settings, offline=offline)
    except UserError as error:
        say_error(error)
        say("going on without execution: judges are asked without evidence")
        return pairs
    commits = verify.pull_requests(workspace, settings, list({pair.instance_id for pair in pairs}), offline)
    found = {pair.id: pair for pair in pairs}
    tasks = (
        Task(
            pair.id,
            execute.start_of(commit, pair.messages),
            pair.messages,
            {side: getattr(pair, side) for side in SIDES},
        )
        for pair in sorted(pairs, key=lambda pair: pair.instance_id)
        if (commit := commits.get(pair.instance_id)) and pair.evidence is None
    )
    async with closing(executor):
        work = partial(observe, executor, rules=backends.rules(settings))
        async for task, seen in as_done(work, tasks, backends.workers(settings)):
            found[task.key] = replace(found[task.key], evidence=(seen["better"], seen["worse"]))
    return list(found.values())


def questions(stage: Stage, pairs: Sequence[KnownPair]) -> list[KnownQuestion]:
    """A question for each pair without, and where it was run another with what both commands did."""
    panel, made = Panel(stage), []
    for known in pairs:
        better = known_truth.better_is_challenger(known)
        king, challenger = (known.worse, known.better) if better else (known.better, known.worse)
        pair = rubric.JudgedPair(known.id, known.messages, king, challenger)
        told = {"instance_id": known.instance_id, "king": king, "challenger": challenger}
        answer = Answer(**told, messages=list(known.messages))
        made.append(KnownQuestion(panel, pair, answer, None, known=known, arm="without"))
        if known.evidence and rubric.fair(*known.evidence):
            good, bad = map(rubric.told, known.evidence)
            seen = replace(pair, item=f"{known.id}#observed", observed=(bad, good) if better else (good, bad))
            made.append(KnownQuestion(panel, seen, answer, None, known=known, arm="with"))
    return made


def figures(pairs: Sequence[KnownPair], said: Says, costs: dict[tuple[str, str], float]) -> dict[str, Any]:
    judges = known_truth.judge_table(pairs, said, costs)
    return {"judges": judges, "panels": known_truth.panel_figures(pairs, said)}


def tell(workspace: Workspace, found: dict[str, Any]) -> None:
    """Save the figures, and print them: judges by kind, then the panel with and without each judge."""
    workspace.save_page(workspace.report / "judges.json", found)
    for arm in (arm for arm in ARMS if arm in found and found[arm]["judges"]):
        print(f"\n{found.get('labels') or f'{arm} evidence'}")
        print(LINE.format("judge", "kind", "pairs", "accuracy", "95 %", "flips", "abstain", "a dollar"))
        part = found[arm]
        for row in sorted(part["judges"], key=lambda row: (row["kind"] != ALL, row["kind"], -(row["accuracy"] or 0))):
            span = " - ".join(f"{100 * end:.1f}" for end in row["interval"] or ())
            dollar = "" if row["known_a_dollar"] is None else f"{row['known_a_dollar']:,.0f}"
            accuracy = "" if row["accuracy"] is None else f"{100 * row['accuracy']:.1f} %"
            abstains = f"{100 * (row['abstention'] or 0):.1f} %"
            name, kind = row["judge"][:33], row["kind"][:23]
            print(LINE.format(name, kind, row["pairs"], accuracy, span, row["flips"], abstains, dollar))
        for row in part["panels"]:
            name = f"the panel without {row['without']}" if row["without"] else "the whole panel"
            worth = "" if row["effective_votes"] is None else f", worth {row['effective_votes']:.2f} independent votes"
            print(f"{name}: {100 * row['accuracy']:.1f} % right on {row['pairs']:,} pairs{worth}")
