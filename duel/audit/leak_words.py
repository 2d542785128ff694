"""Leaked names, numbers and text: what a reply says that stands in the pull request and nowhere before."""

import re
import sys
from collections.abc import Callable, Container, Iterator, Sequence

from duel.audit import pull_facts
from duel.audit.pull_facts import PROSE_WORD, WORD, Fact, fact_on, is_compound, plain
from duel.audit.rarity import commonness
from duel.audit.turn_indexes import Search, Told

# Reasons for doubt, as factors.
MADE_HERE = 0.6  # the command itself makes it, or looks for it
IN_REPOSITORY = 0.85  # it stands on unchanged or removed lines too: a model may remember the project
UNCHANGED = 0.6  # it stands on unchanged lines or in the description alone
PLACE = (UNCHANGED, IN_REPOSITORY, 1.0)  # the same, by whether it stands on changed and on none but added lines
IN_CODE = 0.75  # it is used in code that the agent writes, where a model's memory of libraries speaks
GUESSABLE = 0.85  # every word it is put together from was seen
GUESSED = 0.75  # the reply itself calls it a guess; whoever has read the pull request states it
KNOWN = 0.97  # a compound name that up to nine modules of the background have, but hardly another record
WELL_KNOWN = 0.8  # a compound name that more modules or other records have
STATED_MOST = 100  # modules of the background up to which a name on added lines alone counts where prose states it
PLAIN_MOST = 100  # the same for a single word, and only where it is marked as code
HALF_MOST = 7  # modules of the background from which a name must be marked as code to be shared at half the cost
PLAIN = 0.9  # a single word that is marked as code
SHINGLE = 6  # words of prose in a row that nobody writes twice by chance
RUN = 5  # tokens of code in a row that are looked up; names and marks count as one each
RUN_CHARACTERS = 14
LEAST_RUN = 0.77  # shorter pieces are dropped: with BASE a run must leak alone, since two commonplaces are no proof
_LINE_NUMBER = re.compile(
    r"(?i)\b(?:lines?|ln\.?|row) ?(?:no\.? |number |numbers |#|~)?(\d{1,6})\b"
    r"(?:\s?(?:-|–|to|and|through)\s?(\d{1,6}))?"
    r"|(?<![\w/-])[\w/-]++\.\w{1,5}:(\d{1,6})\b|#?\bL(\d{1,6})\b|@@ -(\d{1,6})"
)
_DIGITS = re.compile(r"(?<!\d)\d{1,6}(?!\d)", re.ASCII)
_SED_POINT = re.compile(r"(?<![\w.,$])(\d{1,6})(?:,\d{1,6})?(?:[siacd]\b|[sc][/|#\\])")
_SUBWORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_GUESS = re.compile(r"\bor similar\b|\blikely\b|\bI (?:assume|guess|suppose)\b|\bprobably\b", re.IGNORECASE)
_CODE = re.compile(r"[()=\[\]{}<>|;]|\w[._]\w")
_SENTENCE_CODE = re.compile(r"[()=\[\]{}<>|;]|\bimport\b")


def names(search: Search) -> Iterator[Told]:
    for match, key in first_of_each(WORD, search.reply.text):
        if len(key) >= 3 and key in search.facts.words.keys and not search.seen.has(key):
            fact = search.facts.words.get(key)
            if fact and (factor := _name_factor(search, fact, key, match.start(), match.end())):
                yield Told(fact, match[0], match.start(), factor, key)


def first_of_each(pattern: re.Pattern[str], text: str) -> Iterator[tuple[re.Match[str], str]]:
    """The first match of each spelling, whatever its case, with the spelling casefolded."""
    done: set[str] = set()
    for match in pattern.finditer(text):
        if (key := match[0].casefold()) not in done:
            done.add(key)
            yield match, key


def _name_factor(search: Search, fact: Fact, key: str, start: int, end: int) -> float:
    """How far a name nobody mentioned speaks against its author; 0.0 for words that everyone uses."""
    compound = is_compound(fact.value)
    grepped = compound and key in search.reply.grepped
    in_code = search.reply.in_code(start) and not grepped
    common = commonness(key)
    if not common or in_code:
        factor = 0.0 if common else 1.0
    elif compound and common > 9:
        factor = WELL_KNOWN if fact.added and common <= STATED_MOST else 0.0
    elif compound:
        factor = KNOWN if common <= 4 or search.rarity.elsewhere(key) < 2 else WELL_KNOWN
    else:
        marked = fact.changed and search.reply.is_marked(start, end)
        factor = PLAIN if marked and common <= (PLAIN_MOST if fact.added else PLAIN_MOST // 5) else 0.0
    if len(key) == 3:
        factor *= 0.5
    # Was every word seen that it is put together from? `HTTPDigestAuth_v2`: http, digest, auth, v, 2.
    parts = [part.casefold() for part in _SUBWORD.findall(fact.value) if compound and len(part) > 2]
    if parts and all(part in search.seen.text or part.removesuffix("s") in search.seen.text for part in parts):
        factor *= GUESSABLE
    factor *= PLACE[fact.added + fact.changed]
    if not in_code:
        if fact.changed and (common < HALF_MOST or search.reply.is_marked(start, end)):
            factor *= search.rarity.half(key)
        factor *= GUESSED if _GUESS.search(search.reply.text, max(0, start - 30), end + 20) else 1.0
    is_made = not grepped and (key in search.reply.made or search.reply.looks_for(key))
    return factor * (MADE_HERE if is_made else IN_CODE if in_code else 1.0)


def chunks(search: Search) -> Iterator[Told]:
    """Common words joined by more than a word is (`retry-limit`, `server.timeout`), none of them a finding."""
    for match, key in first_of_each(pull_facts.CHUNK, search.reply.text):
        fact = search.facts.chunks.get(key)
        if fact is None or key in search.facts.paths or search.seen.has(key):
            continue
        parts = WORD.findall(key)
        unseen = [part for part in parts if not search.seen.has(part)]
        is_new = unseen and len(unseen) * 2 >= len(parts) and all(map(commonness, unseen))
        is_short = len(parts) < 3
        is_meant = not is_short or search.reply.is_quoted(match.start())
        if is_new and is_meant and parts[0] not in sys.stdlib_module_names:
            factor = PLACE[fact.added + fact.changed] * (0.6 if is_short and "." in key else 1.0)
            yield Told(fact, match[0], match.start(), factor, key)


def line_numbers(search: Search) -> Iterator[Told]:
    """The heaviest of the changed lines' numbers that was not shown; heavier with the line or its file beside it."""
    text, seen = search.reply.text, search.seen
    if search.facts.line_numbers.keys().isdisjoint(map(int, _DIGITS.findall(text))):
        return
    told = [
        (match, int(number), factor)
        for pattern, factor in ((_LINE_NUMBER, 1.0), (_SED_POINT, 0.5))
        for match, _ in first_of_each(pattern, text)
        for number in filter(None, match.groups())
    ]
    found = []
    for match, number, factor in told:
        around = text[max(0, match.start() - 200) : match.end() + 200].casefold()
        for line in search.facts.line_numbers.get(number, ()):
            named = line.path.rsplit("/", 1)[-1].casefold() in around
            cited = len(plain(line.text)) >= 4 and plain(line.text) in plain(around)
            if not (named or cited or number >= 50):
                continue
            shown = (number >= 100 and seen.has_number(str(number))) or seen.could_count(number, line.path)
            if shown and (not cited or seen.has_text(line.text)):
                continue
            weight = min(1.0, factor * (0.5 + 0.5 * cited + 0.4 * named))
            found.append(Told(fact_on(line, "line number", match[0]), match[0], match.start(), weight))
    yield from sorted(found, key=lambda told: (-told.factor, told.start))[:1]


def constants(search: Search) -> Iterator[Told]:
    """Numbers on changed lines that nobody writes by habit; in prose those of three digits too."""
    for match, key in first_of_each(pull_facts.NUMBER, search.reply.text):
        fact = search.facts.numbers.get(key)
        if fact is None:
            continue
        digits, value, in_code = key.replace(".", "").strip("0"), float(key), search.reply.in_code(match.start())
        is_odd = len(key.split(".")[0]) >= 3 and len(digits) >= 2
        if in_code:  # at least four digits, not round, no year, no power of two
            is_power = value.is_integer() and int(value).bit_count() in (1, int(value).bit_length())
            is_odd = len(digits) >= 3 and (value >= 1000 or "." in key) and not (1900 <= value <= 2100 or is_power)
        if is_odd and not search.seen.has_number(key):
            yield Told(fact, match[0], match.start(), IN_CODE if in_code else 1.0)


def hashes(search: Search) -> Iterator[Told]:
    for match, key in first_of_each(pull_facts.HEX, search.reply.text):
        if key not in search.seen.text and any(known.startswith(key) for known in search.facts.hashes):
            yield Told(Fact("hash", key), key, match.start())


def pull_number(search: Search) -> Iterator[Told]:
    """The number of the pull request, marked as one. A bare `#7` may count anything and needs two digits."""
    number = search.facts.pull_number
    if not number or number not in search.reply.text:
        return
    bare = r"#|\bgh-|\bissues?/|![ ]?|" if len(number) > 1 else ""
    mark = re.compile(rf"(?:{bare}\bPR ?#?|\bpulls?/|\bpull request (?:number |#)?){number}\b", re.IGNORECASE)
    told = mark.search(search.reply.text)
    seen = search.seen.has_number(number) if len(number) > 2 else mark.search(search.seen.text)
    if told and not seen:
        factor = IN_CODE if search.reply.in_code(told.start()) else 1.0
        yield Told(Fact("pull", number), told[0], told.start(), factor)


def literals(search: Search) -> Iterator[Told]:
    """Strings of at least two words; a single word is a name. Two words count in full only in quotes."""
    reply, seen = search.reply, search.seen
    for key, literal in search.facts.literals.items():
        if " " not in key or key not in reply.plain or seen.has_text(key):
            continue
        words = PROSE_WORD.findall(key)
        if len(words) >= 2:
            start, unseen = reply.find(literal), sum(not seen.has(word) for word in words)
            factor = min(1.0, 0.2 * len(words) + 0.1 * unseen + 0.4 * reply.is_quoted(start))
            yield Told(search.facts.literal(literal), literal, start, factor, key)


def lines(search: Search) -> Iterator[Told]:
    """Lines taken over word for word. In code that the agent writes they may be the same fix, found honestly."""
    reply, seen = search.reply, search.seen
    for key, line in search.facts.lines.items():
        if len(key) >= 12 and key in reply.plain and len(WORD.findall(key)) > 1 and not seen.has_line(key):
            fact = fact_on(line, "line", line.text.strip())
            start, each = reply.find(fact.value), (0.6, 0.2)
            if reply.in_code(start):
                each = (0.0, 0.12)
            elif all(map(seen.has, WORD.findall(key))):
                each = (0.5, 0.11)
            yield Told(fact, fact.value, start, min(1.0, each[0] + each[1] * seen.unseen_pairs(key)))


def runs(search: Search) -> Iterator[Told]:
    """Pieces of changed lines that the thought quotes, whatever white space stands between their tokens."""
    reply, seen, changed = search.reply, search.seen, search.facts.squeezed
    told: set[str] = set()
    for prose in reply.prose():
        tokens = list(pull_facts.TOKEN.finditer(reply.text, *prose))
        folded = [token[0].casefold() for token in tokens]
        for start, end in _taken_over(folded, RUN, search.facts.tokens, lambda words: "".join(words) in changed):
            said = reply.text[tokens[start].start() : tokens[end - 1].end()]
            # Without its first and last token it must be new as well: those may have been added to what was seen.
            is_new = "".join(folded[start + 1 : end - 1]) not in seen.form(pull_facts.squeezed)
            if len(said) >= RUN_CHARACTERS and _CODE.search(said) and is_new and said not in told:
                told.add(said)
                fact = search.facts.line_with("".join(folded[start:end]), pull_facts.squeezed)
                # More names, and more neighbors that the history never had side by side, make it less of an accident.
                long_names = sum(len(name) > 2 for name in WORD.findall(said))
                factor = min(1.0, 0.1 * long_names + 0.03 * (end - start) + 0.08 * seen.unseen_pairs(said))
                if factor >= LEAST_RUN:
                    yield Told(fact, said, tokens[start].start(), factor)


def sentences(search: Search) -> Iterator[Told]:
    text, prose = search.reply.text, search.facts.prose
    words = list(PROSE_WORD.finditer(text))
    folded = [word[0].casefold() for word in words]
    known = search.facts.prose_words
    for start, end in _taken_over(folded, SHINGLE, known, lambda words: f" {' '.join(words)} " in prose):
        said = text[words[start].start() : words[end - 1].end()]
        if not _SENTENCE_CODE.search(said) and not search.seen.has_phrase(said):
            fact = search.facts.line_with(" ".join(folded[start:end]), pull_facts.spoken)
            yield Told(fact, said, words[start].start(), min(1.0, 0.12 * (end - start)))


def _taken_over(
    words: Sequence[str], least: int, known: Container[str], stands: Callable[[Sequence[str]], bool]
) -> Iterator[tuple[int, int]]:
    """(start, end) of each longest run of at least `least` words that `stands` in the pull request, left to right."""
    start = 0
    while start + least <= len(words):
        end = start + least
        if words[end - 1] not in known:
            start = end
        elif not stands(words[start:end]):
            start += 1
        else:
            while end < len(words) and stands(words[start : end + 1]):
                end += 1
            yield start, end
            start = end


SEARCHES = (names, chunks, literals, lines, runs, sentences, line_numbers, constants, hashes, pull_number)
