"""Run each rollout's change against its issue's own tests: which rollouts really resolved it? No call.

reads   trajectories ([sample] dataset), pull requests ([sample] pulls: FAIL_TO_PASS, PASS_TO_PASS, install_config),
        repositories or images
writes  outcomes.json: instance, or instance#row where it has several rollouts -> resolved, failed, passed, why_not

Tests run in the containers that [execute] backend names; with "bubblewrap" on this machine's own compilers and
interpreters. Where those are missing, or tests pass without any change or fail with the pull request's own, `resolved`
is null and `why_not` says so.
"""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice

from pydantic import TypeAdapter

from duel.bookkeeping import Result
from duel.command import say
from duel.errors import EXIT_FINISHED, EXIT_OPEN, ItemError, SourceError
from duel.execution import backends, replay
from duel.execution.verification import Attempt, Verified
from duel.records import Commit, Message
from duel.settings import Settings
from duel.sources import rollouts
from duel.sources.parquet_tables import open_table
from duel.sources.pulls import Pulls
from duel.stages import execute
from duel.synchronous import synchronous
from duel.workspace import Workspace

SAVE_EVERY, OUTCOMES = 20, "outcomes.json"


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
    backends.needs_backend(settings, "tests", '`backend = "docker"` where images are, "bubblewrap" on Linux')

    def save() -> None:
        workspace.save_page(workspace.root / OUTCOMES, {key: row.model_dump() for key, row in sorted(outcomes.items())})

    def attempts() -> Iterator[Attempt]:
        """The rollouts that are not verified yet, with their pull requests."""
        for row in rollouts_of(workspace, settings, source, offline):
            key = row.instance_id if counts[row.instance_id] == 1 else f"{row.instance_id}#{row.row}"
            if (commit := commits.get(row.instance_id)) and key not in known:
                with contextlib.suppress(ItemError):
                    yield attempt_of(key, commit, row.messages())

    with workspace.lock("outcomes", "duel verify"):
        outcomes, repositories = {} if again else verified(workspace), dict[str, str]()
        known = frozenset(outcomes)
        counts = Counter(row.instance_id for row in rollouts_of(workspace, settings, source, offline))
        commits = pull_requests(workspace, settings, list(counts), offline)
        verifier = backends.open_verifier(workspace, settings, seconds, offline=offline)
        say(f"verifying rollouts with {verifier.executor.describe()} …")
        try:
            width = max(1, backends.workers(settings) // 2)
            async for attempt, found in replay.as_done(verifier.verify, islice(attempts(), limit or None), width):
                repositories[attempt.key] = attempt.start.repository
                outcomes[attempt.key] = found
                if len(outcomes) % SAVE_EVERY == 0:
                    save()
        finally:
            save()
            await verifier.close()
    counted: defaultdict[str, Counter[object]] = defaultdict(Counter)
    for key, outcome in outcomes.items():
        counted[repositories.get(key, "verified before")][outcome.resolved] += 1
    print(f"{'repository':<40}{'resolved':>9}{'not':>6}{'unknown':>9}")
    for name, number in sorted(counted.items()):
        print(f"{name:<40}{number[True]:>9}{number[False]:>6}{number[None]:>9}")
    reasons = Counter(row.reason for row in outcomes.values() if row.reason)
    for reason, count in sorted(reasons.items()):
        say(f"{count:,} not verified: {reason}")
    return Result("verify", EXIT_OPEN if execute.OPEN & reasons.keys() else EXIT_FINISHED, outcomes, dropped=reasons)


run = synchronous(run_async)


def verified(workspace: Workspace) -> dict[str, Verified]:
    """What an earlier run has found out, but for what another may mend; a file that cannot be read is kept aside."""
    path = workspace.root / OUTCOMES
    if not path.exists():
        return {}
    try:
        rows = TypeAdapter(dict[str, Verified]).validate_json(path.read_bytes())
    except (OSError, ValueError):
        aside = path.replace(path.with_name(f"{OUTCOMES}.damaged"))
        say(f"{path} cannot be read: it is kept as {aside.name}, and all rollouts are verified anew")
        return {}
    return {key: row for key, row in rows.items() if row.reason not in execute.OPEN}


def rollouts_of(workspace: Workspace, settings: Settings, source: str, offline: bool) -> Iterator[rollouts.Rollout]:
    """Every rollout of `source`, or of [sample] dataset, in the order of its files; one batch in memory at a time."""
    table = open_table(source or settings.sample.dataset, workspace, settings.sample.revision, offline=offline)
    for name in table.sizes:
        yield from rollouts.read(table.fetch(name), name)


def pull_requests(workspace: Workspace, settings: Settings, instances: list[str], offline: bool) -> dict[str, Commit]:
    """The pull requests of [sample] pulls by instance. Raises SourceError where none is known."""
    sample = settings.sample
    table = open_table(sample.pulls, workspace, sample.pulls_revision, offline=offline)
    commits = {commit.instance_id: commit for commit in Pulls(table).commits(instances)}
    if not commits:
        raise SourceError("no pull request of these rollouts is known", where=sample.pulls)
    return commits


def attempt_of(key: str, commit: Commit, messages: Sequence[Message]) -> Attempt:
    extras = commit.model_extra or {}
    config = extras.get("install_config")
    told = config.get("test_cmd") if isinstance(config, dict) else ""
    command = " && ".join(map(str, told)) if isinstance(told, list) else str(told or "")
    columns = (extras.get(name) for name in ("FAIL_TO_PASS", "PASS_TO_PASS"))
    failing, passing = ([str(name) for name in column] if isinstance(column, list) else [] for column in columns)
    return Attempt(key, execute.start_of(commit, messages), messages, command, failing, passing, commit.patch)
