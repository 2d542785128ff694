"""Long lists of words and regular expressions, as text files beside this one; lines with `#` in front are comments."""

import re
from functools import cache
from importlib import resources

_PART = re.compile(r"\{\{(\w+)\}\}")


@cache
def lines(name: str) -> tuple[str, ...]:
    """The lines of `<name>.txt`. Raises FileNotFoundError where there is none."""
    text = resources.files(__name__).joinpath(f"{name}.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


@cache
def table(name: str) -> dict[str, str]:
    """A file of two columns with a tab between them."""
    return dict(line.split("\t", 1) for line in lines(name))


@cache
def pattern(name: str) -> str:
    """The regular expressions of a file as one: each line an alternative, `{{NAME}}` for a line `NAME = …` above."""
    parts: dict[str, str] = {}
    found = []
    for line in lines(name):
        known, is_part, value = line.partition(" = ")
        if is_part and known.isupper():
            parts[known] = value
        else:
            found.append(_PART.sub(lambda match: parts[match[1]], line))
    return "|".join(found)
