"""Leaked names and numbers.

Names are identifiers, tests, and what is joined of several words (options, settings, branches); numbers are those of
lines and of the pull request, constants and commit hashes.
"""

import re
import sys

from duel.audit.leak_search import IN_CODE, IN_REPOSITORY, MADE_HERE, UNCHANGED, Findings, Search, first_of_each
from duel.audit.pull_facts import CHUNK, HEX, NUMBER, WORD, Fact, is_compound, plain
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
_LINE_NUMBER = re.compile(
    r"\b(?:lines?|ln\.?|row) ?(?:no\.? |number |numbers |#|~)?(\d{1,6})\b"
    r"(?:\s?(?:-|–|to|and|through)\s?(\d{1,6}))?"
    r"|(?<![\w/-])[\w/-]++\.\w{1,5}:(\d{1,6})\b|#?\bL(\d{1,6})\b|@@ -(\d{1,6})",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"(?<!\d)\d{1,6}(?!\d)", re.ASCII)
_SED_POINT = re.compile(r"(?<![\w.,$])(\d{1,6})(?:,\d{1,6})?(?:[siacd]\b|[sc][/|#\\])")


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


def line_numbers(search: Search) -> Findings:
    """The heaviest of the changed lines' numbers."""
    text = search.reply.text
    if search.facts.line_numbers.keys().isdisjoint(map(int, _DIGITS.findall(text))):
        return
    found = [
        finding
        for pattern, factor in ((_LINE_NUMBER, 1.0), (_SED_POINT, 0.5))
        for match, _ in first_of_each(pattern, text)
        for number in filter(None, match.groups())
        for finding in _line_number(search, int(number), match, factor)
    ]
    yield from sorted(found, key=lambda finding: (-finding.weight, finding.start))[:1]


def _line_number(search: Search, number: int, match: re.Match[str], factor: float) -> Findings:
    """A changed line's number that was not shown, heavier where the line or its file is named beside it."""
    around = search.reply.text[max(0, match.start() - 200) : match.end() + 200].casefold()
    seen = search.seen
    for line in search.facts.line_numbers.get(number, ()):
        named = line.path.rsplit("/", 1)[-1].casefold() in around
        cited = len(plain(line.text)) >= 4 and plain(line.text) in plain(around)
        if not (named or cited or number >= 50):
            continue
        shown = (number >= 100 and seen.has_number(str(number))) or seen.could_count(number, line.path)
        if shown and (not cited or seen.has_line(line.text) or seen.has_phrase(line.text)):
            continue
        fact = Fact("line number", match[0], line.part, line.path, line.number, line.sign in "+-")
        yield search.finding(fact, match[0], match.start(), min(1.0, factor * (0.5 + 0.5 * cited + 0.4 * named)))


def constants(search: Search) -> Findings:
    """Numbers on changed lines that nobody writes by habit; in prose those of three digits too."""
    for match, key in first_of_each(NUMBER, search.reply.text):
        fact = search.facts.numbers.get(key)
        if fact is None:
            continue
        in_code = search.reply.in_code(match.start())
        told = len(key.split(".")[0]) >= 3 and len(key.replace(".", "").strip("0")) >= 2  # no round number
        if (_is_odd(key) if in_code else told) and not search.seen.has_number(key):
            yield search.finding(fact, match[0], match.start(), IN_CODE if in_code else 1.0)


def hashes(search: Search) -> Findings:
    for match, key in first_of_each(HEX, search.reply.text):
        if key not in search.seen.text and any(known.startswith(key) for known in search.facts.hashes):
            yield search.finding(Fact("hash", key), key, match.start(), 1.0)


def pull_number(search: Search) -> Findings:
    """The number of the pull request, marked as one. A bare `#7` may count anything and needs two digits."""
    number = search.facts.pull_number
    if not number:
        return
    bare = r"#|\bgh-|\bissues?/|![ ]?|" if len(number) > 1 else ""
    mark = rf"(?:{bare}\bPR ?#?|\bpulls?/|\bpull request (?:number |#)?){number}\b"
    told = number in search.reply.text and re.search(mark, search.reply.text, re.IGNORECASE)
    if not told:
        return
    seen = search.seen.has_number(number) if len(number) > 2 else re.search(mark, search.seen.text, re.IGNORECASE)
    if not seen:
        factor = IN_CODE if search.reply.in_code(told.start()) else 1.0
        yield search.finding(Fact("pull", number), told[0], told.start(), factor)


def _is_odd(number: str) -> bool:
    """True for a number that nobody writes by habit: at least four digits, not round, no year, no power of two."""
    digits = number.replace(".", "").strip("0")
    value = float(number)
    if len(digits) < 3 or (value < 1000 and "." not in number):
        return False
    power_of_two = value.is_integer() and int(value).bit_count() in (1, int(value).bit_length())
    return not (1900 <= value <= 2100 or power_of_two)
