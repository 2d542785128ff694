"""The stages of all shards on Ray. A task is one stage of one shard; its process knows nothing of Ray.

A task takes one `duel_slot` of its node: a CPU would be given back while the task waits, and Ray then start more stages
than there are cores. A worker or a node that dies costs a retry elsewhere: the lock of the shard keeps a second process
out until the first has ended, and its ledger answers what was paid for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duel
from duel.cluster import leash
from duel.cluster.allotment import Allotment
from duel.cluster.shards import Shard
from duel.command import say
from duel.errors import EXIT_BUDGET, EXIT_FINISHED, EXIT_OPEN, SettingsError, WorkspaceError
from duel.workspace import Workspace

SLOT = "duel_slot"
# The stage that asks no model.
FREE = "execute"
LOG = "cluster.log"
"""In a shard's private folder: what its stages said."""
RETRIES = 20
"""Times that a stage is begun anew because its worker or node died."""
LOCK_S, LOOK_S, LOOK_AT_SHARE_S = 600.0, 30.0, 1.0


@dataclass(frozen=True)
class Ended:
    """How a stage of a shard ended, and where."""

    code: int
    seconds: float
    node: str


def run_stage(words: Sequence[str], root: str, folder: str) -> Ended:
    """Run `duel WORDS` on the shard at `root`, from `folder`, in a process that ends with this one."""
    import ray

    workspace, start = Workspace(root), time.monotonic()
    # A stage whose worker died may be keeping its replies in flight; one that takes longer is told by the stage itself.
    for what in ("answer", "score"):
        while time.monotonic() < start + LOCK_S:
            try:
                with workspace.lock(what, "duel cluster run"):
                    break
            except WorkspaceError:
                time.sleep(0.25)
    call = [sys.executable, "-m", leash.__name__, str(os.getpid()), *words, "--workspace", root]
    path = os.pathsep.join(filter(None, [str(Path(duel.__file__).parent.parent), os.environ.get("PYTHONPATH")]))
    with (workspace.private / LOG).open("ab") as log:
        done = subprocess.run(call, cwd=folder, env={**os.environ, "PYTHONPATH": path}, stdout=log, stderr=log)  # noqa: S603
    return Ended(done.returncode, time.monotonic() - start, ray.get_runtime_context().get_node_id()[:6])


@contextmanager
def connected(address: str | None, workers: int) -> Iterator[None]:
    """A cluster: the one at `address`, or one of this machine alone that ends with the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        hint = "`pip install 'duel-curation[cluster]'`, or run the shards with xargs (docs/cluster.md)"
        raise SettingsError("the engine is not installed", value="ray", hint=hint) from None
    say("starting Ray …" if address is None else f"joining the cluster at {address} …")
    own: dict[str, Any] = {"address": "local", "num_cpus": workers, "resources": {SLOT: workers}}
    chosen = own | {"include_dashboard": False} if address is None else {"address": address}
    try:
        ray.init(**chosen, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        hint = "is it up, and is its token here? (docs/cluster.md)"
        raise SettingsError("cannot join the cluster", value=address or error, hint=hint) from None
    try:
        yield
    finally:
        ray.shutdown()


@dataclass
class Engine:
    """All stages of all shards, each shard's in order."""

    plan: Sequence[str]  # names of commands
    folder: str
    allotment: Allotment
    flags: Sequence[str] = ()
    ended: Callable[[Shard, str, Ended], None] = lambda *_: None
    codes: dict[str, int] = field(default_factory=dict)
    """Exit code of each shard: that of the stage at which it stopped, or the highest of all."""

    def run(self) -> int:
        """The exit code of all."""
        import ray

        task = ray.remote(num_cpus=0, resources={SLOT: 1}, max_retries=RETRIES)(run_stage)
        allotment, waiting = self.allotment, dict[Any, tuple[Shard, int]]()
        queue, starved = deque((shard, 0) for shard in allotment.shards), list[tuple[Shard, int]]()
        if not ray.cluster_resources().get(SLOT):
            hint = f"start its nodes with `ray start … --resources='{{\"{SLOT}\": 4}}'`: stages at a time on each"
            raise SettingsError("the cluster has no place for a stage", value=SLOT, hint=hint)
        while queue or waiting:
            allotment.follow()
            slots = int(ray.cluster_resources().get(SLOT, 0))
            # Where calls are shared out, none of them goes to a stage that waits for a place.
            most = len(allotment.shards) if allotment.calls is None else max(1, min(slots, allotment.calls))
            while queue and len(waiting) < most:
                shard, step = queue.popleft()
                words = [self.plan[step], *self.flags, *(allotment.begin(shard) if self.plan[step] != FREE else [])]
                waiting[task.remote(words, str(shard.workspace.root), self.folder)] = shard, step
            ready, _ = ray.wait(list(waiting), timeout=LOOK_S if allotment.share is None else LOOK_AT_SHARE_S)
            if not ready and not slots:
                say(f"waiting for a node that offers {SLOT}")
            for reference in ready:
                shard, step = waiting.pop(reference)
                try:
                    ended: Ended = ray.get(reference)
                except ray.exceptions.RayError as error:
                    told, hint = str(error).splitlines()[-1:], "have all nodes the same installation, and this folder?"
                    raise WorkspaceError("a node cannot run a stage", value=told, hint=hint) from None
                self.ended(shard, self.plan[step], ended)
                if ended.code != EXIT_BUDGET:
                    self.codes[shard.name] = max(self.codes.get(shard.name, 0), ended.code)
                goes_on = ended.code in (EXIT_FINISHED, EXIT_OPEN) and step + 1 < len(self.plan)
                if self.plan[step] != FREE:
                    allotment.end(shard, finished=not goes_on and ended.code != EXIT_BUDGET)
                if goes_on:
                    queue.append((shard, step + 1))
                elif ended.code == EXIT_BUDGET:
                    starved.append((shard, step))
            for shard, step in [one for one in starved if allotment.has_more_for(one[0])]:
                starved.remove((shard, step))
                queue.append((shard, step))
        self.codes |= {shard.name: EXIT_BUDGET for shard, _ in starved}
        # The worst: a crash or something to change, then a spent budget, then open items.
        codes = set(self.codes.values())
        return next((code for code in codes - {EXIT_FINISHED, EXIT_OPEN, EXIT_BUDGET}), max(codes, default=0))
