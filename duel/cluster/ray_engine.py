"""The stages of all shards on Ray, and what each shard at work may take: calls at a time and dollars.

A task is one stage of one shard; its process knows nothing of Ray. It takes one `duel_slot` of its node: a CPU would be
given back while the task waits, and Ray then start more stages than there are cores. A worker or a node that dies costs
a retry elsewhere: the lock of the shard keeps a second process out until the first has ended, and its ledger answers
what was paid for.
"""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

import duel
from duel.calls.seats import Share
from duel.cluster import leash
from duel.cluster.shards import Shard
from duel.command import say
from duel.errors import EXIT_BUDGET, EXIT_FINISHED, EXIT_OPEN, SettingsError, WorkspaceError
from duel.workspace import Workspace

SLOT = "duel_slot"
# The stage that asks no model.
FREE = "execute"
LOG = "cluster.log"  # in a shard's private folder: what its stages said
RETRIES = 20  # times that a stage is begun anew because its worker or node died
LOCK_S, LOOK_S, LOOK_AT_SHARE_S = 600.0, 30.0, 1.0
# A shard whose part is spent gets another one while it is so much of the whole larger.
LEAST_PART = 0.01


@dataclass
class Allotment:
    """Divides a budget in dollars, and what a share file allows, among shards: anew at every change, in a file of each.

    Dollars stand there as what the shard's ledger may come to (`budget_usd`), so a stage that is killed and begun anew
    has no second part. A part is never taken back but where the whole is cut: what is in flight may need it.
    """

    shards: Sequence[Shard]
    budget: float | None = None
    share: Share | None = None

    def __post_init__(self) -> None:
        # What stood in the ledger of each shard when its present stage began.
        self._paid = {shard: shard.spent() for shard in self.shards}
        # Dollars that all ledgers together may come to.
        self._whole = self._most = sum(self._paid.values()) + (float("inf") if self.budget is None else self.budget)
        # What the ledger of each shard at work may come to, in the order in which they began.
        self._ceilings = dict[Shard, float]()
        self._unspent = dict[Shard, float]()  # what a part that did not do has left
        self._finished = set[Shard]()
        self._cut()

    @property
    def calls(self) -> int | None:
        """Calls at a time over all shards; None: as many as each finds."""
        return None if self.share is None or self.share.calls is None else int(self.share.calls)

    def begin(self, shard: Shard) -> list[str]:
        """`shard` begins a stage; the options that tell it of its part."""
        self._ceilings[shard] = self._paid[shard]
        if self.budget is None and self.calls is None:
            return []
        self.divide()
        return ["--share", str(shard.workspace.private / "share.json")]

    def end(self, shard: Shard, *, finished: bool) -> None:
        """A stage of `shard` has ended; what it has not spent is divided anew."""
        ceiling = self._ceilings.pop(shard)
        if finished:
            self._finished.add(shard)
        if self.budget is not None:
            self._paid[shard] = shard.spent()
            self._unspent[shard] = ceiling - self._paid[shard]
        self.divide()

    def has_more_for(self, shard: Shard) -> bool:
        """True if a part is left for `shard` that is larger than what its last stage found too little."""
        if self.budget is None:
            return False
        return min(self._parts()) > self._unspent.get(shard, 0.0) + LEAST_PART * self.budget

    def follow(self) -> None:
        if self.share is not None and self.share.look():
            self._cut()
            self.divide()

    def divide(self) -> None:
        for number, shard in enumerate(self._ceilings):
            part: dict[str, float] = {}
            if self.calls is not None:
                # What cannot be divided goes to those that began first.
                part["calls"] = self.calls // len(self._ceilings) + (number < self.calls % len(self._ceilings))
            if self.budget is not None:
                left, fair = self._parts()
                self._ceilings[shard] += max(0.0, min(fair - (self._ceilings[shard] - self._paid[shard]), left))
                part["budget_usd"] = round(self._ceilings[shard], 9)
            if part:
                shard.workspace.save(shard.workspace.private / "share.json", orjson.dumps(part))

    def _parts(self) -> tuple[float, float]:
        """Dollars that no shard has spent and none may take, and those for each that is not finished."""
        granted = sum(ceiling - self._paid[shard] for shard, ceiling in self._ceilings.items())
        left = self._whole - sum(self._paid.values()) - granted
        return left, (left + granted) / max(1, len(self.shards) - len(self._finished))

    def _cut(self) -> None:
        """The share says anew how many dollars are left; nobody at work keeps more than its part of them."""
        if self.share is None or self.share.dollars is None:
            return
        self._ceilings = {shard: shard.spent() for shard in self._ceilings}
        spent = sum({**self._paid, **self._ceilings}.values())
        self._whole = min(spent + self.share.dollars, self._most)
        self.budget = self._whole - sum(self._paid.values())


class Ended(NamedTuple):
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
        with suppress(WorkspaceError), workspace.lock(what, "duel cluster run", LOCK_S):
            pass
    call = [sys.executable, "-m", leash.__name__, str(os.getpid()), *words, "--workspace", root]
    path = os.pathsep.join(filter(None, [str(Path(duel.__file__).parent.parent), os.environ.get("PYTHONPATH")]))
    with (workspace.private / LOG).open("ab") as log:
        done = subprocess.run(call, cwd=folder, env={**os.environ, "PYTHONPATH": path}, stdout=log, stderr=log)  # noqa: S603
    return Ended(done.returncode, time.monotonic() - start, ray.get_runtime_context().get_node_id()[:6])


def needed() -> None:
    """Raise SettingsError where Ray is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # noqa: F401
    except ModuleNotFoundError:
        hint = "`pip install 'duel-curation[cluster]'`, or run the shards with xargs (docs/cluster.md)"
        raise SettingsError("the engine is not installed", value="ray", hint=hint) from None


@contextmanager
def connected(address: str | None, workers: int) -> Iterator[None]:
    """A cluster: the one at `address`, or one of this machine alone that ends with the block."""
    import ray

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


def run_all(
    plan: Sequence[str],
    folder: str,
    allotment: Allotment,
    flags: Sequence[str] = (),
    ended: Callable[[Shard, str, Ended], None] = lambda *_: None,
) -> tuple[int, dict[str, int]]:
    """All stages of all shards, each shard's in order; `plan` has names of commands.

    The exit code of all, and of each shard: that of the stage at which it stopped, or the highest of all.
    """
    import ray

    task = ray.remote(num_cpus=0, resources={SLOT: 1}, max_retries=RETRIES)(run_stage)
    waiting, codes = dict[Any, tuple[Shard, int]](), dict[str, int]()
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
            words = [plan[step], *flags, *(allotment.begin(shard) if plan[step] != FREE else [])]
            waiting[task.remote(words, str(shard.workspace.root), folder)] = shard, step
        ready, _ = ray.wait(list(waiting), timeout=LOOK_S if allotment.share is None else LOOK_AT_SHARE_S)
        if not ready and not slots:
            say(f"waiting for a node that offers {SLOT}")
        for reference in ready:
            shard, step = waiting.pop(reference)
            try:
                end: Ended = ray.get(reference)
            except ray.exceptions.RayError as error:
                told, hint = str(error).splitlines()[-1:], "have all nodes the same installation, and this folder?"
                raise WorkspaceError("a node cannot run a stage", value=told, hint=hint) from None
            ended(shard, plan[step], end)
            if end.code != EXIT_BUDGET:
                codes[shard.name] = max(codes.get(shard.name, 0), end.code)
            goes_on = end.code in (EXIT_FINISHED, EXIT_OPEN) and step + 1 < len(plan)
            if plan[step] != FREE:
                allotment.end(shard, finished=not goes_on and end.code != EXIT_BUDGET)
            if goes_on:
                queue.append((shard, step + 1))
            elif end.code == EXIT_BUDGET:
                starved.append((shard, step))
        for one in [one for one in starved if allotment.has_more_for(one[0])]:
            starved.remove(one)
            queue.append(one)
    codes |= {shard.name: EXIT_BUDGET for shard, _ in starved}
    # The worst: a crash or something to change, then a spent budget, then open items.
    found = {*codes.values()}
    return next((code for code in found - {EXIT_FINISHED, EXIT_OPEN, EXIT_BUDGET}), max(found, default=0)), codes
