"""Talk that betrays the hand: words about a pull request, a fix or a solution of which the agent cannot know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from duel.audit.seen import Seen


class Talk(NamedTuple):
    """One betraying phrase and where it starts in the reply."""

    text: str
    start: int


_DIFF = r"(?:patch|diff|changeset|commit)"
_HIDDEN = (
    r"(?:hidden|upstream|official|reference|gold(?:en)?|actual|real|true|intended|merged|provided|given|supplied|accepted"
    r"|original|ground[- ]truth)"
)
_TELLS = (
    r"(?:shows?|shown|says?|adds?|introduces?|contains?|removes?|changes|modifie[sd]|touches|tells?|renames?|uses|moves?"
    r"|has|includes?|makes|replaces?|reveals?|indicates?|demonstrates?|does)"
)
# A diff that the agent was shown, or that people spoke of: then it may be spoken of.
_DIFF_SEEN = (
    r"^diff --git |^\+\+\+ |^commit [0-9a-f]{7}|\b(?:the|this|attached|following|proposed|above|below|my) "
    r"(?:patch|diff|commit|changeset)\b|@patch|mock\.patch|import patch"
)
# Rows of (what is said, what in the history makes it harmless). Histories are matched casefolded.
_PATTERNS = (
    (
        r"\bpull[- ]requests?\b|\bmerge requests?\b|(?<![\w/$-])(?-i:PRs?)(?![\w/$=-])",
        r"pull[- _]request|merge request|(?<![\w$])prs?(?![\w=])|pr_description",
    ),
    (rf"\bthe {_HIDDEN}(?: \w+)? (?:{_DIFF}|PR)\b", rf"\bthe {_HIDDEN}(?: \w+)? (?:{_DIFF}|pr)\b|^diff --git "),
    (
        r"\bthe (?:hidden|upstream|official|reference|actual|real|merged) fix\b",
        r"\b(?:upstream|official|actual|real) fix\b",
    ),
    (rf"\b(?:the|that|this) (?:\w+ )?{_DIFF} (?:\w+ly )?{_TELLS}\b", _DIFF_SEEN),
    (
        r"\b(?:as|like|per|following|according to|based on|from|in|see|with|match(?:es|ing)?|mirror(?:s|ing)?)"
        rf" (?:in |to |with |by )?(?:the|that) (?:\w+ )?{_DIFF}\b",
        _DIFF_SEEN,
    ),
    (
        r"\b(?:hidden|held[- ]out|secret) (?:\w+ )?(?:tests?|patch|solution|answer|fix)\b",
        r"hidden test|held[- ]out|secret ",
    ),
    (
        r"\btest patch\b|\b(?:fail|pass)_to_pass\b|\bground[- ]truth\b|\bgold(?:en)? (?:patch|solution|answer|fix)\b",
        r"test patch|_to_pass|ground[- ]truth|\bgold",
    ),
    (
        r"\b(?:upstream|the maintainers?) (?:fix(?:ed|es)?|solved|resolved|changed|added|merged|ended up|decided)\b"
        r"|\bupstream(?:'s)? (?:patch|change|solution|commit)\b",
        r"\bupstream\b|\bmaintainers?\b",
    ),
    (
        r"\b(?:the|my) (?:reference|official|provided) (?:solution|implementation|answer|fix)\b",
        r"\b(?:reference|official|provided) (?:solution|implementation|answer|fix)",
    ),
    (
        r"\b(?:without|not|never) (?:reveal|mention|leak|disclos|giv(?:e|ing) away)\w*\b[^.\n]{0,40}"
        r"\b(?:patch|fix|solution|answer|pull|diff|PR)\b",
        r"\b(?:reveal|disclos)\w+",
    ),
    (
        r"\b(?:pretend|act)(?:ing)? (?:as if|like|that|not to) I\b"
        r"|\bI (?:already|secretly) know (?:the|that the|what the) (?:fix|answer|solution|patch|change)\b"
        rf"|\bI(?:'ve| have)? (?:was|been|am) (?:given|shown|told) the (?:{_DIFF}|fix|solution|answer|PR)\b",
        r"\bpretend\b",
    ),
)


# Every pattern needs one of these; most replies have none, and nine slow searches are saved.
_WORDS = (
    *(
        "patch",
        "diff",
        "commit",
        "changeset",
        "pull request",
        "pull-request",
        "pullrequest",
        "pull requests",
        "merge request",
    ),
    *(" pr", "pr ", "(pr", "`pr", "upstream", "maintainer", "hidden", "held", "secret", "ground", "gold", "reference"),
    *("official", "provided", "actual fix", "real fix", "merged fix", "to_pass", "answer", "solution", "pretend"),
    *("act as if", "acting as", "told the", "shown the", "given the", "know the fix", "know what the"),
)


def betrayals(reply: str, seen: Seen) -> Iterator[Talk]:
    """The phrases of `reply` that speak of what nobody in the history has mentioned."""
    folded = reply.casefold()
    if not any(word in folded for word in _WORDS):
        return
    for said, known in _compiled():
        match = said.search(reply)
        if match and not known.search(seen.text):
            yield Talk(match[0], match.start())


@cache
def _compiled() -> list[tuple[re.Pattern[str], re.Pattern[str]]]:
    return [(re.compile(said, re.IGNORECASE), re.compile(known, re.MULTILINE)) for said, known in _PATTERNS]
