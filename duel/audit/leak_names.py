"""Leaked names: identifiers, tests, and what is joined of several words (options, settings, branches)."""

import sys

from duel.audit.leak_search import IN_CODE, IN_REPOSITORY, MADE_HERE, UNCHANGED, Findings, Search, first_of_each
from duel.audit.pull_facts import CHUNK, WORD, Fact, is_compound
from duel.audit.rarity import commonness

GUESSABLE = 0.85  # every word it is put together from was seen
GUESSED = 0.75  # the reply itself calls it a guess; whoever has read the pull request states it
KNOWN = 0.97  # a compound name that up to nine modules of the background have, but hardly another record
WELL_KNOWN = 0.8  # a compound name that more modules or other records have
STATED_MOST = 100
"""Modules of the background up to which a name that stands on added lines alone counts where prose states it."""
PLAIN_MOST = 100  # the same for a single word, and only where it is marked as code
HALF_MOST = 7
"""Modules of the background from which a name must be marked as code, or other records' use counts in full."""
PLAIN = 0.9  # a single word that is marked as code


def words(search: Search) -> Findings:
    for match, key in first_of_each(WORD, search.reply.text):
        if len(key) < 3 or key not in search.facts.words or search.seen.has(key):
            continue
        fact = search.facts.words.get(key)
        if fact and (factor := _name_factor(search, fact, key, match.start(), match.end())):
            yield search.finding(fact, match[0], match.start(), factor, key)


def _name_factor(search: Search, fact: Fact, key: str, start: int, end: int) -> float:
    """How far a name nobody mentioned speaks against its author; 0.0 for words that everyone uses."""
    compound = is_compound(fact.value)
    grepped = compound and key in search.reply.grepped
    in_code = search.reply.in_code(start) and not grepped
    common = commonness(key)
    if not common:
        factor = 1.0
    elif in_code:
        return 0.0
    elif compound and common > 9:
        factor = WELL_KNOWN if fact.added and common <= STATED_MOST else 0.0
    elif compound:
        factor = KNOWN if common <= 4 or search.rarity.elsewhere(key) < 2 else WELL_KNOWN
    else:
        marked = fact.changed and search.reply.is_marked(start, end)
        factor = PLAIN if marked and common <= (PLAIN_MOST if fact.added else PLAIN_MOST // 5) else 0.0
    if len(key) == 3:
        factor *= 0.5
    if compound and search.seen.has_parts(fact.value):
        factor *= GUESSABLE
    factor *= _place_factor(fact)
    if not in_code:
        if fact.changed and (common < HALF_MOST or search.reply.is_marked(start, end)):
            factor *= search.rarity.half(key)
        factor *= GUESSED if search.reply.is_guess(start, end) else 1.0
    if grepped:
        return factor
    if key in search.reply.made or search.reply.looks_for(key):
        return factor * MADE_HERE
    return factor * IN_CODE if in_code else factor


def _place_factor(fact: Fact) -> float:
    """The less a name belongs to the change, the more likely a model knows it from elsewhere."""
    if fact.added:
        return 1.0
    return IN_REPOSITORY if fact.changed else UNCHANGED


def chunks(search: Search) -> Findings:
    """Names joined by more than a word is (`retry-limit`, `server.timeout`, `owner/branch`) of common words.

    Where one of the words is a finding by itself, the whole adds nothing.
    """
    reply, seen = search.reply, search.seen
    for match, key in first_of_each(CHUNK, reply.text):
        fact = search.facts.chunks.get(key)
        if fact is None or key in search.facts.paths or seen.has(key):
            continue
        parts = WORD.findall(key)
        unseen = [part for part in parts if not seen.has(part)]
        if len(unseen) * 2 < len(parts) or not unseen or not all(commonness(part) for part in unseen):
            continue
        short = len(parts) < 3
        if parts[0] in sys.stdlib_module_names or (short and not reply.is_quoted(match.start())):
            continue
        factor = _place_factor(fact) * (0.6 if short and "." in key else 1.0)
        yield search.finding(fact, match[0], match.start(), factor, key)
