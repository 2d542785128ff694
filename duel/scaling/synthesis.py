"""The synthetic source: which repositories, how many plans, and which of the worded rows are unlike each other."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from duel.audit import duplicates
from duel.bookkeeping import LeftOut
from duel.command import say
from duel.errors import SettingsError
from duel.execution import backends
from duel.execution.executor import Executor, Start
from duel.offline import sample
from duel.scaling import diversity, episodes
from duel.scaling.agent_tools import Toolset
from duel.scaling.scaled_rows import ScaledRow
from duel.settings import Settings
from duel.workspace import Workspace

FRAME_SHARE = 0.002
"""Share of the rows that may be asked in one frame; at least one may."""
HISTORY = 2
"""Commits of a checkout: a long task undoes the last one."""


async def drafts(
    workspace: Workspace,
    settings: Settings,
    places: Sequence[str],
    count: int,
    seed: int,
    drops: LeftOut,
    tools: Toolset,
    *,
    offline: bool,
) -> list[ScaledRow]:
    """Rows in plain words. Raises SettingsError where no sandbox is set, or a place is no commit."""
    starts = [start_of(place) for place in places] or bundled()
    executor = await opened(workspace, settings, offline=offline)
    try:
        say(f"carrying out {count:,} plans with {executor.describe()} …")
        return [row async for row in episodes.rows(executor, starts, count, seed, drops, tools)]
    finally:
        await executor.close()


async def opened(workspace: Workspace, settings: Settings, *, offline: bool) -> Executor:
    """The sandbox of the settings, with compilers. Raises SettingsError where none is set."""
    if settings.execute.backend == "off":
        hint = '`backend = "bubblewrap"` on Linux, or "docker"'
        raise SettingsError("no back end is set to run plans", where="[execute] backend", value="off", hint=hint)
    most = backends.limits(settings)
    return await asyncio.to_thread(backends.open_machine, workspace, settings, most, offline=offline)


def varied(rows: Iterable[ScaledRow], drops: LeftOut) -> Iterator[ScaledRow]:
    """Without requests that say the same in nearly the same words, and without more of one frame than its share."""
    rows = list(rows)
    words = [duplicates.hashed_words(diversity.request_of(row)) for row in rows]
    alike = duplicates.similar_groups(words, diversity.NEAR)
    frames: Counter[str] = Counter()
    most = max(1, int(FRAME_SHARE * len(rows)))
    for place, row in enumerate(rows):
        frame = diversity.frame(diversity.request_of(row), row.made.get("names", ()))
        if place in alike:
            drops.drop(row.id, row.source.name, "request-like-another", rows[alike[place]].id)
        elif frames[frame] >= most:
            drops.drop(row.id, row.source.name, "frame-used-up", frame)
        else:
            frames[frame] += 1
            yield row


def bundled() -> list[tuple[Start, str]]:
    """Every base commit of the bundled sample, with its license."""
    import pyarrow.parquet as pq

    columns = ["repo", "base_commit", "license"]
    found = pq.read_table(sample.folder() / "pulls.parquet", columns=columns).to_pylist()
    known = {(row["repo"], row["base_commit"]): row["license"] for row in found}
    return [(Start(*key, history=HISTORY), license) for key, license in sorted(known.items())]


def start_of(place: str) -> tuple[Start, str]:
    """(where plans start, license) of `OWNER/NAME@COMMIT:LICENSE`."""
    found = re.fullmatch(r"([\w.-]+/[\w.-]+)@([0-9a-f]{7,64})(?::([\w.+-]+))?", place)
    if not found:
        hint = "OWNER/NAME@COMMIT or OWNER/NAME@COMMIT:LICENSE; [execute] repositories says where mirrors lie"
        raise SettingsError("not a repository at a commit", value=place, hint=hint)
    return Start(found[1], found[2], history=HISTORY), found[3] or ""
