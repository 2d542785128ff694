"""What sampling costs: 2,000 prompts from 20 files of 10,000 rows each, over a Hub on loopback.

    python -m bench.sampling [--rows 10000] [--files 20] [--keep DIR]

Makes files shaped like the dataset's (100 rollouts a pull request, about 20 KB of text a row, zstd, one row group),
serves them, runs prompt.py on them as a user would, and prints seconds, peak memory and how often each file was sent.
The budget: each file read once, 7.5 s and 300 MB. On two quiet cores, of which the server of the files takes its share,
it took 7.1 to 7.6 s and 280 to 290 MB; from local files 5.0 s in the same quarter of an hour.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.hub import LoopbackHub  # noqa: E402
from tests.sources.tables import TRAJECTORIES, base_commit, issue, pull  # noqa: E402

ROLLOUTS = 100
# Runs a script and prints the peak of its own process: what the kernel tells a parent of its child includes the parent.
MEASURED = """
import atexit, re, runpy, sys
from pathlib import Path
status = Path("/proc/self/status")
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]) // 1024
atexit.register(lambda: print("peak", peak(), "MB", flush=True))
sys.argv = sys.argv[1:]
sys.path[0] = str(Path(sys.argv[0]).parent)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
LETTERS = b"abcdefghijklmnopqrstuvwxyz"


def main() -> None:
    """Make, serve, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--keep", type=Path, help="make the files here, or use those that are here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, LoopbackHub() as hub:
        folder = options.keep or Path(scratch)
        files = {f"data/train-{i:05d}.parquet": folder / f"train-{i:05d}.parquet" for i in range(options.files)}
        for number, path in enumerate(files.values()):
            if not path.exists():
                make_file(path, number, options.rows)
        mirror = folder / "pulls.parquet"
        if not mirror.exists():
            make_pulls(mirror, [name for number in range(options.files) for name in names(number, options.rows)])
        hub.add("bench/rollouts", dict(files))
        hub.add("bench/pulls", {"data/pulls.parquet": mirror})
        print(f"{len(files)} files, {sum(path.stat().st_size for path in files.values()) / 1e6:,.0f} MB")
        run(hub, Path(scratch), files)


def run(hub: LoopbackHub, scratch: Path, files: dict[str, Path]) -> None:
    """Two runs of prompt.py: the second has nothing to do."""
    workspace = scratch / "workspace"
    workspace.mkdir()
    (workspace / "chain.toml").write_text(
        '[sample]\ndataset = "bench/rollouts"\npulls = "bench/pulls"\n[audit]\ndecontaminate = []\n'
    )
    environment = {**os.environ, **hub.environment, "HF_HOME": str(scratch / "hub")}
    for what in ("first run", "rerun"):
        started = time.perf_counter()
        flags = ["--workspace", str(workspace), "--files", str(len(files))]
        subprocess.run([sys.executable, "-c", MEASURED, str(ROOT / "prompt.py"), *flags], env=environment, check=True)
        print(f"{what}: {time.perf_counter() - started:.1f} s, {len(hub.requests)} requests so far")
    sent = hub.downloads()
    print(f"each file was sent {min(sent.values())} to {max(sent.values())} times ({len(sent)} files)")


def names(number: int, rows: int, rollouts: int = ROLLOUTS) -> list[str]:
    """The pull requests of one file."""
    return [f"owner{k % 40}__repo-{number * 10_000 + k}" for k in range(rows // rollouts)]


def make_file(path: Path, number: int, rows: int, rollouts: int = ROLLOUTS) -> None:
    """One file: `rows` rollouts, 16 to 24 messages of about 1 KB each."""
    rng = random.Random(number)
    pool = text(rng, 4_000_000)
    made = []
    for name in names(number, rows, rollouts):
        task = f"{issue(name)}\n\n{text(rng, 3000)}\n\n- Base commit: {base_commit(name)}\n"
        for rollout in range(rollouts):
            said = [{"role": "system", "content": "One bash block per reply. " * 60}, {"role": "user", "content": task}]
            for _ in range(rng.randint(7, 11)):
                start, length = rng.randrange(len(pool) - 4000), int(rng.expovariate(1 / 1400))
                said.append({"role": "assistant", "content": f"I look.\n\n```bash\n{pool[start : start + 200]}\n```"})
                said.append({"role": "user", "content": "Observation: " + pool[start : start + min(4000, length)]})
            made.append(
                {
                    "instance_id": name,
                    "repo": name.rpartition("-")[0].replace("__", "/"),
                    "messages": said[:-1],
                    "trajectory_format": "mini-swe-agent-1",
                    "exit_status": "Submitted" if rollout % 4 == 0 else "incomplete",
                    "duration_sec": 1.0,
                }
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(made, TRAJECTORIES), path, compression="zstd", row_group_size=rows)


def make_pulls(path: Path, ids: list[str]) -> None:
    """The wanted pull requests among nine times as many others, about 50 KB each, 1,000 to a row group."""
    rng = random.Random(0)
    pool = text(rng, 4_000_000)

    def piece(mean: int) -> str:
        start = rng.randrange(len(pool) - 400_000)
        return pool[start : start + min(400_000, int(rng.expovariate(1 / mean)))]

    everyone = [name for wanted in ids for name in (wanted, *(f"{wanted}{k}" for k in range(9)))]
    writer = None
    for start in range(0, len(everyone), 1000):
        rows = []
        for name in everyone[start : start + 1000]:
            tests = [
                pool[at : at + 40] for at in (rng.randrange(1_000_000) for _ in range(int(rng.expovariate(1 / 300))))
            ]
            rows.append(pull(name, patch=piece(20_000), test_patch=piece(10_000), PASS_TO_PASS=tests))
        table = pa.Table.from_pylist(rows)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def text(rng: random.Random, size: int) -> str:
    """Text that compresses about as well as code does."""
    words = [bytes(rng.choices(LETTERS, k=rng.randint(3, 9))).decode() for _ in range(3000)]
    return " ".join(rng.choices(words, k=size // 6))[:size]


if __name__ == "__main__":
    main()
