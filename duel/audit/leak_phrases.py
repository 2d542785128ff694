"""Talk that betrays the hand: words about a pull request, a fix or a solution of which the agent cannot know."""

import re
from functools import cache

from duel.audit.leak_search import Findings, Search
from duel.audit.pull_facts import Fact
from duel.audit.tables_beside import rows

TABLE = "leak_patterns.txt"


def talk(search: Search) -> Findings:
    """The phrases of a reply that speak of what nobody in the history has mentioned."""
    text, folded = search.reply.text, search.reply.text.casefold()
    [[needed]] = rows(TABLE, "needs")
    if not any(word in folded for word in needed.split("|")) and "PR" not in text and "MR" not in text:
        return
    for said, harmless in _compiled():
        match = said.search(text)
        if match and not harmless.search(search.seen.text):
            yield search.finding(Fact("talk", match[0]), match[0], match.start(), 1.0)


@cache
def _compiled() -> list[tuple[re.Pattern[str], re.Pattern[str]]]:
    parts = {row[0]: row[1] for row in rows(TABLE, "part")}

    def whole(pattern: str) -> str:
        return re.sub(r"\{([A-Z_]+)\}", lambda name: parts[name[1]], pattern)

    return [
        (re.compile(whole(said), re.IGNORECASE), re.compile(whole(harmless), re.MULTILINE))
        for said, harmless in rows(TABLE, "talk")
    ]
