"""Split a workspace into shards, say how far each is, and merge what they made.

    duel shard split 8       shards/0000/ to shards/0007/, each a workspace with the turns of some repositories
    duel shard status        what each shard has done; exit code 1 while one has not reached its verdict
    duel shard merge         bring everything back, decide on all turns together, write the report

Between split and merge the stages run on each shard as on any workspace, wherever it lies: `duel run --workspace
shards/0003`, with `xargs -P`, as a Slurm array, or by `duel cluster run` (docs/cluster.md).

reads   prompt/, commit/, and whatever is there of answer_*/ and score/; for the merge shards/
writes  shards/; for the merge what the stages write: answer_*/, score/, review/, report/, final/, refined/, defeat/
"""

from duel.bookkeeping import Result
from duel.cluster import shards as shards_of
from duel.command import say
from duel.errors import EXIT_FINISHED, EXIT_OPEN, SettingsError
from duel.settings import Settings
from duel.stages import audit, report, validate
from duel.workspace import Workspace


def split(workspace: Workspace, settings: Settings, shards: int) -> Result:
    if not 1 <= shards <= 9999:
        raise SettingsError("takes 1 to 9,999 shards", value=shards)
    with workspace.lock("prompt", "duel shard split"), workspace.lock("answer", "duel shard split"):
        found = shards_of.split(workspace, settings, shards)
    say(f"{sum(found):,} turns in {shards:,} shards of {min(found):,} to {max(found):,}")
    return Result("split", found=found)


def status(workspace: Workspace) -> Result:
    """Print how far each shard is; `found` has a row for each."""
    rows = [shard.figures() for shard in shards_of.there(workspace)]
    for row in rows:
        state = "decided" if row["decided"] else "open"
        told = ", ".join(f"{row[name]:,} {name}" for name in ("turns", "kings", "challengers", "judged"))
        print(f"{row['shard']}  {state:8}{told}, ${row['dollars']:,.2f}")
    return Result("status", EXIT_FINISHED if all(row["decided"] for row in rows) else EXIT_OPEN, rows)


def merge(workspace: Workspace, settings: Settings, *, offline: bool = False) -> Result:
    """Bring back what the shards made, then audit, decide and report on the whole; `found` is the report's summary."""
    new = shards_of.merge(workspace)
    say("from the shards: " + (", ".join(f"{count:,} {kind}" for kind, count in new.items()) or "nothing new"))
    results = []
    if settings.audit.auditor:  # it is paid
        say("`duel audit`, then `report.py`, look for near-duplicates across shards and ask the auditor")
    else:
        results.append(audit.run(workspace, settings, offline=offline))
    results += [validate.run(workspace, settings, regate=True), report.run(workspace, settings)]
    return Result("merge", max(result.exit_code for result in results), results[-1].found)


def run(
    workspace: Workspace, settings: Settings, *, action: str, shards: int | None = None, offline: bool = False
) -> Result:
    if action == "split":
        return split(workspace, settings, settings.store.shards if shards is None else shards)
    return merge(workspace, settings, offline=offline) if action == "merge" else status(workspace)
