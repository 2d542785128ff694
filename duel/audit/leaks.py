"""The blind-agent audit: facts in a reply that stand in the hidden pull request and nowhere in what the agent saw.

A challenger is written with the pull request in hand. What it tells must follow from the history alone; a path that
nobody listed, a helper that exists only in the patch or "as the diff shows" would teach a model to make things up.
"""

from collections.abc import Sequence

from duel.audit import leak_paths, leak_words
from duel.audit.leak_findings import Search, distinct, start_of
from duel.audit.pull_facts import Facts
from duel.audit.rarity import Rarity
from duel.audit.turn_indexes import HistoryIndex, ReplyIndex
from duel.records import Audit, Commit, Message, fingerprint

_SEARCHES = (*leak_paths.SEARCHES, *leak_words.SEARCHES)
_LAST: list[tuple[Commit, Facts]] = []  # the turns of one pull request come one after the other


def find_leaks(reply: str, messages: Sequence[Message], commit: Commit, rarity: Rarity, leak_max: float = 1.0) -> Audit:
    """The facts of `commit` that `reply` tells although nothing in `messages` does, the heaviest first. Never raises.

    The score is the sum of the findings' weights; a turn leaks where it exceeds `leak_max`.
    """
    facts = next((facts for known, facts in _LAST if known == commit), None) or Facts(commit)
    _LAST[:] = [(commit, facts)]
    search = Search(ReplyIndex(reply), HistoryIndex(messages, commit.issue), facts, rarity)
    found = [leak for find in _SEARCHES for leak in find(search)]
    leaks = sorted(distinct(found, search.reply), key=lambda leak: (-leak.weight, start_of(leak)))
    score = round(sum(leak.weight for leak in leaks), 3)
    for leak in leaks:
        leak.rarity, leak.weight = round(leak.rarity, 3), round(leak.weight, 3)
    return Audit(text=fingerprint(reply), leaks=leaks, leak_score=score, leaking=score > leak_max)
