"""What a regate costs over many turns: from the table that an earlier one kept, every file's name and time compared.

    python -m bench.regate FOLDER [--turns 1000000]

Fills FOLDER with as many empty answer and score files (they are never read) and a table of simulated votes over 3,200
repositories, then runs the regate in a fresh process. Prints seconds and memory. The budget: 60 s and 2 GB.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from duel.settings import Settings
from duel.stages import validate
from duel.workspace import Workspace

# The judges of the simulated votes.
SETTINGS = Settings.model_validate({"judge": {"models": ["a/one", "b/two", "c/three"]}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--turns", type=int, default=1_000_000)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.folder)
        return
    fill(arguments.folder, arguments.turns)
    subprocess.run([sys.executable, __file__, str(arguments.folder), "--measure"], check=True)


def fill(folder: Path, turns: int) -> None:
    from bench.false_accepts import World, duel
    from duel.bookkeeping import Stage
    from duel.judging import kept_case
    from duel.judging.gate import Case
    from duel.judging.panel import Panel
    from duel.standing import Snapshot

    for number in range(turns):
        for name in (f"answer_{number // 5000}", "score"):
            if number % 5000 == 0:
                (folder / name).mkdir(parents=True, exist_ok=True)
            os.close(os.open(f"{folder}/{name}/p_1_{number}.json", os.O_CREAT | os.O_WRONLY))
    votes, _ = duel(World(turns=turns, repositories=3200), 1)
    panel = Panel(Stage("validate", Workspace(folder), SETTINGS))
    kept_case.keep(panel, Case(votes, SETTINGS, left_out={}), Snapshot.take(panel.workspace, "answer", "score"), turns)


def measure(folder: Path) -> None:
    start, processor = time.perf_counter(), time.process_time()
    found = validate.run(Workspace(folder), SETTINGS, regate=True).found
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{found.turns:,} turns: {seconds:.1f} s ({processor:.1f} s of processor), {memory:,.0f} MB")


if __name__ == "__main__":
    main()
