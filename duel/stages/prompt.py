"""Sample single turns of coding agents, and mirror the pull requests behind them.

    prompt.py                    from the datasets that chain.toml names, on the Hub
    prompt.py --source runs/ --pulls pulls.parquet

reads   trajectories and pull requests: datasets on the Hub, or local parquet files in their columns
writes  prompt/prompts_<N>_<k>.json, commit/<instance_id>.json, report/hugePR.md, report/sampling.json

The draw has two stages: files in proportion to their rows, then distinct pull requests inside them, one rollout each,
one turn a rollout. The same seed and revision give the same bytes. A pull request that does not belong to its rollout,
is part of a benchmark or has a refused license is left out, and the next takes its place.
"""

from argparse import Namespace
from functools import partial

from duel import settings as settings_file
from duel.audit.contamination import Benchmarks
from duel.bookkeeping import Result
from duel.command import say
from duel.errors import EXIT_FINISHED, printable
from duel.offline import overrides
from duel.sections import SampleSection
from duel.settings import Settings
from duel.sources import output, sampling
from duel.sources.admission import choose
from duel.sources.parquet_tables import ParquetTable, from_command_line, open_table
from duel.sources.pulls import Pulls
from duel.sources.sampling import shuffled
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
        made_with = output.fingerprint(settings, trajectories, pulls, workspace)
        written = output.Output(workspace, settings, made_with, configured or settings.sample)
        written.say_others()
        if not again and written.is_finished():
            return Result("prompt")
        benchmarks = Benchmarks.load(settings, workspace, offline=offline)

        # 2. Files, and in them one turn of each pull request.
        say(f"drawing {settings.sample.n:,} turns from {trajectories.name} at {trajectories.revision[:18]}")
        mirror = Pulls(pulls) if pulls else None
        changed = mirror.changed() if mirror and "first-read" in settings.sample.weights else {}
        pool = sampling.fill(settings, trajectories, say, changed, workspace.private, pulls)

        # 3. Of these, the ones that belong to their pull request, are part of no benchmark and have an allowed license.
        choice = choose(pool, settings, mirror, benchmarks)
        if not choice.turns:
            raise choice.nothing_drawn()

        # 4. On disk: pull requests, prompts, pages, and last the mark that all of it is there.
        written.begin()
        if mirror:
            choice.keep(written.save_commits(mirror.commits(choice.ids)), mirror.damaged)
        written.save_prompts(sampling.prompts(choice.turns, pool, len(choice.looked_at)))
        if workspace.answer_folders() or workspace.attic.exists():
            with workspace.lock("answer", "prompt.py"), workspace.lock("score", "prompt.py"):
                output.take_over(workspace, settings.store.answers_per_dir)
        page = choice.page(pulls, benchmarks, written.huge)
        workspace.save_dropped("prompt", [*pool.left.rows, *choice.left.rows])
        written.finish(page)
        choice.say(benchmarks, written.huge)
        return Result("prompt", found=page)


def sources(
    workspace: Workspace, settings: Settings, again: bool, offline: bool
) -> tuple[ParquetTable, ParquetTable | None]:
    asked, table = settings.sample, partial(open_table, again=again, offline=offline)
    trajectories = table(asked.dataset, workspace, asked.revision, asked.shard_glob)
    return trajectories, table(asked.pulls, workspace, asked.pulls_revision) if asked.pulls else None


def main(arguments: Namespace) -> int:
    workspace, settings, configured = opened_draw(arguments)
    if arguments.plan:
        say_plan(*sources(workspace, settings, arguments.again, arguments.offline), settings.sample)
        return EXIT_FINISHED
    how = {"again": arguments.again, "offline": arguments.offline}
    return run(workspace, settings, configured=configured, **how).exit_code


def say_plan(trajectories: ParquetTable, pulls: ParquetTable | None, sample: SampleSection) -> None:
    first = shuffled(sample.seed, "file", trajectories.sizes)[: sample.files]
    for table, names in [(trajectories, first), *([(pulls, list(pulls.sizes))] if pulls else [])]:
        missing = {name: table.sizes[name] / 1e6 for name in names if table.missing(name)}
        say(f"{table.name} at {table.revision[:18]}: {len(names):,} of {len(table.sizes):,} files")
        say(f"  to download: {len(missing):,} files, {sum(missing.values()):,.0f} MB; the others are on this machine")
        for name, size in missing.items():
            say(f"  {size:10,.1f} MB  {printable(name, 120)}")
    say(f"then {sample.n:,} prompts; no model is called")


def opened_draw(arguments: Namespace) -> tuple[Workspace, Settings, SampleSection]:
    """The workspace, the settings with the draw that is asked for, and what chain.toml alone asks for.

    A flag wins. Without any, a draw that was made here is kept while `[sample]` is what it was then. A source that is
    named on the command line wins over the bundled sample.
    """
    keys = {name: getattr(arguments, name) for name in ("n", "files", "seed")}
    keys |= {"dataset": from_command_line(arguments.source), "pulls": from_command_line(arguments.pulls)}
    flags = {("sample", key): value for key, value in keys.items() if value is not None}
    workspace, settings = opened(arguments, begins=True, flags=flags)
    if not flags:
        return workspace, remembered(workspace, settings), settings.sample
    return workspace, settings, settings_file.load(workspace.root, *overrides(arguments.offline)).sample


def remembered(workspace: Workspace, settings: Settings) -> Settings:
    """`settings` with the draw that lies in the workspace, if it was made from the same `[sample]` with other flags."""
    mark, configured = output.read_mark(workspace), settings.sample.model_dump(mode="json")
    usual = SampleSection().model_dump(mode="json")  # of keys that the draw is older than
    if "sample" not in mark or usual | mark["sample"] == configured:
        return settings
    if usual | mark["configured"] != configured:
        from duel.stages import estimate

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
