"""What the larger set is made of, beside what string variation and splits by row give.

    python -m bench.larger_set --plans 200 [OWNER/NAME@COMMIT …] [--mirrors DIR]   yield, diversity, observations again
    python -m bench.larger_set --requests 900                                      diversity of their requests alone
    python -m bench.larger_set --pairs REPOSITORY …                                pairs a CPU second, by language
    python -m bench.larger_set --splits WORKSPACE                                  what rows of `combined` share

String variation is the way that is often taken: a template, a random name, and an observation that nobody made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from duel import offline, settings  # noqa: E402
from duel.bookkeeping import LeftOut  # noqa: E402
from duel.conversation.model import calls_made  # noqa: E402
from duel.execution import backends  # noqa: E402
from duel.offline.rules import row_words  # noqa: E402
from duel.scaling import augmentation, code_pairs, episodes, likeness  # noqa: E402
from duel.scaling.phrasing import Phrasing  # noqa: E402
from duel.scaling.scaled_rows import ScaledRow  # noqa: E402
from duel.stages import scale  # noqa: E402
from duel.workspace import Workspace  # noqa: E402

_ASKS = {
    "read": ["Read file {f}", "Show me {f}", "What's in {f}?", "Can you open {f}"],
    "grep": ["Search for {n}", "Find {n} in the code", "Look for {n}"],
    "glob": ["List all files like {f}", "Find files named {f}"],
    "bash": ["Run the tests", "Run {f}"],
    "edit": ["Rename {n} in {f}", "Change {n} in {f}"],
}


def string_variation(count: int) -> list[ScaledRow]:
    """Rows as the seeds' plan words them: five tools, a dozen templates, an invented "Done."."""
    draw, rows = random.Random(1), []
    for number in range(count):
        tool = draw.choice([*_ASKS])
        path = draw.choice(["src/app.py", "utils/helper.ts", "main.go", "config.json", "README.md", "lib/parser.js"])
        name = draw.choice(["getUser", "parse", "login", "fetchData", "init", "render"])
        asked = draw.choice(["", "Please ", "Can you ", "Hey, "]) + draw.choice(_ASKS[tool]).format(f=path, n=name)
        call = {"id": "c1", "type": "function", "function": {"name": tool, "arguments": {"path": path}}}
        messages = [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "Successfully completed."},
            {"role": "assistant", "content": "Done."},
        ]
        source = {"kind": "synthetic", "name": "none", "row": number}
        row = {"id": str(number), "messages": messages, "source": source, "made": {"names": [path, name]}}
        rows.append(ScaledRow.model_validate(row))
    return rows


async def executed_again(workspace: Workspace, rows: list[ScaledRow]) -> int:
    """How many rows' observations come again when all their calls are executed once more."""
    flags, defaults = offline.overrides(True)
    chosen = settings.load(workspace.root, flags, defaults)
    machine = backends.open_executor(workspace, chosen, backends.limits(chosen), offline=True)
    same = 0
    try:
        for row in rows:
            parent = augmentation.Parent(row)
            calls = calls_made(parent.beats)
            seen, _ = await episodes.again(machine, parent.start, calls)
            same += [one.text for one in seen] == [call.result for call in row.calls()]
    finally:
        await machine.close()
    return same


def measure_plans(count: int, places: list[str], mirrors: str) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        if mirrors:
            (folder / "chain.toml").write_text(f'[execute]\nbackend = "bubblewrap"\nrepositories = "{mirrors}"\n')
        workspace, (flags, defaults) = Workspace(folder), offline.overrides(True)
        chosen = settings.load(folder, flags, defaults)
        began = time.monotonic()
        result = scale.run(workspace, chosen, what="synthesize", place=places, count=count, offline=True)
        print(*result.found, f"in {time.monotonic() - began:.0f} s")
        lines = (folder / "training-data/scaled/synthetic/plans.jsonl").read_bytes().splitlines()
        rows = [ScaledRow.parse(line) for line in lines]
        print("kinds", dict(Counter(row.made["kind"] for row in rows).most_common()))
        print("sequences of calls:", len({tuple(call.name for call in row.calls()) for row in rows}))
        print(f"observations reproduced: {asyncio.run(executed_again(workspace, rows))} of {len(rows)}")
        say_diversity(rows)
    finally:
        shutil.rmtree(folder)


def say_diversity(rows: list[ScaledRow]) -> None:
    sample = sorted(rows, key=lambda row: random.Random(row.id).random())[: likeness.SAMPLE]
    said, varied = likeness.figures(sample), likeness.figures(string_variation(len(sample)))
    print(f"{len(sample)} rows")
    for name, (low, high) in likeness.WANTED.items():
        print(f"{name:<22}{said[name]:>8.3f}   string variation {varied[name]:>6.3f}   wanted {low:g} to {high:g}")


async def measure_requests(count: int) -> None:
    """Plans are drawn and their requests worded by the stand-in's grammar; what needs execution is left out."""
    flags, defaults = offline.overrides(True)
    workspace, drops = Workspace(Path(tempfile.mkdtemp())), LeftOut()
    chosen = settings.load(workspace.root, flags, defaults)
    machine = backends.open_executor(workspace, chosen, backends.limits(chosen), offline=True)
    rows = []
    try:
        for _, row, _ in await episodes._drawn(machine, episodes.bundled(), count, 0, drops):
            messages = [{"role": "user", "content": row.made["asked"][0]}]
            rows.append(ScaledRow.model_validate({**row.model_dump(), "messages": messages}))
    finally:
        await machine.close()
        shutil.rmtree(workspace.root)
    for row, job in zip(rows, Phrasing(chosen, b"secret", drops).jobs(rows), strict=True):
        row.messages[0].content = row_words.reply(job.requests()[0].messages)
    say_diversity([*likeness.varied(rows, drops)])


def measure_pairs(repositories: list[str]) -> None:
    for place in map(Path, repositories):
        drops = LeftOut()
        began = time.process_time()
        rows = [*code_pairs.rows(place, drops)]
        spent = time.process_time() - began
        kinds = Counter((row.made["language"], row.made["kind"]) for row in rows)
        print(f"{place.name}: {len(rows):,} pairs, {spent:.1f} CPU s, {len(rows) / spent:,.0f} a second; {dict(kinds)}")
        print("  left out:", dict(drops.most_common(6)))


def measure_splits(folder: Path) -> None:
    """Share of the rows outside train that share a repository, a commit or a parent with one of train."""
    sources: dict[str, ScaledRow] = {}
    for path in folder.glob("training-data/scaled/*/*.jsonl"):
        if path.parent.name != "combined":
            sources |= {row.id: row for row in map(ScaledRow.parse, path.read_bytes().splitlines())}
    with (folder / "training-data/scaled/combined/rows.jsonl").open("rb") as lines:
        split = {row["id"]: row["split"] for row in map(json.loads, lines)}
    by_row = {name: random.Random(name).choices(["train", "validation", "test"], [80, 10, 10])[0] for name in split}
    for way, placed in (("by group", split), ("by row, as often done", by_row)):
        kept = {name: sources[name].tied_by() for name in placed}
        trained = {key for name in placed if placed[name] == "train" for key in kept[name]}
        others = [name for name in placed if placed[name] != "train"]
        shared = sum(bool(trained.intersection(kept[name])) for name in others)
        print(f"split {way}: {shared} of {len(others)} rows outside train share a repository, commit or parent with it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", nargs="*")
    parser.add_argument("--plans", type=int, default=0)
    parser.add_argument("--mirrors", default="")
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--pairs", nargs="+", default=[])
    parser.add_argument("--splits", type=Path)
    asked = parser.parse_args()
    if asked.plans:
        measure_plans(asked.plans, asked.place, asked.mirrors)
    if asked.requests:
        asyncio.run(measure_requests(asked.requests))
    if asked.pairs:
        measure_pairs(asked.pairs)
    if asked.splits:
        measure_splits(asked.splits)


if __name__ == "__main__":
    main()
