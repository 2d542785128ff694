"""The larger set end to end, offline: sample, source tree, plans, children and public files; killed in between."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from duel import cli
from duel.calls.ledger import Ledger
from duel.workspace import Workspace
from tests.conftest import Finished, forked
from tests.exports.conftest import put_turn
from tests.scaling.rows import words
from tests.scaling.test_code_pairs import FILES, repository

Script = Callable[..., Finished]
PLANS = int(os.environ.get("DUEL_TEST_PLANS", "4"))
"""Plans to try; the figures of docs/scaling.md are those of 200."""


def talk(number: int) -> list[dict[str, str]]:
    call = f'<tool_call>\n{{"name": "get_order", "arguments": {{"id": {number}}}}}\n</tool_call>'
    return [
        {"from": "human", "value": f"Where is order {number}? {words(f'order {number}', 30)}"},
        {"from": "gpt", "value": f"I look it up.\n{call}"},
        {"from": "tool", "value": f'<tool_response>\n{{"state": "{words(f"state {number}", 5)}"}}\n</tool_response>'},
        {"from": "gpt", "value": f"It was sent to {words(f'town {number}', 3)}."},
    ]


def public_files(folder: Path) -> list[Path]:
    tools = json.dumps([{"name": "get_order", "parameters": {"type": "object"}}])
    shapes = {
        "hermes.jsonl": [{"id": f"h{n}", "conversations": talk(n), "tools": tools} for n in range(6)],
        "code.jsonl": [
            {
                "messages": [
                    {"role": "user", "content": f"Print {words(f'code {n}', 20)}"},
                    {"role": "assistant", "content": f"<execute>\nprint({n})\n</execute>"},
                    {"role": "user", "content": f"{n}"},
                    {"role": "assistant", "content": f"It prints {n}, and {words(f'said {n}', 6)}."},
                ]
            }
            for n in range(6)
        ],
    }
    for name, rows in shapes.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [folder / name for name in shapes]


def steps(workspace: Path, tree: Path, public: list[Path]) -> list[list[object]]:
    """The plan's seven steps as their commands."""
    common = ["--offline", "--workspace", workspace]
    return [
        ["scale", "duels", "--buckets", "final", *common],
        ["scale", "pairs", tree, *common],
        ["scale", "public", *public, "--license", "MIT", *common],
        ["scale", "synthesize", "--count", PLANS, *common],
        ["scale", "augment", "synthetic", "public", "--count", PLANS, *common],
        ["scale", "combine", "--format", "openai-tools,trl-tools", *common],
    ]


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def asked(workspace: Path) -> list[Any]:
    """(question, attempt, occurrence) of every reply that was paid for."""
    with sqlite3.connect(workspace / ".duel" / "ledger.sqlite") as ledger:
        return ledger.execute("SELECT digest, attempt, occurrence FROM replies ORDER BY 1, 2, 3").fetchall()


def killed(words: list[object], after: int) -> None:
    """Run a command that is killed once so many replies are durable."""
    write, seen = Ledger._write, 0

    def killing(self: Ledger, batch: list[Any]) -> None:
        nonlocal seen
        write(self, batch[: after - seen])  # on a busy machine one batch may hold every reply
        seen += len(batch)
        if seen >= after:
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        Ledger._write = killing  # type: ignore[method-assign]
        sys.exit(cli.call(list(map(str, words))))

    process = forked(work)
    process.join(1_200)  # 200 plans are executed before the first reply
    assert process.exitcode == -signal.SIGKILL


def test_the_whole_set_comes_again_byte_for_byte_and_no_call_is_made_twice(script: Script, tmp_path: Path) -> None:
    first = tmp_path / "first"
    put_turn(Workspace(first), 7, "final", 90.0)
    second = tmp_path / "second"
    shutil.copytree(first, second)
    tree, public = repository(tmp_path / "shop", FILES), public_files(tmp_path)

    for command in steps(first, tree, public):
        script(*command, code=0)
    whole, paid = digests(first / "training-data/scaled"), asked(first)
    assert {"combined/README.md", "synthetic/plans.jsonl", "augmented/children.jsonl"} <= whole.keys()
    manifest = json.loads((first / "training-data/scaled/combined/manifest.json").read_text())
    by_source = json.loads((first / "training-data/scaled/combined/statistics.json").read_text())["by"]["source"]
    assert by_source.keys() == {"duels", "public", "synthetic", "augmented", "pairs"}
    assert sum(manifest["splits"].values()) == sum(by_source.values())

    for command in steps(first, tree, public):
        script(*command, code=0)
    assert digests(first / "training-data/scaled") == whole and asked(first) == paid

    (second / ".duel").mkdir(exist_ok=True)
    shutil.copy(first / ".duel" / "secret", second / ".duel" / "secret")  # what fences are marked with
    for command in steps(second, tree, public):
        if command[1] in {"synthesize", "augment"}:
            killed(command, 3)
            before = set(asked(second))
            assert before and before < set(paid)
        script(*command, code=0)
    assert digests(second / "training-data/scaled") == whole and asked(second) == paid
