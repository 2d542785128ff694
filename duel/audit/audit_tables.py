"""The audit's tables, in text files beside this module: words and patterns."""

from functools import cache, partial

from duel import wordlists

rows = partial(wordlists.rows, "duel.audit")


@cache
def words(name: str) -> frozenset[str]:
    """A list of words, by its name in `words.txt`."""
    [[listed]] = rows("words.txt", name)
    return frozenset(listed.split())
