"""Long lists of words and regular expressions in files beside this module, and the reader of all lists."""

import re
import tomllib
from functools import cache
from importlib import resources
from typing import Any

_PART = re.compile(r"\{\{(\w+)\}\}")


@cache
def rows(package: str, file: str, kind: str = "") -> tuple[tuple[str, ...], ...]:
    """The columns, by tabs, of each row of a file in `package`, or the others of the rows whose first one is `kind`."""
    lines = resources.files(package).joinpath(file).read_text("utf-8").splitlines()
    found = [tuple(line.split("\t")) for line in lines if line and not line.startswith("# ")]
    return tuple(row[1:] for row in found if row[0] == kind) if kind else tuple(found)


@cache
def toml(package: str, name: str) -> dict[str, Any]:
    """What `<name>.toml` in `package` holds."""
    return tomllib.loads(resources.files(package).joinpath(f"{name}.toml").read_text("utf-8"))


def table(name: str, package: str = __name__) -> dict[str, str]:
    """A list of two columns."""
    return dict(rows(package, f"{name}.txt"))  # type: ignore[arg-type]


@cache
def phrases(name: str) -> dict[str, list[str]]:
    """{word: regular expressions} of a list whose lines are words, of which each match holds one, and an expression.

    Between the words stands `|`; in an expression `{{NAME}}` stands for a line `NAME = …` above.
    """
    parts: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for *words, line in rows(__name__, f"{name}.txt"):
        if words:
            pattern = _PART.sub(lambda match: parts[match[1]], line)
            for word in words[0].split("|"):
                found.setdefault(word, []).append(pattern)
        else:
            known, _, value = line.partition(" = ")
            parts[known] = value
    return found
