"""What mining costs: a folder of 200 MB of sessions, every turn of them eligible.

    python -m bench.sessions [--megabytes 200] [--keep DIR]

Makes session files in Claude Code's shape (a progress line for each call, edits with the file before, commands with
long output), runs duel mine on them as a user would, and prints seconds and peak memory. The budget: 20 s and 300 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "/home/someone/projects/shop"
TURNS = 120
WORDS = "order basket price stock item total discount customer address invoice return refund parse render".split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--keep", type=Path, help="make the files here and leave them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary) / "sessions"
        size = make(folder, options.megabytes << 20)
        print(f"{size / 2**20:,.0f} MB in {sum(1 for _ in folder.iterdir()):,} files")
        start = time.perf_counter()
        command = [sys.executable, "-m", "duel", "mine", str(folder), "--workspace", str(Path(temporary))]
        process = subprocess.Popen(command)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        print(
            f"{seconds:.1f} s, {usage.ru_maxrss / 1024:,.0f} MB at most, exit code {os.waitstatus_to_exitcode(status)}"
        )


def make(folder: Path, size: int) -> int:
    """Fill `folder` with at least `size` bytes of sessions."""
    folder.mkdir(parents=True, exist_ok=True)
    written = number = 0
    while written < size:
        draw = random.Random(number)
        data = b"".join(json.dumps(line).encode() + b"\n" for line in session(draw, number))
        (folder / f"{number:05}.jsonl").write_bytes(data)
        written += len(data)
        number += 1
    return written


def session(draw: random.Random, number: int) -> Iterator[dict[str, Any]]:
    """The lines of one session: a task, then calls and their results in turn."""
    common = {"sessionId": f"session-{number}", "cwd": FOLDER, "version": "2.1.39", "isSidechain": False}
    parent: str | None = None

    def line(kind: str, **fields: Any) -> dict[str, Any]:
        nonlocal parent
        key = f"{number}-{draw.getrandbits(64):016x}"
        made = {"type": kind, "uuid": key, "parentUuid": parent, "timestamp": "2026-01-02T03:04:05.678Z"}
        parent = key
        return made | common | fields

    yield line("user", message={"role": "user", "content": f"Make the shop faster, part {number}."})
    for turn in range(TURNS):
        use = f"toolu_{number}_{turn}"
        name, arguments, result, outcome = call(draw)
        block = {"type": "tool_use", "id": use, "name": name, "input": arguments}
        content = [{"type": "text", "text": prose(draw, 30)}, block]
        yield line("assistant", message={"id": f"msg_{use}", "role": "assistant", "content": content})
        yield line("progress", data={"type": "hook_progress", "hookName": f"PostToolUse:{name}"})
        answer = {"type": "tool_result", "tool_use_id": use, "content": result}
        yield line("user", message={"role": "user", "content": [answer]}, toolUseResult=outcome)
    done = [{"type": "text", "text": "Done."}]
    yield line("assistant", message={"id": f"msg_{number}_end", "role": "assistant", "content": done})


def call(draw: random.Random) -> tuple[str, dict[str, Any], str, dict[str, Any]]:
    """(tool, arguments, result, what the harness notes) of one call."""
    path = f"{FOLDER}/src/{draw.choice(WORDS)}.py"
    lines = [f"    {prose(draw, 6)}" for _ in range(draw.randrange(40, 120))]
    source = "\n".join(lines) + "\n"
    kind = draw.randrange(4)
    if kind == 0:
        shown = "\n".join(f"{i:6}→{text}" for i, text in enumerate(lines, start=1))
        return "Read", {"file_path": path}, shown, {"type": "text", "file": {"content": source}}
    if kind == 1:
        old = lines[len(lines) // 2]
        arguments = {"file_path": path, "old_string": old, "new_string": old.upper()}
        return "Edit", arguments, f"The file {path} has been updated.", {"filePath": path, "originalFile": source}
    if kind == 2:
        outcome: dict[str, Any] = {
            "type": "create",
            "filePath": path,
            "content": source,
            "originalFile": None,
            "structuredPatch": [],
        }
        return "Write", {"file_path": path, "content": source}, f"File created at: {path}", outcome
    output = "\n".join(prose(draw, 10) for _ in range(80))
    return "Bash", {"command": f"grep -rn {draw.choice(WORDS)} src"}, output, {"stdout": output, "stderr": ""}


def prose(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(WORDS, k=words))


if __name__ == "__main__":
    main()
