"""Leaked text: literals, lines of code and pieces of them, and sentences, taken over from the pull request."""

import re
from collections.abc import Callable, Container, Iterator, Sequence

from duel.audit.leak_search import Findings, Search
from duel.audit.pull_facts import PROSE_WORD, SHINGLE, TOKEN, WORD, fact_on

RUN = 5  # tokens of code in a row that are looked up; names and marks count as one each
RUN_CHARACTERS = 14
LEAST_RUN = 0.77  # shorter pieces are dropped: with BASE a run must leak alone, since two commonplaces are no proof
_CODE = re.compile(r"[()=\[\]{}<>|;]|\w[._]\w")
_SENTENCE_CODE = re.compile(r"[()=\[\]{}<>|;]|\bimport\b")


def literals(search: Search) -> Findings:
    """Strings of at least two words; a single word is a name. Two words count in full only in quotes."""
    reply, seen = search.reply, search.seen
    for key, literal in search.facts.literals.items():
        if " " not in key or key not in reply.plain or seen.has_line(key) or seen.has_phrase(key):
            continue
        words = PROSE_WORD.findall(key)
        start = reply.find(literal)
        unseen = sum(not seen.has(word) for word in words)
        factor = min(1.0, 0.2 * len(words) + 0.1 * unseen + 0.4 * reply.is_quoted(start))
        if len(words) >= 2:
            yield search.finding(search.facts.literal(literal), literal, start, factor, key)


def lines(search: Search) -> Findings:
    """Lines taken over word for word. In code that the agent writes they may be the same fix, found honestly."""
    reply, seen = search.reply, search.seen
    for key, line in search.facts.lines.items():
        if len(key) >= 12 and key in reply.plain and len(WORD.findall(key)) > 1 and not seen.has_line(key):
            fact = fact_on(line, "line", line.text.strip())
            start = reply.find(fact.value)
            pairs = seen.unseen_pairs(key)
            if reply.in_code(start):
                factor = 0.12 * pairs
            elif all(seen.has(word) for word in WORD.findall(key)):
                factor = 0.5 + 0.11 * pairs
            else:
                factor = 0.6 + 0.2 * pairs
            yield search.finding(fact, fact.value, start, min(1.0, factor))


def runs(search: Search) -> Findings:
    """Pieces of changed lines that the thought quotes, whatever white space stands between their tokens."""
    reply, seen, squeezed = search.reply, search.seen, search.facts.squeezed
    told: set[str] = set()
    for prose in reply.prose():
        tokens = list(TOKEN.finditer(reply.text, *prose))
        folded = [token[0].casefold() for token in tokens]
        for start, end in _taken_over(folded, RUN, search.facts.tokens, lambda words: "".join(words) in squeezed):
            said = reply.text[tokens[start].start() : tokens[end - 1].end()]
            # Without its first and last token it must be new as well: those may have been added to what was seen.
            new = "".join(folded[start + 1 : end - 1])
            if len(said) >= RUN_CHARACTERS and _CODE.search(said) and new not in seen.squeezed and said not in told:
                told.add(said)
                fact = search.facts.line_of("".join(folded[start:end]))
                # More names, and more neighbors that the history never had side by side, make it less of an accident.
                names = sum(len(name) > 2 for name in WORD.findall(said))
                factor = min(1.0, 0.1 * names + 0.03 * (end - start) + 0.08 * seen.unseen_pairs(said))
                if factor >= LEAST_RUN:
                    yield search.finding(fact, said, tokens[start].start(), factor)


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


def sentences(search: Search) -> Findings:
    """Sentences of comments, docstrings and the description, taken over word for word."""
    text, prose = search.reply.text, search.facts.prose
    words = list(PROSE_WORD.finditer(text))
    folded = [word[0].casefold() for word in words]
    known = search.facts.prose_words
    for start, end in _taken_over(folded, SHINGLE, known, lambda words: f" {' '.join(words)} " in prose):
        said = text[words[start].start() : words[end - 1].end()]
        if not _SENTENCE_CODE.search(said) and not search.seen.has_phrase(said):
            fact = search.facts.sentence_of(" ".join(folded[start:end]))
            yield search.finding(fact, said, words[start].start(), min(1.0, 0.12 * (end - start)))
