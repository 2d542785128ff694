"""Shards on Ray, with a worker, a node and the driver killed, against one process: same verdict, what was paid twice.

    python -m bench.cluster FOLDER [--turns 2000] [--shards 6] [--latency 0.2]

Needs `pip install '.[cluster]'`. One process runs king, ch, audit, validate; then three local nodes run them on shards.
While they do, one stage's worker is killed, a node is taken away, and the driver is killed and started again. Prints
seconds, and how many requests were asked again. Fails where the verdicts differ, or more was repeated than in flight.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import orjson

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from duel.workspace import Workspace  # noqa: E402
from tests.offline.watched import StandIn, endpoint  # noqa: E402
from tests.stages.conftest import SETTINGS, commit, prompt  # noqa: E402

NODES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--turns", type=int, default=2000)
    parser.add_argument("--shards", type=int, default=6)
    parser.add_argument("--latency", type=float, default=0.2)
    arguments = parser.parse_args()
    drawn = fill(Workspace(arguments.folder / "drawn"), arguments.turns)
    parts = {name: Workspace(copied(drawn, name)) for name in ("whole", "split")}
    with endpoint(latency_s=arguments.latency) as stand_in:
        os.environ |= {"CHUTES_BASE_URL": stand_in.base_url, "CHUTES_API_KEY": "k", "RAY_USAGE_STATS_ENABLED": "0"}
        began = time.perf_counter()
        for stage in ("king", "ch", "audit", "validate"):
            duel(stage, parts["whole"])
            print(f"one process, {stage}: {time.perf_counter() - began:.1f} s so far", flush=True)
        alone = time.perf_counter() - began
        before = stand_in.stats()
        began = time.perf_counter()
        duel("shard", parts["split"], "split", str(arguments.shards))
        print(f"split: {time.perf_counter() - began:.1f} s", flush=True)
        in_flight = clustered(parts["split"], stand_in, arguments.turns)
    told = stand_in.stats()
    paid = rows(parts["whole"])
    print(f"one process: {alone:.1f} s, {before['requests']:,} requests, {paid:,} replies in its ledger")
    again = told["requests"] - before["requests"] - paid
    print(
        f"cluster: {again:,} asked again, {in_flight:,} in flight at the kills; {rows(parts['split']):,} in its ledger"
    )
    one, two = (workspace.duel.read_bytes() for workspace in parts.values())
    print("the verdicts are equal, byte for byte" if one == two else "THE VERDICTS DIFFER")
    sys.exit(one != two or again > in_flight)


def fill(workspace: Workspace, turns: int) -> Workspace:
    """Turns of 300 repositories, two a pull request."""
    made = []
    for number in range(turns):
        pull, name = number // 2, f"owner{number // 2 % 300}/repo"
        told = {"instance_id": f"{name.replace('/', '__')}-{pull}", "repo": name}
        made.append(orjson.loads(prompt(number).model_copy(update=told).dump()))
        if number % 2 == 0:
            workspace.save(workspace.commit_path(told["instance_id"]), commit(pull).model_copy(update=told))
    for k in range(0, turns, 200):
        path = workspace.root / "prompt" / f"prompts_{turns}_{k // 200 + 1}.json"
        workspace.save(path, orjson.dumps(made[k : k + 200]))
    workspace.save(workspace.root / "chain.toml", SETTINGS.encode())
    workspace.secret()
    return workspace


def copied(drawn: Workspace, name: str) -> Path:
    target = drawn.root.with_name(name)
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(drawn.root, target))


def duel(command: str, workspace: Workspace, *words: str) -> None:
    call = [sys.executable, "-m", "duel", command, "--workspace", str(workspace.root), *words]
    subprocess.run(call, check=True, cwd=ROOT, stderr=subprocess.DEVNULL)


def rows(workspace: Workspace) -> int:
    from duel.calls.ledger import Ledger

    with Ledger(workspace.ledger) as ledger:
        return int(ledger.query("SELECT COUNT(*) FROM replies")[0][0])


def clustered(workspace: Workspace, stand_in: StandIn, turns: int) -> int:
    """Run the shards on three nodes; at 5, 30 and 60 % of all calls kill something; returns what was in flight."""
    from ray.cluster_utils import Cluster

    began = time.perf_counter()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "resources": {"duel_slot": 1}})
    nodes = [cluster.add_node(num_cpus=1, resources={"duel_slot": 1}) for _ in range(NODES - 1)]
    print(f"{NODES} nodes up after {time.perf_counter() - began:.1f} s", flush=True)
    start = stand_in.stats()["requests"]
    began = time.perf_counter()
    driver, in_flight = started(workspace, cluster.address), 0
    for share, what in ((0.05, "worker"), (0.3, "node"), (0.6, "driver")):
        while stand_in.stats()["requests"] - start < share * 8 * turns and driver.poll() is None:
            time.sleep(0.02)
        flying = stand_in.stats()["inflight"]
        if what == "worker":
            while (victim := next(workers(), None)) is None:
                time.sleep(0.02)
            os.kill(victim, signal.SIGKILL)
        elif what == "node":
            cluster.remove_node(nodes.pop())
        else:
            driver.kill()
            driver.wait()
            driver = started(workspace, cluster.address)
        flying = max(flying, stand_in.stats()["inflight"])
        in_flight += flying
        print(f"{what} killed after {time.perf_counter() - began:.1f} s, {flying} requests in flight", flush=True)
    code = driver.wait()
    print(
        f"cluster: {time.perf_counter() - began:.1f} s from the first stage to the merged report, exit {code}",
        flush=True,
    )
    cluster.shutdown()
    return in_flight


def started(workspace: Workspace, address: str) -> subprocess.Popen[bytes]:
    call = [sys.executable, "-m", "duel", "cluster", "run", "--workspace", str(workspace.root), "--address", address]
    return subprocess.Popen(call, cwd=ROOT)


def workers() -> Iterator[int]:
    """The processes that wait for a stage of a shard."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"duel" in words and any(b"/shards/" in word for word in words):
                yield int((entry / "stat").read_text().rpartition(")")[2].split()[1])


if __name__ == "__main__":
    main()
