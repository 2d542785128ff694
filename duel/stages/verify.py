"""Run each rollout's change against its issue's own tests: which rollouts really resolved it? No call.

    duel verify                          the rollouts of [sample] dataset, the tests of [sample] pulls
    duel verify --from runs.parquet      those of a file or folder
    duel verify --limit 50               the first 50 that are not verified yet

reads   trajectories, pull requests (FAIL_TO_PASS, PASS_TO_PASS, install_config), repositories or images
writes  outcomes.json: instance, or instance#row where it has several rollouts -> resolved, failed, passed, why_not

Tests run in the containers that [execute] backend names; with "bubblewrap" on this machine's own compilers and
interpreters. Where those are missing, or tests pass without any change, `resolved` is null and `why_not` says so.
"""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from duel.bookkeeping import Result
from duel.command import Parser, say
from duel.errors import EXIT_FINISHED, EXIT_OPEN, ItemError, SettingsError, SourceError
from duel.records import Commit
from duel.settings import Settings
from duel.stages import opened
from duel.stages.execute import OPEN, with_backend
from duel.synchronous import synchronous
from duel.workspace import Workspace

if TYPE_CHECKING:
    from duel.execution.verification import Attempt
    from duel.sources.rollouts import Rollout

SAVE_EVERY = 20


async def run_async(
    workspace: Workspace,
    settings: Settings,
    *,
    source: str = "",
    limit: int = 0,
    again: bool = False,
    seconds: float = 1800.0,
    offline: bool = False,
) -> Result:
    """Verify every rollout that is not verified yet; `found` is what outcomes.json holds."""
    from duel.execution import backends

    if settings.execute.backend == "off":
        hint = '`backend = "docker"` where images are, "bubblewrap" on Linux'
        raise SettingsError("no back end is set to run tests", where="[execute] backend", value="off", hint=hint)
    with workspace.lock("outcomes", "duel verify"):
        outcomes = {} if again else known(workspace)
        todo = [one for one in attempts(workspace, settings, source, offline) if one.key not in outcomes]
        todo = todo[:limit] if limit else todo
        repositories = {one.key: one.start.repository for one in todo}
        verifier = backends.open_verifier(workspace, settings, seconds, offline=offline)
        say(f"verifying {len(todo):,} rollouts with {verifier.executor.describe()} …")
        width = asyncio.Semaphore(max(1, backends.workers(settings) // 2))

        async def one(attempt: Attempt) -> None:
            async with width:
                outcomes[attempt.key] = asdict(await verifier.verify(attempt))
            if len(outcomes) % SAVE_EVERY == 0:
                save(workspace, outcomes)

        try:
            await asyncio.gather(*map(one, todo))
        finally:
            save(workspace, outcomes)
            for executor in {id(e): e for e in (verifier.executor, verifier.replayer)}.values():
                await executor.close()
    reasons = Counter(str(row["why_not"]).partition(":")[0] for row in outcomes.values() if row["why_not"])
    say_table(outcomes, repositories)
    for reason, count in sorted(reasons.items()):
        say(f"{count:,} not verified: {reason}")
    return Result("verify", EXIT_OPEN if OPEN & reasons.keys() else EXIT_FINISHED, outcomes, dropped=reasons)


run = synchronous(run_async)


def known(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """What an earlier run has found out, but for what another run may mend."""
    import orjson

    try:
        rows = orjson.loads((workspace.root / "outcomes.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return {
        key: row
        for key, row in (rows.items() if isinstance(rows, dict) else ())
        if isinstance(row, dict) and "why_not" in row and str(row["why_not"]).partition(":")[0] not in OPEN
    }


def save(workspace: Workspace, outcomes: Mapping[str, Any]) -> None:
    import orjson

    data = orjson.dumps(dict(sorted(outcomes.items())), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    workspace.save(workspace.root / "outcomes.json", data)


def attempts(workspace: Workspace, settings: Settings, source: str, offline: bool) -> list[Attempt]:
    """The rollouts with their pull requests, those of one pull request together."""
    from duel.sources import rollouts
    from duel.sources.hub import Hub
    from duel.sources.pulls import Pulls
    from duel.sources.table import open_table

    def hub() -> Hub:
        return Hub(workspace)

    ask = None if offline else hub
    table = open_table(source or settings.sample.dataset, workspace, ask, revision=settings.sample.revision)
    rows = [row for name in table.names for row in rollouts.read(table.fetch(name), name)]
    counts = Counter(row.instance_id for row in rows)
    pulls = Pulls(open_table(settings.sample.pulls, workspace, ask, revision=settings.sample.pulls_revision))
    commits = {commit.instance_id: commit for commit in pulls.commits(list(counts))}
    if not commits:
        raise SourceError("no pull request of these rollouts is known", where=settings.sample.pulls)
    return list(_attempts(sorted(rows, key=lambda row: (row.instance_id, row.file, row.row)), counts, commits))


def _attempts(rows: Iterable[Rollout], counts: Mapping[str, int], commits: Mapping[str, Commit]) -> Iterator[Attempt]:
    from duel.execution import harness
    from duel.execution.executor import Start
    from duel.execution.verification import Attempt

    for row in rows:
        commit = commits.get(row.instance_id)
        if commit is None:
            continue
        try:
            messages = row.messages()
        except ItemError:
            continue
        extras = commit.model_extra or {}
        config = extras.get("install_config")
        start = Start(
            commit.repo,
            commit.commit,
            commit.test_patch,
            harness.place(messages, harness.of(messages)),
            {"instance_id": commit.instance_id, "repo": commit.repo, **extras},
        )
        yield Attempt(
            row.instance_id if counts[row.instance_id] == 1 else f"{row.instance_id}#{row.row}",
            start,
            messages,
            _command(config.get("test_cmd") if isinstance(config, dict) else ""),
            _names(extras.get("FAIL_TO_PASS")),
            _names(extras.get("PASS_TO_PASS")),
        )


def _command(value: object) -> str:
    return " && ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def say_table(outcomes: Mapping[str, Mapping[str, Any]], repositories: Mapping[str, str]) -> None:
    """One line a repository: how many rollouts resolved their issue, of those that could be verified."""
    counted: defaultdict[str, Counter[object]] = defaultdict(Counter)
    for key, row in outcomes.items():
        counted[repositories.get(key, "verified before")][row["resolved"]] += 1
    print(f"{'repository':<40}{'resolved':>9}{'not':>6}{'unknown':>9}")
    for name, found in sorted(counted.items()):
        print(f"{name:<40}{found[True]:>9}{found[False]:>6}{found[None]:>9}")


def add_arguments(parser: Parser) -> None:
    parser.with_offline()
    parser.add_argument("--from", dest="source", default="", metavar="FILE", help="trajectories, in place of [sample]")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="verify at most N rollouts")
    parser.add_argument("--seconds", type=float, default=1800.0, metavar="S", help="what one run of tests may take")
    parser.add_argument("--again", action="store_true", help="verify anew what is known")
    parser.add_argument("--backend", metavar="NAME", help="where tests run, in place of [execute] backend")


def main(arguments: Namespace) -> int:
    workspace, settings = opened(arguments)
    settings = with_backend(settings, arguments.backend)
    named = {name: getattr(arguments, name) for name in ("source", "limit", "again", "seconds", "offline")}
    return run(workspace, settings, **named).exit_code
