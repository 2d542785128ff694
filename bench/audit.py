"""What the audit costs: a workspace of 20,000 turns from start to end, and near-duplicates among 10,000 turns.

    python -m bench.audit [--turns 20000] [--kilobytes 40]

Prints seconds, CPU seconds and the peak memory of the largest process, and the recall of planted copies with 5 % of
their words changed. Budget: 60 s with flat memory, and 30 s.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from duel.audit.duplicates import near_duplicates  # noqa: E402
from duel.records import Answer, ChangedFile, Commit, Message  # noqa: E402
from duel.workspace import Workspace  # noqa: E402

WORDS = 30_000
COMMITS = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20_000)
    parser.add_argument("--kilobytes", type=int, default=40, help="length of one history")
    arguments = parser.parse_args()
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghiklmnoprstu", k=rng.randint(2, 10))) for _ in range(WORDS)]
    near_duplicates_row(words, rng)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        fill(workspace, arguments.turns, arguments.kilobytes, words, rng)
        audit_row(workspace, arguments.turns)


def near_duplicates_row(words: list[str], rng: random.Random) -> None:
    originals = [rng.choices(words, k=rng.randint(20, 300)) for _ in range(5_000)]
    copies = [changed(text, rng) for text in originals]
    items = [
        (f"{name}_{i}", " ".join(text))
        for name, texts in (("a", originals), ("b", copies))
        for i, text in enumerate(texts)
    ]
    start = time.perf_counter()
    found = near_duplicates(items, 0.85)
    seconds = time.perf_counter() - start
    print(f"near-duplicates  10,000 turns  {seconds:.1f} s  recall {sum(k.startswith('b') for k in found) / 5_000:.4f}")


def changed(text: list[str], rng: random.Random) -> list[str]:
    copy = list(text)
    for i in rng.sample(range(len(copy)), max(1, len(copy) // 20)):
        copy[i] = f"new{rng.randrange(10**6)}"
    return copy


def fill(workspace: Workspace, turns: int, kilobytes: int, words: list[str], rng: random.Random) -> None:
    (workspace.root / "chain.toml").write_text("[audit]\ndecontaminate = []\n")
    texts = [" ".join(rng.choices(words, k=200)) for _ in range(500)]
    for i in range(COMMITS):
        lines = "".join(
            f"+    {a}_{b} = {c}({d!r})\n" for a, b, c, d in zip(*[iter(rng.choices(words, k=240))] * 4, strict=False)
        )
        path = f"src/{words[i]}.py"
        patch = f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -{i},3 +{i},63 @@\n{lines}"
        files = [ChangedFile(path=path)]
        commit = Commit(instance_id=f"acme__shop-{i}", repo="acme/shop", patch=patch, test_patch=patch, files=files)
        workspace.save(workspace.commit_path(commit.instance_id), commit)
    for i in range(turns):
        history = [
            Message(role="system", content="One bash block."),
            Message(role="user", content="\n".join(rng.choices(texts, k=max(1, kilobytes * 1024 // 1400)))),
        ]
        thought = " ".join(rng.choices(words, k=rng.randint(20, 200)))
        reply = f"THOUGHT: {thought}\n\n```bash\ngrep -rn {rng.choice(words)} src | head -{i % 50 + 1}\n```"
        answer = Answer(instance_id=f"acme__shop-{i % COMMITS}", king="k", challenger=reply, messages=history)
        workspace.save(workspace.new_answer_path(f"prompts_{turns}_{i // 200}_{i % 200 + 1}", i, 5_000), answer)


def audit_row(workspace: Workspace, turns: int) -> None:
    for name in ("first run", "rerun", "one new text"):
        if name == "one new text":
            path = workspace.answer_paths()[0]
            answer = workspace.read(path, Answer)
            answer.challenger += " "
            workspace.save(path, answer)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        command = [sys.executable, "-m", "duel", "audit", "--workspace", str(workspace.root)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        peak = after.ru_maxrss / 1024
        print(f"duel audit, {name}  {turns:,} turns  {seconds:.1f} s  CPU {cpu:.1f} s  peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
