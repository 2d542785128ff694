"""Grow the set beyond the duel's turns: sources beside them, and one combined training set.

    duel scale combine --format chatml,trl-tools          all sources into one set, split 80/10/10

Reads   for `combine` what the other subcommands left in training-data/scaled/<source>/.
Writes  training-data/scaled/<source>/<name>.jsonl: rows with their messages, tools, source, license and groups;
        training-data/scaled/combined/: the splits in every format, README.md (the card), manifest.json,
        statistics.json, dropped.jsonl.

What is left out has its reason and is counted. The same rows give the same bytes.
"""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from duel.bookkeeping import Result
from duel.command import Parser
from duel.stages import given, opened, options

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


SUBCOMMANDS = {"combine": combine}


def add_arguments(parser: Parser) -> None:
    """The options of the command line."""
    parser.with_offline()
    add = parser.add_argument
    add("what", nargs="?", choices=tuple(SUBCOMMANDS), default="combine", help="what to do (default: combine)")
    add("--format", default="trl-tools,openai-tools", metavar="NAMES", help="combine: formats of duel export")
    add("--split", default="80/10/10", help="combine: train/validation/test in percent (default: 80/10/10)")
    add("--balance", default="", metavar="NAMES", help="combine: even shares by source, tool, complexity, language …")
    add("--seed", type=int, default=0, help="seed of every draw (default: 0)")
