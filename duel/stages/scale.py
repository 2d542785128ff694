"""Grow the set beyond the duel's turns: sources beside them, and one combined training set.

    duel scale sessions ~/.claude/projects                your own agents' logs, read as `duel mine` reads them
    duel scale public rows.jsonl --reader hermes          public sets: files or Hub ids, each row with its license
    duel scale duels                                      the turns that the panel kept in final/
    duel scale pairs ~/src/requests ~/src/cobra           comments with their code, functions with their tests
    duel scale synthesize --count 500                     tool use that is executed; or OWNER/NAME@COMMIT …
    duel scale combine --format chatml,trl-tools          all sources into one set, split 80/10/10

Reads   git repositories (`pairs`, at their HEAD; `synthesize`, through [execute]); for `combine` all that lies in
        training-data/scaled/<source>/.
Writes  training-data/scaled/<source>/<name>.jsonl: rows with their messages, tools, source, license and groups;
        training-data/scaled/combined/: the splits in every format, README.md (the card), manifest.json,
        statistics.json, dropped.jsonl.

What is left out has its reason and is counted. The same rows give the same bytes.
"""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duel.bookkeeping import Result
from duel.command import Parser, say
from duel.errors import SettingsError
from duel.stages import given, opened, options
from duel.workspace import file_name

if TYPE_CHECKING:
    from duel.settings import Settings
    from duel.workspace import Workspace


def run(workspace: Workspace, settings: Settings, **named: Any) -> Result:
    """One subcommand, which `what` names, with the options of the command line. `found` is lines to print."""
    asked = options(add_arguments, named)
    with workspace.lock("scale", f"duel scale {asked.what}"):
        return Result("scale", found=SUBCOMMANDS[asked.what](workspace, settings, asked))


def main(arguments: Namespace) -> int:
    workspace, settings = opened(arguments)
    result = run(workspace, settings, **given(arguments))
    print("\n".join(result.found))
    return result.exit_code


def combine(workspace: Workspace, settings: Settings, asked: Namespace) -> list[str]:
    """All sources into one set."""
    from duel.audit.contamination import Benchmarks
    from duel.exports import formats, splits
    from duel.scaling.combine import Wanted
    from duel.scaling.combine import combine as write

    balance = [name.strip() for name in asked.balance.split(",") if name.strip()]
    wanted = Wanted(formats.named(asked.format), splits.shares_of(asked.split), balance, asked.seed)
    return write(workspace, settings, wanted, Benchmarks.load(settings, workspace, asked.offline))


def pairs(workspace: Workspace, settings: Settings, asked: Namespace) -> list[str]:
    """A file of code pairs for each repository."""
    from duel.scaling import code_pairs
    from duel.scaling.scaled_rows import save

    if not asked.place:
        raise SettingsError("`duel scale pairs` takes the folders of git repositories")
    lines = []
    for place in map(Path, asked.place):
        drops: Counter[str] = Counter()
        path, count = save(workspace, "pairs", file_name(place.resolve().name), code_pairs.rows(place, drops))
        say("".join(f"{number:,} left out: {reason}\n" for reason, number in drops.most_common()).rstrip())
        lines.append(f"{path.relative_to(workspace.root)}: {count:,} rows")
    return lines


def mined(workspace: Workspace, settings: Settings, asked: Namespace) -> list[str]:
    """Sessions of one's own, or rows of public sets: a file for each place."""
    from duel.scaling import intake
    from duel.scaling.scaled_rows import save
    from duel.stages import mine

    if not asked.place and asked.what == "public":
        raise SettingsError("`duel scale public` takes files or Hub datasets")
    lines: list[str] = []
    left: list[Mapping[str, Any]] = []
    for place in asked.place or [""]:
        found = mine.sessions(
            options(
                mine.add_arguments,
                {
                    "place": [place] if place else [],
                    "format": asked.reader,
                    "limit": asked.limit,
                    "keep_tools": True,
                    "accept_license": asked.accept_license,
                    "no_commits": True,
                },
            )
        )
        name = intake.name_of(place) if place else "agents"
        rows = intake.from_sessions(found, asked.what, name, asked.license)
        try:
            path, count = save(workspace, asked.what, file_name(name.removesuffix(".jsonl")), rows)
        finally:
            left += found.account.dropped
            workspace.save_dropped(f"scale {asked.what}", left)
        lines.append(f"{path.relative_to(workspace.root)}: {count:,} rows")
    return lines


def duels(workspace: Workspace, settings: Settings, asked: Namespace) -> list[str]:
    """The turns of the buckets."""
    from duel.exports.duels import buckets_of
    from duel.scaling import intake
    from duel.scaling.scaled_rows import save

    rows = intake.from_buckets(workspace, settings, buckets_of(asked.buckets))
    path, count = save(workspace, "duels", "turns", rows)
    return [f"{path.relative_to(workspace.root)}: {count:,} rows"]


def synthesize(workspace: Workspace, settings: Settings, asked: Namespace) -> list[str]:
    """Plans carried out in the sandbox that [execute] names."""
    from duel.scaling import synthesis

    return synthesis.write(workspace, settings, asked.place, asked.count, asked.seed, offline=asked.offline)


SUBCOMMANDS = {
    "combine": combine,
    "pairs": pairs,
    "public": mined,
    "sessions": mined,
    "duels": duels,
    "synthesize": synthesize,
}


def add_arguments(parser: Parser) -> None:
    """The options of the command line."""
    parser.with_offline()
    add = parser.add_argument
    add("what", nargs="?", choices=tuple(SUBCOMMANDS), default="combine", help="what to do (default: combine)")
    add(
        "place",
        nargs="*",
        help="pairs: git repositories; public, sessions: files, folders, Hub ids; synthesize: OWNER/NAME@COMMIT",
    )
    add("--format", default="trl-tools,openai-tools", metavar="NAMES", help="combine: formats of duel export")
    add("--reader", default="", metavar="NAME", help="public, sessions: read as this format of duel mine")
    add("--limit", type=int, default=0, metavar="N", help="public, sessions: stop after N")
    add("--accept-license", action="store_true", help="public: take a Hub dataset whatever its license says")
    add("--license", default="", metavar="SPDX", help="public: of files that do not say it themselves")
    add("--buckets", default="final", metavar="NAMES", help="duels: final, refined (default: final)")
    add("--count", type=int, default=200, metavar="N", help="synthesize: plans to try (default: 200)")
    add("--split", default="80/10/10", help="combine: train/validation/test in percent (default: 80/10/10)")
    add("--balance", default="", metavar="NAMES", help="combine: even shares by source, tool, complexity, language …")
    add("--seed", type=int, default=0, help="seed of every draw (default: 0)")
