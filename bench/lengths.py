"""What hostile lengths cost: CPU of audit, fence and the verdict's parser at four times the length.

    python -m bench.lengths [--characters 100000]

4 is linear, 16 looks at each pair of characters. A time is the best of three; a ratio is shown where the shorter text
takes 20 ms at least. The budget: 10 for every text.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from duel.audit.leaks import find_leaks
from duel.audit.protocol import check
from duel.audit.rarity import Rarity
from duel.audit.secrets import scrub
from duel.errors import ItemError
from duel.judging import judge_replies
from duel.records import Commit, Message
from duel.untrusted import attempts, visible

PIECES = [
    *("a", "a_b ", "(", "$(", "x' ", "@", "a@", "/home/", "password=", "-----BEGIN PRIVATE KEY-----", "line 1 "),
    *(
        "1,1p",
        "```bash\n",
        "=",
        "=== REPLY 1",
        "\u200b",
        '{"a":',
        '{"correctness":1,',
        "Reply 1 wins. ",
        "http://a.",
        "\n",
        "+foo_bar\n",
    ),
]
HISTORY = [Message(role="user", content="x")]
COMMIT = Commit(instance_id="o__r-1", patch="@@ -1 +1 @@\n+a_b = 1\n")
RARITY = Rarity.from_commits([COMMIT])


def parse(text: str) -> None:
    with contextlib.suppress(ItemError):
        judge_replies.parse(text)


READERS: dict[str, Callable[[str], object]] = {
    "leaks": lambda text: find_leaks(text, HISTORY, COMMIT, RARITY),
    "pull request": lambda text: find_leaks(
        "Look at line 1.", HISTORY, COMMIT.model_copy(update={"patch": f"@@ -1 +1 @@\n+{text}"}), RARITY
    ),
    "protocol": lambda text: check(text, HISTORY),
    "secrets": scrub,
    "attempts": attempts,
    "visible": visible,
    "verdict": parse,
}


def seconds(read: Callable[[str], object], text: str) -> float:
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        read(text)
        best = min(best, time.process_time() - started)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--characters", type=int, default=100_000)
    size = parser.parse_args().characters
    print(f"{'':<32}{''.join(f'{name:>14}' for name in READERS)}")
    missed = 0
    for piece in PIECES:
        text, cells = piece * (size // len(piece)), []
        for read in READERS.values():
            short, long = seconds(read, text), seconds(read, 4 * text)
            told = short >= 0.02
            missed += told and long > 10 * short
            cells.append(f"{1000 * long:.0f} ms{long / short:5.1f}" if told else f"{1000 * long:.0f} ms     ")
        print(f"{piece!r:<32}{''.join(f'{cell:>14}' for cell in cells)}", flush=True)
    print(f"over 10: {missed}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
