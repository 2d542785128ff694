"""The auditor: for each conclusion of a turn, the line of the conversation that shares most words with it."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from duel import turn
from duel.offline.rules.conversation import fence_of

_FENCED = fence_of("CONVERSATION", "TURN")
_SENTENCE = re.compile(r"[^.!?\n]{12,400}")
_CONCLUDES = re.compile(
    r"\b(?:because|since|cause|culprit|(?:problem|issue|bug|reason|fix|error) (?:is|lies)|should|must|needs?|instead of"
    r"|rather than|never|missing|lacks?|fails?|forgets?|ignores?|wrongly|without)\b",
    re.IGNORECASE,
)
# A step that looks for something states nothing.
_LOOKS = re.compile(
    r"\b(?:let me|i'll|i will|i want|i need|i would|i'd|maybe|probably|may|might|could|where|whether)\b", re.IGNORECASE
)
_WORD = re.compile(r"[a-z]{4,}")
SHARED = 0.5
"""Share of a conclusion's words that a line must hold to count as its ground."""


def reply(messages: Sequence[Mapping[str, Any]]) -> str:
    """The claims of the turn with their quotes, as one JSON object."""
    found = {label: text for label, _, text in _FENCED.findall(str(messages[-1]["content"]))}
    lines = [(line.strip(), _stems(line)) for line in found.get("CONVERSATION", "").splitlines() if line.strip()]
    said = [sentence.strip() for sentence in _SENTENCE.findall(turn.thought(found.get("TURN", "")))]
    claims = [sentence for sentence in said if _CONCLUDES.search(sentence) and not _LOOKS.search(sentence)]
    return json.dumps({"claims": [{"said": claim, "quote": _ground(claim, lines)} for claim in claims]})


def _ground(claim: str, lines: Sequence[tuple[str, frozenset[str]]]) -> str:
    """The line that shares most words with a claim; "" where none shares enough."""
    wanted = _stems(claim)
    line, words = max(lines, key=lambda line: len(wanted & line[1]), default=("", frozenset()))
    return line if wanted and len(wanted & words) >= SHARED * len(wanted) else ""


def _stems(text: str) -> frozenset[str]:
    return frozenset(re.sub(r"(?:ing|ed|es|s)$", "", word) for word in _WORD.findall(text.casefold()))
