"""What the gate costs: 2,000 turns, 10,000 resamples, five dimensions and the total.

    python -m bench.gate [--turns 2000]

Prints seconds and memory for the bounds alone and for the whole verdict with all its tables, each in a fresh process,
once with one turn a pull request (2,000 clusters) and once with one to eight (about 445). The budget: 0.5 s, 60 MB.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=2000)
    parser.add_argument("--one", choices=["bounds", "verdict"], help=argparse.SUPPRESS)
    parser.add_argument("--single", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(arguments.one, arguments.turns, arguments.single)
        return
    for what in ("bounds", "verdict"):
        for layout in ("--single", ""):
            command = [sys.executable, __file__, "--turns", str(arguments.turns), "--one", what, layout]
            subprocess.run([word for word in command if word], check=True)


def measure(what: str, turns: int, single: bool) -> None:
    import numpy as np

    from duel.judging import bounds, gate
    from duel.judging.scoring import VoteTable
    from duel.settings import Settings
    from tests.judging.panels import HEAVY_TIES, case_of, scores_of, simulate

    settings = Settings()
    votes, labels = simulate(HEAVY_TIES, turns // 4, np.random.default_rng(1))
    scores = scores_of(votes[:turns], np.arange(turns) if single else labels[:turns], settings)
    case = case_of(scores, settings)
    table = VoteTable(case.columns, settings)
    units, other = bounds.choose(case.columns, table.parsed, settings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, processor = time.perf_counter(), time.process_time()
    if what == "bounds":
        bounds.measure(table, units, other, settings, settings.duel.gate_alpha)
    else:
        gate.decide(case)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    clusters = units.count
    cost = f"{seconds:.3f} s ({processor:.3f} s of processor), {memory:.0f} MB"
    print(f"{what:<8} {len(scores)} turns, {clusters} clusters: {cost}", flush=True)


if __name__ == "__main__":
    main()
