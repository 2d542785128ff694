"""Turns of planted quality, and judges that see it with an error of known size: the truth about a choice is known.

A writer draws the quality of each turn (mean 0, standard deviation 1) and says it; a judge `planted-0.8…` sees quality
plus a taste of its own for each reply, of standard deviation 0.8. The taste for a reply is the same in every pair and
order, as a real judge's: so who chose by it scores the chosen too high.
"""

import json
import re
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

from duel.offline.rules import judge
from duel.offline.rules.conversation import fraction
from duel.records import DIMENSIONS

_QUALITY = re.compile(r"\(planted quality ([+-]\d+\.\d+)\)")
_TASTE = re.compile(r"planted-(\d+(?:\.\d+)?)")
BAND = 0.1
"""Replies that look nearer to each other than this are a draw."""


def turn(messages: Sequence[Mapping[str, Any]], model: str, seed: int) -> str:
    """One turn. A system prompt, which may carry a nonce, does not change it."""
    drawn = (model, str(seed), *(str(message["content"]) for message in messages[1:]))
    word = f"word{int(fraction('word', *drawn) * 10**9)}"
    quality = f"(planted quality {_normal('quality', *drawn):+.3f})"
    return f'THOUGHT: I search for `{word}` {quality}.\n\n```bash\ngrep -rn "{word}" .\n```'


def quality(text: str) -> float:
    """The quality that a turn says it has, 0 for one that says none."""
    found = _QUALITY.search(text)
    return float(found[1]) if found else 0.0


def verdict(messages: Sequence[Mapping[str, Any]], model: str) -> str:
    """What `model` answers as a judge."""
    _, told = judge.replies(str(messages[-1]["content"]))
    preferred = better(told["REPLY 1"], told["REPLY 2"], model)
    return json.dumps({"reason": "Rule-made, by planted quality.", **dict.fromkeys(DIMENSIONS, preferred)})


def better(first: str, second: str, model: str) -> int:
    """1 or 2: the reply that the judge `model` prefers; 0 for a draw."""
    found = _TASTE.search(model)
    taste = float(found[1]) if found else 0.0
    seen = [quality(text) + taste * _normal(model, text.strip()) for text in (first, second)]
    return 0 if abs(seen[0] - seen[1]) < BAND else 1 + (seen[1] > seen[0])


def _normal(*parts: str) -> float:
    return NormalDist().inv_cdf(min(max(fraction(*parts), 1e-9), 1 - 1e-9))
