"""What calls, resuming and faults cost: every row of the design's table that concerns them, on this machine.

    python -m bench.calls                         all rows, a few minutes
    python -m bench.calls throughput capacity     single rows
    python -m bench.calls kills --kills 5

Rows: throughput, wide, rerun, faults, capacity, neighbors, memory, kill, kills. Work goes through king.py as a user
runs it (kills: and through ch.py and validate.py), against an endpoint in a process of its own. Seconds depend on what
else the machine does: read the ratios. `openai` is compared where it is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.programs import LATENCY_S, Endpoint, endpoint, run, start  # noqa: E402

TURNS, IN_FLIGHT, BYTES = 2000, 128, 20_000
FAULTS = {"429": 0.10, "500": 0.03, "reset": 0.01, "truncated": 0.01}


def workspace(folder: Path, turns: int, *, concurrency: int = 0, size: int = BYTES) -> Path:
    """A workspace with `turns` prompts of `size` bytes."""
    from bench.clients import body
    from duel.records import Message, Prompt

    shutil.rmtree(folder, ignore_errors=True)
    (folder / "prompt").mkdir(parents=True)
    (folder / "chain.toml").write_text(f'[endpoint]\nconcurrency = {concurrency}\n[generate]\nmodel = "bench/model"\n')
    rows = []
    for number in range(turns):
        messages = [Message(**message) for message in body(number, size)["messages"]]
        prompt = Prompt(instance_id=f"o__r-{number}", repo="o/r", messages=messages, assistant="ls", turn=1)
        rows.append(json.loads(prompt.dump()))
        if len(rows) == 200 or number == turns - 1:
            name = f"prompts_{turns}_{number // 200 + 1}.json"
            (folder / "prompt" / name).write_text(json.dumps(rows))
            rows = []
    return folder


@dataclass
class Rows:
    """Rows with a budget and whether it held."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def add(self, work: str, figure: str, budget: str = "", held: bool | None = None) -> None:
        """Add a row and say it at once."""
        self.rows.append((work, figure, budget, "" if held is None else "held" if held else "MISSED"))
        print("  ".join(part for part in self.rows[-1] if part), file=sys.stderr, flush=True)

    def print(self) -> None:
        widths = [max(len(row[column]) for row in self.rows) for column in range(4)]
        for row in self.rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


# -- the rows ----------------------------------------------------------------------------------------------------------


def throughput(table: Rows, server: Endpoint, folder: Path, turns: int) -> float:
    """2,000 replies, 20 KB prompts, 200 ms, 128 at a time; the span without faults."""
    floor = -(-turns // IN_FLIGHT) * LATENCY_S
    start_up = run("king.py", workspace(folder / "one", 1), server.url).cpu_s
    work = workspace(folder / "throughput", turns, concurrency=IN_FLIGHT)
    server.reset()
    ran = run("king.py", work, server.url)
    span, cpu_ms = server.stats()["span_s"], 1000 * (ran.cpu_s - start_up) / turns
    saved = len(list((work / "answer_0").glob("*.json")))
    name = f"{turns:,} replies, {IN_FLIGHT} at a time"
    table.add(name, f"{saved:,} saved", "all", saved == turns)
    table.add("  first call to last reply", f"{span:.2f} s, {span / floor:.2f} x floor", "1.05 x", span <= 1.05 * floor)
    table.add("  CPU a reply over start-up", f"{cpu_ms:.2f} ms", "0.7 ms", cpu_ms <= 0.7)
    table.add("  peak memory", f"{ran.peak_mb:.0f} MB", "200 MB", ran.peak_mb <= 200)
    for client in ("aiohttp", "openai"):
        other = compare(client, server, turns)
        if other:
            table.add(f"  {client}, calls alone", f"{other['span_s']:.2f} s, {1000 * other['cpu_s'] / turns:.2f} ms")
    return span


def wide(table: Rows, server: Endpoint, folder: Path, turns: int, at_a_time: int = 512) -> None:
    """As many at a time as keep one core busy; three runs, the middle one counts."""
    spans, most = [], []
    for number in range(3):
        work = folder / f"wide-{number}"  # nothing is removed in between: see bench/README.md on ext4
        server.reset()
        run("king.py", workspace(work, turns, concurrency=at_a_time), server.url)
        stats = server.stats()
        spans.append(stats["span_s"])
        most.append(stats["most_in_flight"])
    saved = len(list((work / "answer_0").glob("*.json")))
    table.add(f"{turns:,} replies, {at_a_time} at a time", f"{saved:,} saved", "all", saved == turns)
    figure = f"{' '.join(f'{span:.2f}' for span in spans)} s, {' '.join(map(str, most))} in flight"
    table.add("  first call to last reply", figure, "1.8 s, 480", sorted(spans)[1] <= 1.8 and sorted(most)[1] >= 480)


def compare(client: str, server: Endpoint, turns: int, **settings: Any) -> dict[str, Any]:
    """Another client on the same work; {} where it is not installed."""
    if find_spec(client) is None:
        return {}
    server.reset(**settings)
    command = [sys.executable, "-m", "bench.clients", client, f"{server.url}/v1", *map(str, (turns, IN_FLIGHT, BYTES))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {**json.loads(done.stdout), **server.stats()}


def rerun(table: Rows, server: Endpoint, folder: Path, turns: int) -> None:
    """Everything done; and everything paid for but the stage's files lost."""
    work = folder / "throughput"
    if not (work / "answer_0").exists():
        run("king.py", workspace(work, turns, concurrency=IN_FLIGHT), server.url)
    server.reset()
    ran = run("king.py", work, server.url)
    table.add("rerun with everything done", f"{ran.wall_s:.2f} s", "1.5 s", ran.wall_s <= 1.5)
    shutil.rmtree(work / "answer_0")
    lost = run("king.py", work, server.url)
    saved, calls = len(list((work / "answer_0").glob("*.json"))), server.stats()["requests"]
    table.add("  the same, stage files lost", f"{lost.wall_s:.2f} s, {saved:,} saved", "", None)
    table.add("  calls of both", f"{calls}", "0", calls == 0)


def faults(table: Rows, server: Endpoint, folder: Path, turns: int, clean_span: float) -> None:
    """10 % 429 with Retry-After 1, 3 % 500, 1 % reset, 1 % truncated; three draws, the middle one counts.

    One draw says little about the span: it ends with the unluckiest request, whose own waits no client can shorten.
    """
    name = "faults: 10 % 429, 3 % 500, 1 % reset, 1 % cut"
    spans, calls, complete = [], [], []
    for seed in (1, 2, 3):
        work = workspace(folder / "faults", turns, concurrency=IN_FLIGHT)
        server.reset(faults=FAULTS, seed=seed)
        ran = run("king.py", work, server.url)
        stats = server.stats()
        spans.append(stats["span_s"])
        calls.append(stats["requests"])
        complete.append(len(list((work / "answer_0").glob("*.json"))) if not ran.code else 0)
    most, ratio = round(turns * 1.19), sorted(spans)[1] / clean_span
    table.add(name, f"{min(complete):,} of {turns:,}", "all", min(complete) == turns)
    table.add("  calls", " ".join(f"{count:,}" for count in calls), f"{most:,}", sorted(calls)[1] <= most)
    figure = f"{' '.join(f'{span:.2f}' for span in spans)} s, {ratio:.2f} x fault-free"
    table.add("  first call to last reply", figure, "2 x", ratio <= 2)
    other = compare("openai", server, turns, faults=FAULTS, seed=1)
    if other:
        table.add("  openai, calls alone", f"{other['answered']:,} of {turns:,}, {other['span_s']:.2f} s")


def capacity(table: Rows, server: Endpoint, folder: Path, latency_s: float) -> None:
    """An endpoint that takes K at a time and answers 429 beyond; 30 × K calls, no settings."""
    for slots in (5, 40, 200):
        work = workspace(folder / "capacity", 30 * slots, size=2000)
        server.reset(capacity=slots, latency_s=latency_s)
        run("king.py", work, server.url)
        stats = server.stats()
        reached, refused = 30 * latency_s / stats["span_s"], stats["outcomes"].get("full", 0) / stats["requests"]
        complete = stats["delivered"] == 30 * slots
        figure = f"{reached:.0%} of its throughput, {refused:.1%} refused"
        table.add(f"capacity {slots}", figure, "85 %, 5 %", complete and reached >= 0.85 and refused <= 0.05)


def neighbors(table: Rows, server: Endpoint, folder: Path, latency_s: float, processes: int = 8) -> None:
    """So many processes at once on an endpoint that takes 40: together, and each by itself."""
    slots, rounds = 40, 30
    for name, chain in (("together", ""), ("each by itself", "[endpoint]\nneighbors = false\n")):
        homes = [workspace(folder / f"neighbor_{n}", rounds * slots // processes, size=2000) for n in range(processes)]
        for home in homes:
            path = home / "chain.toml"
            path.write_text(path.read_text().replace("[endpoint]\n", chain or "[endpoint]\n"))
        server.reset(capacity=slots, latency_s=latency_s)
        cache = str(folder / "cache")
        for running in [start("king.py", home, server.url, XDG_CACHE_HOME=cache) for home in homes]:
            running.wait()
        stats, calls = server.stats(), rounds * slots // processes * processes
        reached = calls / slots * latency_s / stats["span_s"]
        refused = stats["outcomes"].get("full", 0) / stats["requests"]
        figure = f"{reached:.0%} of its throughput, {refused:.1%} refused"
        saved = sum(len(list(home.glob("answer_0/*"))) for home in homes)
        held = saved == calls and reached >= 0.85 and refused <= 0.05
        table.add(f"{processes} processes on 40 slots, {name}", figure, *(() if chain else ("85 %, 5 %", held)))


_MEMORY = """
import os, resource, signal, sys
from duel import settings
from duel.calls import Request, drive, route_for
from duel.synchronous import synchronous
from duel.workspace import Workspace
folder, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
work, seen = Workspace(folder), 0
class Job:
    def __init__(self, number):
        self.item, self.number = f"prompts_{count}_{number}", number
    def requests(self):
        messages = [{"role": "user", "content": f"REQID={self.number} " + "x" * 20000}]
        return [Request("king", self.item, "m", messages, 100)]
    async def work(self, ask):
        global seen
        await ask(self.requests()[0])
        seen += 1
        if seen == 2000 and count > 2000:
            os.kill(os.getpid(), signal.SIGINT)
chosen = settings.load(work.root, {("endpoint", "concurrency"): 128})
route = route_for(chosen, work, "writer", url)
synchronous(drive)((Job(i) for i in range(count)), workspace=work, settings=chosen, route=route, stage="king")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def memory(table: Rows, server: Endpoint, folder: Path) -> None:
    """The peak after 2,000 replies, with 2,000 and with 100,000 turns to do."""
    peaks = []
    for count in (2000, 100_000):
        work = folder / f"memory_{count}"
        work.mkdir(parents=True, exist_ok=True)
        server.reset()
        command = [sys.executable, "-c", _MEMORY, str(work), f"{server.url}/v1", str(count)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    figure = f"{peaks[0]} MB with 2,000 pending, {peaks[1]} MB with 100,000"
    table.add("memory after 2,000 replies", figure, "the same", peaks[1] <= 1.1 * peaks[0])


def kill(table: Rows, server: Endpoint, folder: Path, turns: int) -> None:
    """kill -9 half-way, then run again."""
    work = workspace(folder / "kill", turns, concurrency=IN_FLIGHT)
    server.reset()
    kill_when(lambda: server.stats()["delivered"] >= turns // 2, "king.py", work, server.url)
    run("king.py", work, server.url)
    stats, saved = server.stats(), len(list((work / "answer_0").glob("*.json")))
    table.add("kill -9 half-way, run again", f"{saved:,} of {turns:,}", "all", saved == turns)
    cut, unsaved = stats["requests"] - turns - stats["after_delivery"], stats["after_delivery"]
    figure = f"{cut} calls cut off, {unsaved} replies sent but not yet on disk"
    table.add("  only what was in flight is asked again", figure, f"{IN_FLIGHT} each", max(cut, unsaved) <= IN_FLIGHT)


def kill_when(moment: Callable[[], bool], script: str, work: Path, url: str) -> None:
    """Run a script and kill it when `moment` says so."""
    process = start(script, work, url)
    while process.poll() is None and not moment():
        time.sleep(0.001)
    if process.poll() is None:
        process.kill()
    process.wait()


def kills(table: Rows, folder: Path, count: int, seed: int) -> None:
    """kill -9 at random moments across king.py, ch.py and validate.py, against the stand-in endpoint."""
    from duel.workspace import Workspace
    from tests.offline import watched

    turns, concurrency, draw = 150, 8, random.Random(seed)
    work = workspace(folder / "kills", turns, concurrency=concurrency, size=3000)
    commits(work, turns)
    with (work / "chain.toml").open("a") as chain:
        chain.write("[judge]\nthinking_models = []\n[audit]\ndecontaminate = []\n")
    models = {"king.py": 1, "ch.py": 1, "validate.py": 3}
    calls = {"king.py": turns, "ch.py": turns, "validate.py": 6 * turns}
    allowed = 0
    with watched.endpoint(latency_s=0.02) as stand_in:
        for position, script in enumerate(models):
            for _ in range(share := (count + position) // len(models)):
                moment = stand_in.stats()["requests"] + draw.randrange(1, max(2, calls[script] // (share + 1)))
                reached = partial(lambda at: stand_in.stats()["requests"] >= at, moment)
                kill_when(reached, script, work, stand_in.base_url)
            allowed += share * concurrency * models[script]
            ran = run(script, work, stand_in.base_url)
            if ran.code:
                print(ran.err, file=sys.stderr)
        again = stand_in.stats()["requests_after_ok"]
    space = Workspace(work)
    written = sum(bool(answer.king and answer.challenger) for _, answer in space.answers([]))
    judged = sum(score.parsed for _, score in space.scores([]))
    complete = f"{written} of {turns} written, {judged} judged"
    table.add(f"kill -9 at {count} random moments", complete, "all", written == judged == turns)
    table.add("  delivered and asked again", f"{again} calls", f"{allowed} in flight at the kills", again <= allowed)


def commits(work: Path, turns: int) -> None:
    """A small pull request for each prompt."""
    from duel.records import ChangedFile, Commit
    from duel.workspace import Workspace

    space = Workspace(work)
    for number in range(turns):
        patch = f"--- a/src/app.py\n+++ b/src/app.py\n@@ -1 +1 @@\n-lines = text[:-1]\n+lines = text  # {number}\n"
        record = Commit(instance_id=f"o__r-{number}", repo="o/r", files=[ChangedFile(path="src/app.py")], patch=patch)
        space.save(space.commit_path(record.instance_id), record)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["throughput", "wide", "rerun", "faults", "capacity", "neighbors", "memory", "kill", "kills"]
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(names))
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--latency", type=float, default=LATENCY_S, help="of the capacity rows, in seconds")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = arguments.rows or names
    if unknown := set(rows) - set(names):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    table, turns = Rows(), arguments.turns
    with tempfile.TemporaryDirectory() as made, endpoint() as server:
        folder, span = Path(made), 0.0
        if {"throughput", "faults"} & set(rows):
            span = throughput(table, server, folder, turns)
        if "wide" in rows:
            wide(table, server, folder, turns)
        if "rerun" in rows:
            rerun(table, server, folder, turns)
        if "faults" in rows:
            faults(table, server, folder, turns, span)
        if "capacity" in rows:
            capacity(table, server, folder, arguments.latency)
        if "neighbors" in rows:
            neighbors(table, server, folder, max(arguments.latency, 2.0))
        if "memory" in rows:
            memory(table, server, folder)
        if "kill" in rows:
            kill(table, server, folder, turns)
        if "kills" in rows:
            kills(table, folder, arguments.kills, arguments.seed)
    print(f"\nload {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", file=sys.stderr)
    table.print()


if __name__ == "__main__":
    main()
