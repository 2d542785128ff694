"""The blind-agent audit: facts in a reply that stand in the hidden pull request and nowhere in what the agent saw.

A challenger is written with the pull request in hand; what it tells must follow from the history alone.
"""

from collections.abc import Sequence

from duel.audit import leak_paths, leak_words
from duel.audit.pull_facts import Facts
from duel.audit.rarity import Rarity
from duel.audit.turn_indexes import HistoryIndex, ReplyIndex, Search, Told
from duel.records import Audit, Commit, Leak, Message, fingerprint

# Weight of a fact that no other record holds and that nothing in the history suggests. Settings call a turn leaking
# above 1.0, so each of these leaks alone, and each loses to two reasons for doubt.
BASE = dict.fromkeys(["line", "line number", "pull", "talk", "blind edit", "window", "other history", "claim"], 1.3)
BASE |= {"test": 1.6, "path": 1.5, "identifier": 1.5, "hash": 1.5, "literal": 1.4, "number": 1.2}
LEAST_WEIGHT = 0.25  # lighter findings are noise and are left out
WEAK_LINES_MOST = 0.9  # what lines that do not leak alone, or stand in code, weigh together: the fix may be found
_CALLED = {"hash": "commit hash", "pull": "pull request number"}
_DEEDS = {
    "blind edit": "edits `{}`, of which the conversation has shown nothing",
    "window": "opens just the changed lines of `{}`, which nobody has opened",
    "other history": "reaches for other commits or releases: `{}`",
}
_LAST: list[tuple[Commit, Facts]] = []  # the turns of one pull request come one after the other


def find_leaks(reply: str, messages: Sequence[Message], commit: Commit, rarity: Rarity, leak_max: float = 1.0) -> Audit:
    """The facts of `commit` that `reply` tells although nothing in `messages` does, the heaviest first. Never raises.

    The score is the sum of the findings' weights; a turn leaks where it exceeds `leak_max`.
    """
    facts = next((facts for known, facts in _LAST if known == commit), None) or Facts(commit)
    _LAST[:] = [(commit, facts)]
    search = Search(ReplyIndex(reply), HistoryIndex(messages, commit.issue), facts, rarity)
    searches = (*leak_paths.SEARCHES, *leak_words.SEARCHES)
    found = [finding(search, told) for find in searches for told in find(search)]
    leaks = sorted(distinct(found, search.reply), key=lambda leak: (-leak.weight, leak.place["offset"]))
    score = round(sum(leak.weight for leak in leaks), 3)
    for leak in leaks:
        leak.rarity, leak.weight = round(leak.rarity, 3), round(leak.weight, 3)
    return Audit(text=fingerprint(reply), leaks=leaks, leak_score=score, leaking=score > leak_max)


def finding(search: Search, told: Told) -> Leak:
    """What was told, weighed. Where it has a `key`, other records that hold that make it lighter."""
    fact, rarity = told.fact, search.rarity.of(told.key) if told.key else 1.0
    return Leak(
        kind=fact.kind,
        value=told.value,
        place=search.reply.place(told.start),
        pr_place={"part": fact.part, "path": fact.path, "line": fact.line},
        rarity=rarity,
        elsewhere=search.rarity.elsewhere(told.key) if told.key else 0,
        weight=BASE[fact.kind] * rarity * told.factor,
    )


def distinct(findings: Sequence[Leak], reply: ReplyIndex) -> list[Leak]:
    """Without those that overlap a better one, and with weak lines together capped.

    Of those that leak alone the longest is best, since it says most; of the others the heaviest.
    """
    kept: list[Leak] = []
    spans: list[tuple[int, int]] = []
    weak_lines = 0.0
    said = ((-len(leak.value) if leak.weight > 1.0 else 1, leak) for leak in findings)
    for _, leak in sorted(said, key=lambda one: (one[0], -one[1].weight, one[1].place["offset"], one[1].kind)):
        start, end = leak.place["offset"], leak.place["offset"] + len(leak.value)
        if any(start < other_end and other_start < end for other_start, other_end in spans):
            continue
        if leak.kind == "line" and (leak.weight <= 1.0 or reply.in_code(start)):
            leak.weight = min(leak.weight, WEAK_LINES_MOST - weak_lines)
            weak_lines += leak.weight
        if leak.weight >= LEAST_WEIGHT:
            kept.append(leak)
            spans.append((start, end))
    return kept


def sentence(leak: Leak) -> str:
    value = leak.value if len(leak.value) <= 120 else leak.value[:119] + "…"
    where = f"line {leak.place['line']} of the reply"
    if leak.kind == "talk":
        return f'"{value}" ({where}) speaks of what the agent was never told of'
    if leak.kind in _DEEDS:
        return f"the command ({where}) {_DEEDS[leak.kind].format(value)}"
    return f"the {_CALLED.get(leak.kind, leak.kind)} `{value}` ({where}) stands nowhere in the conversation"
