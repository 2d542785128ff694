"""Sample single turns of coding agents, and mirror the pull requests behind them.

    prompt.py                    from the datasets that chain.toml names, on the Hub
    prompt.py --source runs/ --pulls pulls.parquet

reads   trajectories and pull requests: datasets on the Hub, or local parquet files in their columns
writes  prompt/prompts_<N>_<k>.json, commit/<instance_id>.json, report/hugePR.md, report/sampling.json

The draw has two stages: files in proportion to their rows, then distinct pull requests inside them, one rollout each,
one turn a rollout. The same seed and revision give the same bytes. A pull request that does not belong to its rollout,
is part of a benchmark or has a refused license is left out, and the next takes its place.
"""

from __future__ import annotations

from argparse import Namespace
from functools import cache

from duel import settings as settings_file
from duel.audit.contamination import Benchmarks
from duel.bookkeeping import Result
from duel.command import say
from duel.errors import EXIT_FINISHED, printable
from duel.offline import overrides
from duel.sections import SampleSection
from duel.settings import Settings
from duel.sources import account, replacing, sampling
from duel.sources.admission import choose
from duel.sources.hub import Hub
from duel.sources.output import Output, fingerprint, read_mark
from duel.sources.parquet_tables import ParquetTable, from_command_line, open_table
from duel.sources.pulls import Pulls
from duel.stages import estimate
from duel.stages.opening import opened
from duel.workspace import Workspace


def run(
    workspace: Workspace,
    settings: Settings,
    *,
    again: bool = False,
    offline: bool = False,
    configured: SampleSection | None = None,
) -> Result:
    """From two sources to prompts and pull requests on disk. `again` draws anew, from the newest revision.

    `configured` is what chain.toml alone asks for; a later run without flags keeps this draw as long as it is the same.
    """
    with workspace.lock("prompt", "prompt.py"):
        # 1. The two sources, at one revision each, and what must not be drawn from them.
        trajectories, pulls = sources(workspace, settings, again, offline)
        output = Output(workspace, settings, fingerprint(settings, trajectories, pulls, workspace))
        output.asked = {
            "sample": settings.sample.model_dump(mode="json"),
            "configured": (configured or settings.sample).model_dump(mode="json"),
        }
        account.say_other_draws(output)
        if not again and account.say_finished(output):
            return Result("prompt")
        benchmarks = Benchmarks.load(settings, workspace, offline=offline)

        # 2. Files, and in them one turn of each pull request.
        say(f"drawing {settings.sample.n:,} turns from {trajectories.name} at {trajectories.revision[:18]}")
        changed = Pulls(pulls).changed() if pulls and "first-read" in settings.sample.weights else {}
        pool = sampling.fill(settings, trajectories, say, changed, workspace.private, pulls)

        # 3. Of these, the ones that belong to their pull request, are part of no benchmark and have an allowed license.
        mirror = Pulls(pulls) if pulls else None
        choice = choose(pool, settings, mirror, benchmarks)
        if not choice.turns:
            raise account.nothing_drawn(pool, choice)

        # 4. On disk: pull requests, prompts, pages, and last the mark that all of it is there.
        output.begin()
        if mirror:
            choice.keep(output.save_commits(mirror.commits(choice.ids)), mirror.damaged)
        output.save_prompts(sampling.prompts(choice.turns, pool, len(choice.looked_at)))
        if output.replaces:
            replacing.retire_prompts(workspace, {workspace.root / name for name in output.written})
        if workspace.answer_folders() or workspace.attic.exists():
            with workspace.lock("answer", "prompt.py"), workspace.lock("score", "prompt.py"):
                replacing.replace(workspace, settings.store.answers_per_dir)
        page = account.page(pool, choice, pulls, benchmarks, output.huge)
        workspace.save_dropped("prompt", [*pool.unusable, *choice.dropped])
        output.finish(page)
        account.say_drawn(pool, choice, benchmarks, output.huge)
        return Result("prompt", found=page)


def sources(
    workspace: Workspace, settings: Settings, again: bool, offline: bool
) -> tuple[ParquetTable, ParquetTable | None]:
    asked = settings.sample
    hub = None if offline else cache(lambda: Hub(workspace, again=again))
    trajectories = open_table(asked.dataset, workspace, hub, revision=asked.revision, pattern=asked.shard_glob)
    pulls = open_table(asked.pulls, workspace, hub, revision=asked.pulls_revision) if asked.pulls else None
    return trajectories, pulls


def main(arguments: Namespace) -> int:
    workspace, settings, configured = opened_draw(arguments)
    given = {"again": arguments.again, "offline": arguments.offline}
    if not arguments.plan:
        return run(workspace, settings, configured=configured, **given).exit_code
    account.say_plan(*sources(workspace, settings, **given), settings)
    return EXIT_FINISHED


def opened_draw(arguments: Namespace) -> tuple[Workspace, Settings, SampleSection]:
    """The workspace, the settings with the draw that is asked for, and what chain.toml alone asks for.

    A flag wins. Without any, a draw that was made here is kept while `[sample]` is what it was then. A source that is
    named on the command line wins over the bundled sample.
    """
    keys = {
        "dataset": from_command_line(arguments.source),
        "pulls": from_command_line(arguments.pulls),
        **{name: getattr(arguments, name) for name in ("n", "files", "seed")},
    }
    flags = {("sample", key): value for key, value in keys.items() if value is not None}
    workspace, settings = opened(arguments, begins=True, flags=flags)
    if not flags:
        return workspace, remembered(workspace, settings), settings.sample
    return workspace, settings, settings_file.load(workspace.root, *overrides(arguments.offline)).sample


def remembered(workspace: Workspace, settings: Settings) -> Settings:
    """`settings` with the draw that lies in the workspace, if it was made from the same `[sample]` with other flags."""
    mark, configured = read_mark(workspace), settings.sample.model_dump(mode="json")
    usual = SampleSection().model_dump(mode="json")  # of keys that the draw is older than
    if "sample" not in mark or usual | mark["sample"] == configured:
        return settings
    if usual | mark["configured"] != configured:
        cost = estimate.cost_of(estimate.plans(estimate.typical(settings), workspace, settings))
        say("[sample] has changed since the draw that lies here: it is drawn anew")
        say(f"to answer and judge {configured['n']:,} turns costs {cost}")
        return settings
    try:
        sample = SampleSection.model_validate(mark["sample"])
    except ValueError:
        return settings
    say(f"keeping the draw of {sample.n:,} turns from {printable(sample.dataset)}; --source or --n draws another")
    return settings.model_copy(update={"sample": sample})
