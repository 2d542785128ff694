"""The synthetic source: which repositories, how many plans, and the file of what passed every gate."""

import asyncio
import re
from collections import Counter
from collections.abc import Sequence

from duel.command import say
from duel.errors import SettingsError
from duel.execution import backends
from duel.execution.executor import Start
from duel.offline import sample
from duel.scaling import episodes
from duel.scaling.scaled_rows import ScaledRow, save
from duel.settings import Settings
from duel.synchronous import synchronous
from duel.workspace import Workspace


def write(
    workspace: Workspace, settings: Settings, places: Sequence[str], count: int, seed: int, *, offline: bool
) -> list[str]:
    """Write `synthetic/plans.jsonl`. Raises SettingsError where no sandbox is set, or a place is no commit."""
    if settings.execute.backend == "off":
        hint = '`backend = "bubblewrap"` on Linux, or "docker"'
        raise SettingsError("no back end is set to run plans", where="[execute] backend", value="off", hint=hint)
    starts = [_start(place) for place in places] or bundled()
    drops: Counter[str] = Counter()
    rows = synchronous(_rows)(workspace, settings, starts, count, seed, drops, offline)
    for reason, number in sorted(drops.items()):
        say(f"{number:,} left out: {reason}")
    path, kept = save(workspace, "synthetic", "plans", rows)
    return [f"{path.relative_to(workspace.root)}: {kept:,} rows of {count:,} plans"]


async def _rows(
    workspace: Workspace,
    settings: Settings,
    starts: Sequence[tuple[Start, str]],
    count: int,
    seed: int,
    drops: Counter[str],
    offline: bool,
) -> list[ScaledRow]:
    executor = await asyncio.to_thread(backends.open_executor, workspace, settings, offline=offline)
    try:
        say(f"carrying out {count:,} plans with {executor.describe()} …")
        return [row async for row in episodes.rows(executor, starts, count, seed, drops)]
    finally:
        await executor.close()


def bundled() -> list[tuple[Start, str]]:
    """Every base commit of the bundled sample, with its license."""
    import pyarrow.parquet as pq

    columns = ["repo", "base_commit", "license"]
    found = pq.read_table(sample.folder() / "pulls.parquet", columns=columns).to_pylist()
    known = {(row["repo"], row["base_commit"]): row["license"] for row in found}
    return [(Start(*key), license) for key, license in sorted(known.items())]


def _start(place: str) -> tuple[Start, str]:
    found = re.fullmatch(r"([\w.-]+/[\w.-]+)@([0-9a-f]{7,64})(?::([\w.+-]+))?", place)
    if not found:
        hint = "OWNER/NAME@COMMIT or OWNER/NAME@COMMIT:LICENSE; [execute] repositories says where mirrors lie"
        raise SettingsError("not a repository at a commit", value=place, hint=hint)
    return Start(found[1], found[2]), found[3] or ""
