"""Benchmarks of single functions: a row that writes a function of HumanEval or MBPP was written for the test.

A function is known again by its name and the names of its parameters, as a hash. `humaneval.txt` has these of HumanEval
(Chen et al. 2021, arXiv 2107.03374) and hashes of some runs of 13 words of its prompts, so that it is checked
offline too; MBPP (Austin et al. 2021, arXiv 2108.07732) is read from the Hub.
"""

import re
import zlib
from collections.abc import Iterator
from importlib import resources
from typing import Any

NAMES = ("humaneval", "mbpp")
_DEFINITION = re.compile(r"\bdef\s+(\w+)\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)")


def signatures(code: str, name: str = "") -> Iterator[int]:
    """A hash of each Python function whose head says enough; of `name` alone where it is given.

    `median(l)` and `fib(n)` stand in too much honest code: one parameter needs a name of two words or ten letters.
    """
    for found, given in _DEFINITION.findall(code):
        parameters = re.findall(r"(?:^|,)\s*\**(\w+)", re.sub(r"\[[^\]]*\]|\([^()]*\)", "", given))
        if name in ("", found) and (len(parameters) > 1 or "_" in found[1:-1] or len(found) >= 10):
            told = f"{found}({','.join(parameters)})".lower().encode()
            yield zlib.crc32(told) << 32 | zlib.adler32(told)


def humaneval() -> list[dict[str, Any]]:
    """Its problems as rows of a list of instances."""
    rows = []
    for line in resources.files(__package__).joinpath("humaneval.txt").read_text("utf-8").splitlines():
        instance, signed, *ngrams = line.split()
        rows.append({"instance_id": instance, "signatures": [int(signed, 16)], "ngrams": [int(n, 16) for n in ngrams]})
    return rows
