"""Run the stages of all shards on a Ray cluster, then merge them.

    duel cluster run --workers 4                 on this machine, four stages at a time
    duel cluster run --address auto              on the cluster that this machine belongs to
    duel cluster run --offline                   with stand-in endpoints

A workspace without shards is split first ([store] shards). Whatever is killed (a stage, a worker, a node, this
command), the same command goes on where it stopped, and nothing is paid for twice but what was in flight. Needs
`pip install 'duel-curation[cluster]'`; docs/cluster.md tells of the nodes, and of ways without Ray.

reads   prompt/, commit/, shards/
writes  what the stages write in shards/, then what `duel shard merge` writes
"""

from pathlib import Path

from duel.bookkeeping import Result
from duel.calls.seats import Share
from duel.cluster import ray_engine, shards
from duel.cluster.ray_engine import Allotment, Ended
from duel.cluster.shards import Shard
from duel.command import say
from duel.errors import EXIT_FINISHED, EXIT_OPEN
from duel.processes import cores
from duel.settings import Settings
from duel.stages import shard
from duel.workspace import SHARD_FILE, SHARDS_FOLDER, Workspace


def run(
    workspace: Workspace,
    settings: Settings,
    *,
    workers: int = 0,
    address: str | None = None,
    budget: float | None = None,
    offline: bool = False,
) -> Result:
    """Run every stage of every shard, then merge. `budget`, in dollars, and `[endpoint] share` are those of all."""
    share = Share(Path(settings.endpoint.share)) if settings.endpoint.share else None
    ray_engine.needed()  # before anything is split
    if not list((workspace.root / SHARDS_FOLDER).glob(f"*/{SHARD_FILE}")):
        shard.split(workspace, settings, settings.store.shards)
    parts = [part for part in shards.there(workspace) if part.prompts]
    plan = ["king", "ch", *(["execute"] if settings.execute.backend != "off" else [])]
    # Choosing among candidates and refining are steps of `duel run`, which goes on from there.
    plan += ["audit", "validate"] if settings.most_candidates == 1 and not settings.refine.held_out else ["run"]
    flags = ["--offline"] if offline else []

    def say_ended(part: Shard, stage: str, ended: Ended) -> None:
        say(f"shard {part.name}  {stage:9} exit {ended.code} after {ended.seconds:.1f} s on node {ended.node}")
        if ended.code not in (EXIT_FINISHED, EXIT_OPEN):
            log = part.workspace.private / ray_engine.LOG
            lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
            say("\n".join(f"    {line}" for line in [*lines[-4:], f"all of it: {log}"]))

    allotment = Allotment(parts, budget, share)
    with workspace.lock("cluster", "duel cluster run"), ray_engine.connected(address, workers or cores()):
        code, codes = ray_engine.run_all(plan, str(workspace.root), allotment, flags, say_ended)
    if code not in (EXIT_FINISHED, EXIT_OPEN):
        return Result("cluster", code, codes)
    merged = shard.merge(workspace, settings, offline=offline)
    return Result("cluster", max(code, merged.exit_code), merged.found)
