"""Grow the set beyond the duel's turns: sources beside them, and one combined training set.

    duel scale sessions ~/.claude/projects                your own agents' logs, read as `duel mine` reads them
    duel scale public rows.jsonl --reader hermes          public sets: files or Hub ids, each row with its license
    duel scale duels                                      the turns that the panel kept in final/
    duel scale pairs ~/src/requests ~/src/cobra           comments with their code, functions with their tests
    duel scale synthesize --count 500                     tool use that is executed; or OWNER/NAME@COMMIT …
    duel scale synthesize --tools tools.json              the same with your agent's tools: MCP's tools/list
    duel scale augment --count 200                        children of rows: other words, changes that are executed
    duel scale combine --format chatml,trl-tools          all sources into one set, split 80/10/10

Reads   git repositories (`pairs`, at their HEAD; `synthesize`, through [execute]); for `augment` and `combine` all that
        lies in training-data/scaled/<source>/. `synthesize` and `augment` ask [generate] model for words.
Writes  training-data/scaled/<source>/<name>.jsonl: rows with their messages, tools, source, license and groups;
        training-data/scaled/combined/: the splits in every format, README.md (the card), manifest.json,
        statistics.json, dropped.jsonl.

What is left out has its reason, is counted, and is listed in report/dropped.jsonl. The same rows give the same bytes.
"""

import re
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from duel import calls
from duel.audit.contamination import OF_FUNCTIONS, Benchmarks
from duel.bookkeeping import LeftOut, Result, Stage
from duel.command import say, say_error
from duel.environment import expanded
from duel.errors import EXIT_FINISHED, EXIT_USER, SettingsError, SourceError
from duel.exports import formats, splits
from duel.exports.loading import buckets_of
from duel.scaling import agent_tools, augmentation, code_pairs, episodes, scaled_rows
from duel.scaling import combine as combining
from duel.scaling.likeness import varied
from duel.scaling.phrasing import Phrasing
from duel.scaling.row_checks import FACETS
from duel.scaling.scaled_rows import Kind, ScaledRow, save
from duel.settings import Settings
from duel.stages import asking, mine
from duel.stages.opening import options
from duel.synchronous import synchronous
from duel.workspace import Workspace, file_name

CHILDREN_OF: list[Kind] = ["synthetic", "public", "sessions"]
# What the subcommands that cannot do without a place take, and an example.
PLACES = {
    "pairs": ("the folders of git repositories", "~/src/requests`; bare repositories are taken too"),
    "public": ("files or Hub datasets", "rows.jsonl --reader hermes`; docs/public-sets.md lists sets and readers"),
}


def run(workspace: Workspace, settings: Settings, **named: Any) -> Result:
    """One subcommand, which `what` names, with the options of the command line. `found` is lines to print."""
    asked, drops = options("scale", named), LeftOut()
    if asked.what in PLACES and not asked.place:
        takes, example = PLACES[asked.what]
        hint = f"as in `duel scale {asked.what} {example}"
        raise SettingsError(f"`duel scale {asked.what}` takes {takes}", value="no place", hint=hint)
    if asked.what in {"synthesize", "augment"} and not (asked.offline or asked.plain or asked.plan):
        calls.route_for(settings, workspace, "writer")  # a missing key is told before minutes of execution
    found: list[str] | Result | None = None
    with workspace.lock("scale", f"duel scale {asked.what}"):
        try:
            found = SUBCOMMANDS[asked.what](workspace, settings, asked, drops)
        finally:  # what `combine` leaves out lies beside its set, and a plan writes nothing
            if (drops.rows or found is not None) and asked.what != "combine" and not asked.plan:
                workspace.save_dropped(f"scale {asked.what}", drops.rows)
                for reason, number in drops.most_common():
                    say(f"{number:,} left out: {reason}")
    return found if isinstance(found, Result) else Result("scale", found=found, dropped=drops)


def combine(workspace: Workspace, settings: Settings, asked: Namespace, _: LeftOut) -> list[str]:
    words: list[str] = []
    if asked.refused_words:
        path, hint = workspace.resolve(asked.refused_words), "a text file with one word a line, without spaces"
        try:
            words = [*filter(None, (line.strip().casefold() for line in path.read_text("utf-8").splitlines()))]
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError("cannot be read", where="--refused-words", value=error, hint=hint) from None
        if wrong := [word for word in words if not re.fullmatch(r"\w+", word)]:
            raise SettingsError("no single word", where=path, value=wrong[0], hint=hint)
    balance = [name.strip() for name in asked.balance.split(",") if name.strip()]
    if unknown := [name for name in balance if name not in FACETS]:
        raise SettingsError("unknown way to balance", value=unknown[0], hint=f"known: {', '.join(FACETS)}")
    shares, wanted_formats = splits.shares_of(asked.split), formats.named(asked.format)
    wanted = combining.Wanted(wanted_formats, shares, balance, asked.seed, frozenset(words))
    benchmarks = Benchmarks.load(settings, workspace, asked.offline, functions=OF_FUNCTIONS)
    return combining.combine(workspace, settings, wanted, benchmarks)


def pairs(workspace: Workspace, settings: Settings, asked: Namespace, drops: LeftOut) -> Result:
    return _of_places(workspace, asked, drops, lambda place, name: code_pairs.rows(Path(place), drops, name))


def mined(workspace: Workspace, settings: Settings, asked: Namespace, drops: LeftOut) -> Result:
    """Sessions of one's own, or rows of public sets: a file for each place."""
    common = {"format": asked.reader, "limit": asked.limit, "accept_license": asked.accept_license}
    common |= {"keep_tools": True, "no_commits": True}

    def rows(place: str, name: str) -> Iterator[ScaledRow]:
        found = mine.sessions(options("mine", {"place": [place] if place else [], **common}))
        try:
            yield from scaled_rows.from_sessions(found, asked.what, name, asked.license)
        finally:
            drops.rows += found.account.left.rows  # `mine` itself says how many they are

    return _of_places(workspace, asked, drops, rows)


def _of_places(
    workspace: Workspace, asked: Namespace, drops: LeftOut, rows: Callable[[str, str], Iterator[ScaledRow]]
) -> Result:
    """A file for each place; one that gives no row costs the others nothing, and the exit code says so."""
    places = asked.place or [""]  # "": the agents' own folders
    lines: list[str] = []
    taken: set[str] = set()
    for place in places:
        # What it is called: a Hub id as it is, a file or folder by its name, numbered where an earlier one has it.
        name = expanded(place).resolve().name if place and expanded(place).exists() else place or "agents"
        stem = name.removesuffix(".jsonl")
        if stem in taken:
            stem = name = next(own for n in count(2) if (own := f"{stem}-{n}") not in taken)
        taken.add(stem)
        try:
            lines.append(_saved(workspace, asked.what, stem, rows(place, name)))
        except SourceError as error:
            if len(places) == 1:
                raise
            say_error(error)
    return Result("scale", EXIT_FINISHED if len(lines) == len(places) else EXIT_USER, lines, dropped=drops)


def duels(workspace: Workspace, settings: Settings, asked: Namespace, drops: LeftOut) -> list[str]:
    rows = scaled_rows.from_buckets(workspace, settings, buckets_of(asked.buckets), drops)
    return [_saved(workspace, "duels", "turns", rows)]


def synthesize(workspace: Workspace, settings: Settings, asked: Namespace, drops: LeftOut) -> Result | list[str]:
    """Plans carried out in the sandbox that [execute] names."""
    tools = agent_tools.of_file(Path(asked.tools)) if asked.tools else agent_tools.Toolset()
    wanted = asked.place, asked.count, asked.seed, drops, tools
    rows = synchronous(episodes.drafts)(workspace, settings, *wanted, offline=asked.offline)
    return _worded(workspace, settings, asked, drops, "synthetic", rows)


def augment(workspace: Workspace, settings: Settings, asked: Namespace, drops: LeftOut) -> Result | list[str]:
    """Children of the rows of these sources; those of executed rows are executed."""
    if unknown := set(asked.place).difference(CHILDREN_OF):
        hint = f"`duel scale augment` takes {', '.join(CHILDREN_OF)}"
        raise SettingsError("not a source whose rows have children", value=min(unknown), hint=hint)
    wanted = asked.place or CHILDREN_OF, asked.count, asked.seed, drops
    rows = synchronous(augmentation.children)(workspace, settings, *wanted, offline=asked.offline)
    return _worded(workspace, settings, asked, drops, "augmented", rows)


def _worded(
    workspace: Workspace, settings: Settings, asked: Namespace, drops: LeftOut, kind: Kind, rows: list[ScaledRow]
) -> Result | list[str]:
    """The rows in a model's words, saved; those that still wait for words are items that are open."""
    settings = asking.limited(workspace, settings, asked.budget)
    stage, summary = Stage("scale", workspace, settings, asked.again, asked.offline), calls.Summary("scale")
    drafts = len(rows)
    if not asked.plain:
        jobs = Phrasing(settings, workspace.secret(), drops).jobs(rows)
        if asked.plan:
            asking.planned(jobs, stage).say()
            return []

        async def once() -> Result:
            return Result("scale", calls=await asking.drive(jobs, stage, total=len(jobs)))

        summary = synchronous(asking.in_rounds)(once).calls or summary
        rows = [*varied((job.row for job in jobs if job.row), drops)]
    if summary.exit_code and not rows:
        return stage.finish(summary, [])
    found = [f"{_saved(workspace, kind, 'plans' if kind == 'synthetic' else 'children', rows)} of {drafts:,} drafts"]
    return found if asked.plain else stage.finish(summary, found)


def _saved(workspace: Workspace, kind: Kind, name: str, rows: Iterable[ScaledRow]) -> str:
    path, count = save(workspace, kind, file_name(name), rows)
    return f"{path.relative_to(workspace.root)}: {count:,} rows"


SUBCOMMANDS: dict[str, Callable[[Workspace, Settings, Namespace, LeftOut], list[str] | Result]] = {
    "combine": combine, "pairs": pairs, "public": mined, "sessions": mined, "duels": duels, "synthesize": synthesize,
    "augment": augment,
}  # fmt: skip


def show(lines: list[str], _: Namespace) -> None:
    for line in lines:
        print(line)
