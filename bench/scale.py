"""What grows with turns: CPU a turn and peak memory of every stage, on made workspaces of several sizes.

    python -m bench.scale [--turns 2000 20000] [--only king report] [--keep DIR]
    python -m bench.scale --turns 2000 100000
    python -m bench.scale --regate 1000000        regate alone, on made scores

Makes trajectories and pull requests (four rollouts each, about 20 KB of text a turn) and runs the stages one after the
other as a user runs them, against the stand-in endpoint in a process of its own, whose CPU is not counted. `rerun` is
the same stage once all of them are done; `regate, no table` reads every record, because the table of votes is gone.
Seconds depend on what else the machine does: read CPU and the ratios. A ratio is the last size to the first: of CPU a
turn (1: linear) and of memory (1: flat).
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.programs import Ran, run, serving  # noqa: E402
from bench.sampling import make_file, text  # noqa: E402

ROLLOUTS, FILE_ROWS = 4, 8000
SAMPLE = """
[sample]
dataset = "runs"
pulls = "pulls.parquet"
n = {turns}
files = {files}
max_history_tokens = 12000
"""
CLI = "duel/__main__.py"
# Name, script, arguments; in the order of a run.
STAGES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("prompt", "prompt.py", ()),
    ("plan of a run", "run.py", ("--plan",)),
    ("prompt, rerun", "prompt.py", ()),
    ("king", "king.py", ()),
    ("ch", "ch.py", ()),
    ("audit", CLI, ("audit",)),
    ("validate", "validate.py", ()),
    ("report", "report.py", ()),
    ("king, rerun", "king.py", ()),
    ("ch, rerun", "ch.py", ()),
    ("audit, rerun", CLI, ("audit",)),
    ("validate, rerun", "validate.py", ()),
    ("report, rerun", "report.py", ()),
    ("rerun of all", "run.py", ()),
    ("regate", "validate.py", ("--regate",)),
    ("regate, no table", "validate.py", ("--regate",)),
    ("export sft-completion", CLI, ("export", "--format", "sft-completion", "--buckets", "{buckets}")),
    ("export dpo", CLI, ("export", "--format", "dpo", "--buckets", "{buckets}")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, nargs="+", default=[2000, 20_000])
    parser.add_argument("--only", nargs="+", metavar="STAGE", help="these stages; with --keep, those before are done")
    parser.add_argument("--keep", type=Path, help="make the workspaces here, or use those that are here")
    parser.add_argument("--regate", type=int, metavar="TURNS", help="only a regate over made scores")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        if asked.regate:
            command = [sys.executable, "-m", "bench.regate", str(folder / "regate"), "--turns", str(asked.regate)]
            subprocess.run(command, cwd=ROOT, check=True)
            return
        measured = {turns: measure(folder / str(turns), turns, asked.only) for turns in sorted({*asked.turns})}
    print_table(measured)


def measure(folder: Path, turns: int, only: Sequence[str] | None) -> dict[str, Ran]:
    """Every stage once on a workspace of `turns` turns."""
    if not (folder / "chain.toml").exists():
        make(folder, turns)
    done: dict[str, Ran] = {}
    with serving("duel.offline") as url:
        for name, script, arguments in STAGES:
            if only and name not in only:
                continue
            buckets = ",".join(bucket for bucket in ("final", "refined") if any((folder / bucket).glob("*.json")))
            if name == "regate, no table":
                (folder / ".duel" / "scores.parquet").unlink(missing_ok=True)
            ran = run(script, folder, url, *(word.format(buckets=buckets or "final") for word in arguments))
            if ran.code:
                sys.exit(f"{name} ended with {ran.code}:\n{ran.err[-2000:]}")
            done[name] = ran
            print(f"{turns:,}: {name}: {ran.cpu_s:.1f} s of CPU, {ran.peak_mb:.0f} MB", file=sys.stderr, flush=True)
    return done


def make(folder: Path, turns: int) -> None:
    """Trajectories and pull requests of a tenth more than `turns`: a few runs have no turn that is short enough."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from bench.sampling import names
    from tests.sources.tables import PATCH, pull
    from tests.stages.conftest import MODELS

    rows = (turns + turns // 10 + 10) * ROLLOUTS
    files = -(-rows // FILE_ROWS)
    ids: list[str] = []
    for number in range(files):
        count = min(FILE_ROWS, rows - number * FILE_ROWS)
        make_file(folder / "runs" / f"train-{number:05d}.parquet", number, count, ROLLOUTS)
        ids += names(number, count, ROLLOUTS)
    rng = random.Random(0)
    pool = text(rng, 400_000)
    with pq.ParquetWriter(folder / "pulls.parquet", pa.Table.from_pylist([pull("o__r-1")]).schema) as writer:
        for start in range(0, len(ids), 1000):
            made = [
                pull(name, pr_description=pool[at : at + 800], patch=patch(PATCH, rng))
                for name in ids[start : start + 1000]
                for at in [rng.randrange(390_000)]
            ]
            writer.write_table(pa.Table.from_pylist(made, writer.schema))
    (folder / "chain.toml").write_text(SAMPLE.format(turns=turns, files=files) + MODELS)


def patch(plain: str, rng: random.Random) -> str:
    """A patch of its own files and names."""
    word = f"{rng.getrandbits(32):08x}"
    return plain.replace("app.py", f"app_{word}.py").replace("broken", f"broken_{word}")


def whole(name: str) -> bool:
    """True for what is to take seconds at any size: told in all, not for 1,000 turns."""
    return "rerun" in name or name == "plan of a run"


def print_table(measured: dict[int, dict[str, Ran]]) -> None:
    sizes = list(measured)
    heads = [f"{size:,}: s, CPU s, MB" for size in sizes]
    print("| stage, per 1,000 turns (plan and reruns: in all) | " + " | ".join(heads) + " | CPU a turn | memory |")
    print("|---" * (len(sizes) + 3) + "|")
    for name in measured[sizes[0]]:
        ran = [(size, measured[size][name]) for size in sizes]
        per = [1 if whole(name) else n / 1000 for n, _ in ran]
        cells = [f"{r.wall_s / p:.2f}, {r.cpu_s / p:.2f}, {r.peak_mb:.0f}" for p, (_, r) in zip(per, ran, strict=True)]
        (first, a), (last, b) = ran[0], ran[-1]
        ratios = f"{b.cpu_s / last / (a.cpu_s / first):.2f} x | {b.peak_mb / a.peak_mb:.2f} x"
        print(f"| {name} | {' | '.join(cells)} | {ratios} |")


if __name__ == "__main__":
    main()
