"""Whether `duel verify` agrees with what the recorder knows: `python -m bench.verification` runs every rollout's tests.

The recorder knows a rollout to be resolved where its change holds the fix's lines. Tests run in bubblewrap on this
machine's own compilers and interpreters: what it lacks is named. Takes about a CPU second a rollout, cargo and go ten.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from duel import offline
from duel.execution.bubblewrap import Bubblewrap
from duel.execution.checkouts import Sources
from duel.execution.executor import Limits
from duel.execution.replay import as_done
from duel.execution.verification import Attempt, Verified, Verifier
from duel.records import Message
from duel.sources.parquet_tables import LocalTable
from duel.sources.pulls import Pulls
from duel.stages.verify import attempt_of
from tools.recording import sample_repositories


class Known(NamedTuple):
    """One rollout: what its tests say and what the recorder knows."""

    key: str
    verified: Verified
    fixed: bool


class Remembering(Verifier):
    """A verifier that keeps what each rollout changed: its history is replayed once."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.changed: dict[int, str] = {}

    async def change(self, attempt: Attempt) -> str:
        return self.changed.setdefault(id(attempt), await super().change(attempt))


def main() -> None:
    """Print one line a repository, and every rollout on which the two differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="NAME", help="one repository of the bundled sample")
    given = parser.parse_args()
    print(f"{'repository':<24}{'rollouts':>9}{'verified':>9}{'agree':>7}  not verified")
    for repository in sample_repositories.load(given.only):
        name, found = repository.name, asyncio.run(verified(repository))
        told = [one for one in found if one.verified.resolved is not None]
        agree = sum(one.verified.resolved == one.fixed for one in told)
        reasons = Counter(one.verified.why_not.replace("\n", " ")[:90] for one in found if one.verified.why_not)
        print(f"{name:<24}{len(found):>9}{len(told):>9}{agree:>7}  {'; '.join(reasons)}", flush=True)
        for one in told:
            if one.verified.resolved != one.fixed:
                print(f"  {one.key}: the tests say {one.verified.resolved}, the recorder {one.fixed}")


async def verified(
    repository: sample_repositories.SampleRepository, ending: str = "", seconds: float = 300.0
) -> list[Known]:
    """Every rollout of one bundled repository; with `ending`, of the instances whose names end so."""
    rows = pq.read_table(offline.SAMPLE / "trajectories.parquet").to_pylist()
    table = LocalTable("pulls", {"pulls.parquet": offline.SAMPLE / "pulls.parquet"})
    pulls = {commit.instance_id: commit for commit in Pulls(table).commits({row["instance_id"] for row in rows})}
    with tempfile.TemporaryDirectory() as folder:
        fixes = {base.instance_id: dict(base.fix) for base, _row in sample_repositories.bases(repository, _new(folder))}
        sources = Sources(Path(folder, "cache"), offline=True)
        tester, replayer = Bubblewrap(sources, Limits(keep=1 << 20), whole_machine=True), Bubblewrap(sources)
        verifier = Remembering(tester, replayer, seconds)
        todo = [
            attempt_of(
                row["instance_id"], pulls[row["instance_id"]], [Message(**message) for message in row["messages"]]
            )
            for row in rows
            if row["repo"] == repository.name and row["instance_id"].endswith(ending)
        ]
        found = []
        async for attempt, one in as_done(verifier.verify, iter(todo), 2):
            change = verifier.changed.get(id(attempt), "")
            found.append(Known(attempt.key, one, _fixed(change, sources, attempt, fixes[attempt.key])))
        await verifier.close()
    return found


def _new(folder: str) -> Path:
    history = Path(folder, "history")
    history.mkdir()
    return history


def _fixed(change: str, sources: Sources, attempt: Attempt, fix: dict[str, str]) -> bool:
    """Whether the rollout's change holds every line that the fix brings."""
    brought = Counter(line[1:] for line in change.splitlines() if line.startswith("+"))
    mirror, commit = sources.find(attempt.start.repository, attempt.start.commit).folder, attempt.start.commit
    for path, text in fix.items():
        ask = ["git", "-C", str(mirror), "show", f"{commit}:{path}"]
        before = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.splitlines()
        if Counter(text.splitlines()) - Counter(before) - brought:
            return False
    return True


if __name__ == "__main__":
    main()
