"""A world with a known truth: each turn names its quality, judges see it through noise, a reviser changes it or not.

The noise of a vote depends on what was asked and on how often it was asked before, so that asking again is a fresh
look, and a run with one call at a time is the same each time.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

from duel.offline.rules import role
from duel.offline.rules.conversation import fraction
from duel.records import DIMENSIONS
from tests.stages.conftest import MODELS

SETTINGS = f"""
[endpoint]
concurrency = 1
retry_initial_backoff_s = 0.01
{MODELS}
near_duplicate = 1.0
[duel]
bootstrap_resamples = 200
"""
_QUALITY = re.compile(r"quality (-?\d+\.\d+)")
_TOLD = re.compile(r"THOUGHT: (\w+).* quality (-?\d+\.\d+)")
_NONCE = re.compile(r"\b[0-9a-f]{16}\b")
_TURN = re.compile(r"Fix issue (\d+)")


def turn_of(number: str, quality: float, words: str = "look", command: str = "cat src/app.py") -> str:
    """A turn whose quality can be read, in words that no other turn has."""
    return f"THOUGHT: {words} n{number} at quality {quality:.3f}\n\n```bash\n{command} # n{number}\n```"


@dataclass
class World:
    """What the models of one endpoint do."""

    gain: float = 0.0
    """Added to the quality of each rewrite."""
    words: str = "look"
    """How a rewrite words the same step; "look" leaves it unchanged to the letter."""
    leaking: bool = False
    flattery: float = 0.0
    """How much better a rewrite looks to the first two judges, whose reasons its writer was given."""
    silent: str = ""
    """A judge that writes no verdict on rewrites."""
    asked: Counter[str] = field(default_factory=Counter)
    revisions: list[list[Mapping[str, Any]]] = field(default_factory=list)
    """The messages of every request for a rewrite."""

    def reply(self, body: Mapping[str, Any]) -> str:
        """What any model says."""
        messages = body["messages"]
        text = "\n".join(str(message["content"]) for message in messages)
        number = match[1] if (match := _TURN.search(text)) else "0"
        match role(messages):
            case "judge":
                return self.verdict(str(body["model"]), str(messages[-1]["content"]))
            case "reviser":
                self.revisions.append(messages)
                quality = float(_QUALITY.findall(str(messages[-2]["content"]))[0]) + self.gain
                leak = f"grep -rn case_{number} src && sed -i s/x/text.splitlines/ src/app.py"
                return turn_of(number, quality, self.words, *([leak] if self.leaking else []))
            case "challenger":
                seed = [str(body["seed"])] if "seed" in body else []  # of several challengers, each is another one
                drawn = 0.01 + 0.98 * fraction("challenger", number, *seed)
                return turn_of(number, NormalDist(0.35, 0.4).inv_cdf(drawn))
        return turn_of(number, 0.0, "kingly", "zebra --stripes src/app.py")

    def verdict(self, judge: str, shown: str) -> str:
        """One judge's word: the difference of the qualities, and noise of the judge and of each dimension."""
        flattered = self.flattery if judge != "third/judge-c" else 0.0
        found = _TOLD.findall(shown)[-2:]
        first, second = (float(quality) + flattered * (words == self.words) for words, quality in found)
        if judge == self.silent and self.revisions:
            return "I would rather not say."
        shown = _NONCE.sub("", shown)
        self.asked[judge + shown] += 1
        seed = (judge, shown, str(self.asked[judge + shown]))
        verdict: dict[str, Any] = {"reason": "Reply 1 looks closer. Reply 2 runs `zebra --stripes` too."}
        for dimension in DIMENSIONS:
            off = noise(*seed) + noise(*seed, dimension)
            difference = first - second + 0.4 * off
            verdict[dimension] = 0 if abs(difference) < 0.1 else 1 if difference > 0 else 2
        return json.dumps(verdict)


def noise(*seed: str) -> float:
    """A standard normal number that depends on `seed` alone."""
    return NormalDist().inv_cdf(min(max(fraction(*seed), 1e-9), 1 - 1e-9))
