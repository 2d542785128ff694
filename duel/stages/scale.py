"""Grow the set beyond the duel's turns: sources beside them, and one combined training set.

    duel scale pairs ~/src/requests ~/src/cobra           comments with their code, functions with their tests
    duel scale combine --format chatml,trl-tools          all sources into one set, split 80/10/10

Reads   git repositories (`pairs`, at their HEAD); for `combine` all that lies in
        training-data/scaled/<source>/.
Writes  training-data/scaled/<source>/<name>.jsonl: rows with their messages, tools, source, license and groups;
        training-data/scaled/combined/: the splits in every format, README.md (the card), manifest.json,
        statistics.json, dropped.jsonl.

What is left out has its reason and is counted. The same rows give the same bytes.
"""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
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


SUBCOMMANDS = {"combine": combine, "pairs": pairs}


def add_arguments(parser: Parser) -> None:
    """The options of the command line."""
    parser.with_offline()
    add = parser.add_argument
    add("what", nargs="?", choices=tuple(SUBCOMMANDS), default="combine", help="what to do (default: combine)")
    add("place", nargs="*", help="pairs: git repositories")
    add("--format", default="trl-tools,openai-tools", metavar="NAMES", help="combine: formats of duel export")
    add("--split", default="80/10/10", help="combine: train/validation/test in percent (default: 80/10/10)")
    add("--balance", default="", metavar="NAMES", help="combine: even shares by source, tool, complexity, language …")
    add("--seed", type=int, default=0, help="seed of every draw (default: 0)")
