"""The blind-agent audit: facts in a reply that stand in the hidden pull request and nowhere in what the agent saw.

A challenger is written with the pull request in hand. What it tells must follow from the history alone; a path that
nobody listed, a helper that exists only in the patch or "as the diff shows" would teach a model to make things up.
"""

from collections.abc import Sequence

from duel.audit import leak_paths, leak_words
from duel.audit.leak_findings import LeakFinding, Leaks, Search, distinct
from duel.audit.pull_facts import Facts
from duel.audit.rarity import Rarity
from duel.audit.turn_indexes import HistoryIndex, ReplyIndex
from duel.records import Commit, Message

__all__ = ["LeakFinding", "Leaks", "find_leaks"]
KEPT_FACTS = 32  # pull requests whose facts are kept: the turns of one come one after the other


def find_leaks(reply: str, messages: Sequence[Message], commit: Commit, rarity: Rarity, leak_max: float = 1.0) -> Leaks:
    """The facts of `commit` that `reply` tells although nothing in `messages` does, the heaviest first. Never raises.

    The score is the sum of the findings' weights; a turn leaks where it exceeds `leak_max`.
    """
    search = Search(ReplyIndex(reply), HistoryIndex(messages, commit.issue), _facts_of(commit), rarity)
    found = [finding for find in _SEARCHES for finding in find(search)]
    findings = sorted(distinct(found), key=lambda finding: (-finding.weight, finding.start))
    score = round(sum(finding.weight for finding in findings), 3)
    return Leaks(tuple(findings), score, score > leak_max)


_SEARCHES = (
    leak_paths.paths,
    leak_words.names,
    leak_words.chunks,
    leak_words.literals,
    leak_words.lines,
    leak_words.runs,
    leak_words.sentences,
    leak_words.line_numbers,
    leak_words.constants,
    leak_words.hashes,
    leak_words.pull_number,
    leak_paths.blind_edits,
    leak_paths.windows,
    leak_paths.other_history,
    leak_paths.talk,
)
_LAST: dict[str, tuple[Commit, Facts]] = {}


def _facts_of(commit: Commit) -> Facts:
    kept = _LAST.get(commit.instance_id)
    if kept is None or kept[0] != commit:
        if len(_LAST) >= KEPT_FACTS:
            _LAST.pop(next(iter(_LAST)))
        kept = _LAST[commit.instance_id] = (commit, Facts(commit))
    return kept[1]
