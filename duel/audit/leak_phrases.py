"""Talk that betrays the hand: words about a pull request, a fix or a solution of which the agent cannot know."""

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from duel.audit.history_index import HistoryIndex


class Talk(NamedTuple):
    """One betraying phrase and where it starts in the reply."""

    text: str
    start: int


_DIFF = r"(?:patch|diff|changeset)(?:e?s)?"
_PULL = r"(?:pull[- ]requests?|merge requests?|PRs?|MRs?)"
_FIX = r"(?:fix|solution|answer|resolution|implementation|change|commit|version|edit)(?:e?s)?"
_HIDDEN = (
    r"(?:hidden|secret|upstream|official|reference|gold(?:en)?|actual|real|true|target|intended|merged|provided|given"
    r"|final|supplied|accepted|original|known|correct|expected|oracle|eventual|landed|ground[- ]truth"
    r"|submitted|author's)"
)
# Of a fix an honest agent says that it is the right one, the expected one or the final one; not that it was merged.
_SETTLED = (
    r"(?:hidden|secret|upstream|official|reference|gold(?:en)?|merged|accepted|released|shipped|landed"
    r"|eventual|committed"
    r"|oracle|ground[- ]truth|author's|maintainers?'s?|developers?'s?)"
)
_TELLS = (
    r"(?:shows?|shown|says?|adds?|introduces?|contains?|removes?|changes|modifie[sd]|touches|tells?"
    r"|renames?|uses|moves?"
    r"|has|had|includes?|makes|replaces?|reveals?|indicates?|demonstrates?|does|did|confirms?|points?|edits"
    r"|drops?|covers?"
    r"|deletes?|extends?|implements?|solves?|fixes|addresses|handles|only|already|also|clearly|itself"
    r"|expects?|went|chose)"
)
_MADE = (
    r"(?:fix(?:ed|es)?|solved|resolved|changed|added|merged|ended up|decided|chose|settled|went|rewrote|removed"
    r"|renamed)"
)
_FROM = (
    r"(?:as|like|per|following|follows?|according to|based on|from|in|see|seen|saw|with|match(?:es|ing)?"
    r"|mirror(?:s|ing)?"
    r"|looking at|look at|reading|read|judging by|know(?:ing)? from|given|guided by|copy(?:ing)?|recall(?:ing)?|by)"
)
_MAKERS = r"(?:upstream|(?:the |its |their )?(?:maintainers?|developers?|authors?|committers?|core team|project team))"
# What makes talk of a diff harmless: the agent was shown one, or people spoke of one.
_DIFF_SEEN = (
    r"^diff --git |^\+\+\+ |^@@ -|\b(?:the|this|attached|following|proposed|above|below|my) (?:patch|diff|changeset)\b"
    r"|@patch|mock\.patch|import patch"
)
_PULL_SEEN = r"pull[- _]request|merge request|(?<![\w$])[pm]rs?(?![\w=])|pr_description"
# Rows of (what is said, what in the history makes it harmless). Histories are matched casefolded. A row excuses only
# what it is about: who was shown a diff knows nothing of an upstream fix.
_PATTERNS = (
    (r"\bpull[- ]requests?\b|\bmerge requests?\b|(?<![\w/$-])(?-i:[PM]Rs?)(?![\w/$=-])", _PULL_SEEN),
    # A description that was shown tells what a pull request is for, not what it changes.
    (
        rf"\b{_PULL}(?:'s)? (?:{_DIFF}|changes|changed|touche[sd]|modifie[sd]|edits|edited|renames|renamed"
        rf"|rewrites|moves"
        r"|moved|removes|removed|introduces|introduced)\b",
        rf"{_DIFF_SEEN}|\b(?:pr|pull request)(?:'s)? (?:diff|patch|change|touch|modif|edit|renam|mov|remov|introduc)",
    ),
    (rf"\b(?:the|that|this|a) {_HIDDEN}(?: \w+)? (?:{_DIFF}|{_PULL})\b", r"^diff --git |^@@ -"),
    (rf"\b(?:the|that|this|a) {_SETTLED} (?:\w+ )?{_FIX}\b", rf"\b{_SETTLED} (?:\w+ )?{_FIX}\b"),
    (
        r"\bthe (?:actual|real|true) (?:fix|solution|answer|commit)\b|\bthe (?:actual|real) change (?:is"
        r"|was|went|lies)\b",
        r"\b(?:actual|real|true) (?:fix|solution)",
    ),
    (
        r"\bthe (?:final|finished|merged) (?:version|form|state) of (?:the|this) (?:fix|patch|change|PR)\b",
        r"\b(?:final|merged) (?:version|form|state)\b",
    ),
    (rf"\b(?:the|that|this) (?:\w+ )?{_DIFF} (?:\w+ly )?{_TELLS}\b", _DIFF_SEEN),
    (rf"\bthe (?:fix(?:ing)? |bug-?fix )?commit (?:\w+ly )?{_TELLS}\b", r"^commit [0-9a-f]{7}|\bcommit\b"),
    (rf"\b{_FROM} (?:in |to |with |by |at )?(?:the|that) (?:\w+ )?{_DIFF}\b", _DIFF_SEEN),
    (
        r"\b(?:fix|solution|answer|change|hunks?|lines?) (?:\w+ )?(?:in|from|inside"
        r"|of) the (?:\w+ )?(?:patch|diff|changeset)\b",
        _DIFF_SEEN,
    ),
    (
        r"\b(?:hidden|held[- ]out|secret|withheld) (?:\w+ )?(?:tests?|patch|solution|answer|fix|checks?|suite)\b",
        r"hidden test|held[- ]out|secret ",
    ),
    (
        r"\btest[- _]patch\b|\b(?:fail|pass)_to_pass\b|\bground[- ]truth\b|\bgold(?:en)? (?:patch|solution"
        r"|answer|fix)\b"
        r"|\banswer key\b",
        r"test[- _]patch|_to_pass|ground[- ]truth|\bgold",
    ),
    (
        rf"\b{_MAKERS} (?:have |has |had |later |eventually |finally |then |simply |just |already "
        rf"|in the end )*{_MADE}\b",
        rf"\b{_MAKERS} (?:\w+ )?{_MADE}\b",
    ),
    (
        r"\bupstream(?:'s)? (?:patch|change|solution|commit|version)\b|\b(?:fix|patch|change)(?:e?[sd])? upstream\b",
        r"\bupstream\b",
    ),
    (
        r"\b(?:was|is|got|been) (?:later |eventually |finally |actually |ultimately )+(?:fixed|solved"
        r"|resolved|merged)\b"
        r"|\bhow (?:this|it|the (?:bug|issue|problem)) (?:was|got) (?:\w+ly )?(?:fixed|solved|resolved)\b",
        r"\b(?:fixed|solved|resolved|merged) in\b",
    ),
    (
        r"\b(?:the|my) (?:reference|official|provided) (?:solution|implementation|answer|fix)\b"
        r"|\b(?:with|to|match(?:es)?|follow(?:s|ing)?|like|as in) the reference(?=\s*[,.;:)]|$| (?:patch"
        r"|diff|solution))",
        r"\b(?:reference|official|provided) (?:solution|implementation|answer|fix)",
    ),
    (
        r"\b(?:without|not|never) (?:reveal|mention|leak|disclos|giv(?:e|ing) away|admit"
        r"|let(?:ting)? on)\w*\b[^.\n]{0,40}"
        r"\b(?:patch|fix|solution|answer|pull|diff|PR)\b",
        r"\b(?:reveal|disclos)\w+",
    ),
    (
        r"\b(?:pretend|act)(?:ing)? (?:as if|like|that|not to) I\b"
        r"|\bI (?:already |secretly )+know (?:the|that the|what the|how the|where the) \w*\s?(?:fix|answer"
        r"|solution|patch|change)\b"
        rf"|\bI(?:'ve| have)? (?:already )?(?:was|been|am|were) (?:given|shown"
        rf"|told) the (?:\w+ )?(?:{_DIFF}|{_FIX}|PR)\b"
        rf"|\bI(?:'ve| have) (?:already )?(?:seen|read) (?:the|how the) (?:\w+ )?(?:{_DIFF}|fix|solution|answer|PR)\b"
        rf"|\b(?:{_DIFF}|fix|solution|answer) (?:that )?(?:I (?:was|have been|am) (?:given|shown|told)"
        rf"|(?:given|shown|provided)"
        r" to me|at hand|in front of me|I have seen)\b",
        r"\bpretend\b",
    ),
)
# Every pattern needs one of these; most replies have none, and many slow searches are saved.
_WORDS = (
    *("patch", "diff", "changeset", "commit", "pull", "merge", "upstream", "maintainer", "developer", "author", "team"),
    *("hidden", "held", "secret", "ground", "gold", "reference", "official", "provided", "actual ", "real ", "true "),
    *("to_pass", "answer", "solution", "pretend", "act as", "acting ", "act like", "eventual", "landed", "shipped"),
    *("accepted", "released", "final", "finished", "fixed", "solved", "the fix", "oracle", "resolved"),
)


def betrayals(reply: str, seen: HistoryIndex) -> Iterator[Talk]:
    """The phrases of `reply` that speak of what nobody in the history has mentioned."""
    folded = reply.casefold()
    if not any(word in folded for word in _WORDS) and "PR" not in reply and "MR" not in reply:
        return
    for said, known in _compiled():
        match = said.search(reply)
        if match and not known.search(seen.text):
            yield Talk(match[0], match.start())


@cache
def _compiled() -> list[tuple[re.Pattern[str], re.Pattern[str]]]:
    return [(re.compile(said, re.IGNORECASE), re.compile(known, re.MULTILINE)) for said, known in _PATTERNS]
