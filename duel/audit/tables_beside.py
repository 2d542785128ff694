"""Tables beside this module: words and patterns, a row a line, columns by tabs; `# ` begins a comment."""

from functools import cache
from pathlib import Path


@cache
def rows(name: str, kind: str = "") -> tuple[tuple[str, ...], ...]:
    """The columns of each row of a file; with a `kind`, of the rows whose first column it is the others."""
    lines = (Path(__file__).parent / name).read_text("utf-8").splitlines()
    found = [tuple(line.split("\t")) for line in lines if line and not line.startswith("# ")]
    return tuple(row[1:] for row in found if row[0] == kind) if kind else tuple(found)


@cache
def words(name: str) -> frozenset[str]:
    """A list of words, by its name in `words.txt`."""
    [[listed]] = rows("words.txt", name)
    return frozenset(listed.split())
