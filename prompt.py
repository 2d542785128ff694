#!/usr/bin/env python3
"""Sample single turns of coding agents, and mirror the pull requests behind them.

    python prompt.py                    from the datasets that chain.toml names, on the Hub
    python prompt.py --source runs/ --pulls pulls.parquet
    python prompt.py --plan             what would be downloaded
    python prompt.py --offline          the bundled sample: no key, no network

reads   trajectories and pull requests: datasets on the Hub, or local parquet files in their columns
writes  prompt/prompts_<N>_<k>.json, commit/<instance_id>.json, report/hugePR.md, report/sampling.json

The draw has two stages: files in proportion to their rows, then distinct pull requests inside them, one rollout each,
one turn a rollout. The same seed and revision give the same bytes. A pull request that does not belong to its rollout,
is part of a benchmark or has a refused licence is left out, and the next takes its place.
"""

from __future__ import annotations

from argparse import Namespace
from functools import cache

from duel import command, offline, settings
from duel.command import say
from duel.errors import EXIT_FINISHED
from duel.settings import Settings
from duel.workspace import Workspace


def main() -> int:
    """The stage, from the command line to the exit code."""
    arguments = parse()
    workspace = Workspace(arguments.workspace)
    chosen = load(arguments, workspace)
    with workspace.lock("prompt", "prompt.py"):
        return sample(arguments, workspace, chosen)


def sample(arguments: Namespace, workspace: Workspace, chosen: Settings) -> int:
    """From two sources to prompts and pull requests on disk."""
    from duel.audit.contamination import Benchmarks
    from duel.sources import account, sampling
    from duel.sources.admission import choose
    from duel.sources.hub import Hub
    from duel.sources.output import Output, fingerprint
    from duel.sources.pulls import Pulls
    from duel.sources.table import open_table

    # 1. The two sources, at one revision each, and what must not be drawn from them.
    asked = chosen.sample
    hub = None if arguments.offline else cache(lambda: Hub(workspace, again=arguments.again))
    trajectories = open_table(asked.dataset, workspace, hub, revision=asked.revision, pattern=asked.shard_glob)
    pulls = open_table(asked.pulls, workspace, hub, revision=asked.pulls_revision) if asked.pulls else None
    if arguments.plan:
        account.say_plan(trajectories, pulls, chosen)
        return EXIT_FINISHED
    output = Output(workspace, chosen, fingerprint(chosen, trajectories, pulls, workspace))
    account.say_other_draws(output)
    if not arguments.again and account.say_finished(output):
        return EXIT_FINISHED
    benchmarks = Benchmarks.load(chosen, workspace, offline=arguments.offline)

    # 2. Files, and in them one turn of each pull request.
    say(f"drawing {asked.n:,} turns from {trajectories.name} at {trajectories.revision[:18]}")
    pool, file_odds = sampling.fill(chosen, trajectories, say)

    # 3. Of these, the ones that belong to their pull request, are part of no benchmark and have an allowed licence.
    mirror = Pulls(pulls) if pulls else None
    choice = choose(pool, chosen, mirror, benchmarks)
    if not choice.turns:
        raise account.nothing_drawn(trajectories, pool, choice)

    # 4. On disk: pull requests, prompts, pages, and last the mark that all of it is there.
    output.begin()
    if mirror:
        choice.keep(output.save_commits(mirror.commits(choice.ids)), mirror.damaged)
    output.save_prompts(sampling.prompts(choice.turns, trajectories, pool, file_odds, len(choice.looked_at)))
    result = account.Account(chosen, trajectories, pulls, file_odds, pool, choice, benchmarks, output.huge)
    output.save_pages(result.page())
    workspace.save_dropped("prompt", [*pool.unusable, *choice.dropped])
    output.finish()
    result.say()
    return EXIT_FINISHED


def parse() -> Namespace:
    """The command line."""
    parser = command.Parser(__doc__).with_offline()
    parser.add_argument("--source", metavar="PATH|HUB", help="trajectories: parquet file, folder, glob or Hub dataset")
    parser.add_argument("--pulls", metavar="PATH|HUB", help='pull requests, in the same ways; "" for none')
    parser.add_argument("--n", type=int, metavar="N", help="prompts to sample")
    parser.add_argument("--files", type=int, metavar="F", help="parquet files to draw them from")
    parser.add_argument("--seed", type=int, metavar="S", help="seed of every draw")
    parser.add_argument("--plan", action="store_true", help="print what would be downloaded, then stop")
    parser.add_argument("--again", action="store_true", help="draw anew, from the newest revision")
    return parser.parse_args()


def load(arguments: Namespace, workspace: Workspace) -> Settings:
    """The settings with what the command line sets; a source that is named there wins over the bundled sample."""
    from duel.sources.parquet import from_command_line

    flags, defaults = offline.overrides(arguments.offline)
    given = {
        ("sample", "dataset"): from_command_line(arguments.source),
        ("sample", "pulls"): from_command_line(arguments.pulls),
        ("sample", "n"): arguments.n,
        ("sample", "files"): arguments.files,
        ("sample", "seed"): arguments.seed,
    }
    return settings.load(workspace.root, flags | {k: v for k, v in given.items() if v is not None}, defaults)


if __name__ == "__main__":
    command.run(main)
