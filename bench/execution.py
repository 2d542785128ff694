"""What executing a turn costs: `python -m bench.execution` replays 5 commands and runs 2 candidates, over 100 turns.

Turns of the bundled sample, by forks of each kind; with `--docker` also in containers (12 turns), of a daemon that
answers or, for root, is started here. Prints CPU (this process and all it starts, the started daemon included) and wall
time a turn, and the memory of this process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import tempfile
import time
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq

from duel import offline
from duel.execution.bubblewrap import Bubblewrap
from duel.execution.checkouts import Sources
from duel.execution.executor import Executor, Start
from duel.execution.replay import Task, as_done, observe
from duel.records import Message
from tools import tools_image

REPLAYED = 5
TURNS = 100


def main() -> None:
    """Print one line a back end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--docker", action="store_true", help="measure containers as well")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sources = Sources(Path(folder), offline=True)
        todo = tasks(given.turns)
        asyncio.run(measure(Bubblewrap(sources), todo[:1], 1))  # builds the mirrors, outside the figures
        for task in todo:
            sources.find(task.start.repository, task.start.commit)
        print(f"{'forks':<28}{'turns':>6}{'same':>6}{'CPU ms/turn':>13}{'wall ms/turn':>14}{'memory MB':>11}")
        for forks in ("overlay", "copy"):
            report(lambda forks=forks: Bubblewrap(sources, forks=forks), todo, given.workers)
        if given.docker:
            from duel.execution.containers import Containers

            with tools_image.daemon() as host:
                os.environ["DOCKER_HOST"] = host or os.environ.get("DOCKER_HOST", "")
                image = tools_image.make(Path(folder))
                report(lambda: Containers(sources, image=image), todo[:12], given.workers)


def tasks(count: int) -> list[Task]:
    """Turns with exactly REPLAYED commands before them: their own next turn, and the one of another rollout."""
    rows = pq.read_table(offline.SAMPLE / "trajectories.parquet").to_pylist()
    pulls = {row["instance_id"]: row for row in pq.read_table(offline.SAMPLE / "pulls.parquet").to_pylist()}
    found = []
    for number, row in enumerate(rows):
        messages = [Message(**message) for message in row["messages"]]
        turns = [place for place, message in enumerate(messages) if message.role == "assistant"]
        if len(turns) <= REPLAYED:
            continue
        pull, place = pulls[row["instance_id"]], turns[REPLAYED]
        start = Start(pull["repo"], pull["base_commit"], pull["test_patch"])
        texts = {"king-1": messages[place].content, "challenger-1": messages[turns[1]].content}
        found.append(Task(str(number), start, messages[:place], texts))
    assert len(found) >= count, f"the sample has {len(found)} such turns"
    return found[:count]


def report(make: object, todo: list[Task], workers: int) -> None:
    """Measure one back end, its probe and its tool root included."""
    before, started = cpu(), time.monotonic()
    executor: Executor = make()  # type: ignore[operator]
    ran, name = asyncio.run(measure(executor, todo, workers)), executor.describe()
    used, wall = cpu() - before, time.monotonic() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    turns = len(todo)
    print(f"{name:<28}{turns:>6}{ran:>6}{1000 * used / turns:>13.1f}{1000 * wall / turns:>14.1f}{memory:>11.0f}")


async def measure(executor: Executor, todo: list[Task], workers: int) -> int:
    """Run all; returns how many had evidence for both sides."""
    both = 0
    async for _task, found in as_done(partial(observe, executor), islice(todo, None), workers):
        both += all(one.ran for one in found.values())
    await executor.close()
    return both


def cpu() -> float:
    """Seconds of CPU that this process and everything it has waited for have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
