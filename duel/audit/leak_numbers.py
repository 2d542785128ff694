"""Leaked numbers: line numbers, constants, commit hashes and the number of the pull request."""

import re

from duel.audit.leak_search import IN_CODE, Findings, Search, first_of_each
from duel.audit.pull_facts import HEX, NUMBER, Fact, plain

_LINE_NUMBER = re.compile(
    r"\b(?:lines?|ln\.?|row) ?(?:no\.? |number |numbers |#|~)?(\d{1,6})\b"
    r"(?:\s?(?:-|–|to|and|through)\s?(\d{1,6}))?"
    r"|(?<![\w/-])[\w/-]++\.\w{1,5}:(\d{1,6})\b|#?\bL(\d{1,6})\b|@@ -(\d{1,6})",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"(?<!\d)\d{1,6}(?!\d)", re.ASCII)
_SED_POINT = re.compile(r"(?<![\w.,$])(\d{1,6})(?:,\d{1,6})?(?:[siacd]\b|[sc][/|#\\])")


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
