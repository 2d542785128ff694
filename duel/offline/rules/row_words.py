"""Words for synthetic rows, by a grammar: a request of one kind with its names, or a thought before a call.

Each text of `row_words.toml` is one way to say it; `{a|b}` are alternatives, `@person` is one of the texts of `person`,
`$1` is the first name that must be kept.
"""

import hashlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from duel import wordlists
from duel.offline.rules.conversation import fence_of

_FENCED = fence_of("REQUEST TO WORD", "CONVERSATION", "NEXT CALL")
_KIND = re.compile(r'^It is a task of the kind "([^"\n]+)"\.', re.MULTILINE)
_NAME = re.compile(r"^- (.+)$", re.MULTILINE)
_LIST = re.compile(r"@([a-z]+)")
_CHOICE = re.compile(r"\{([^{}]*)\}")
_FAILED = re.compile(r"(?i)no such file|no matches|not found|invalid|unrecognized|nothing was changed|cannot")
_grammar = partial(wordlists.toml, __package__, "row_words")
# Shares of the requests that begin with an occasion, end on a wish, are in lower case, have no full stop.
LEADS, TAILS, LOWER, BARE = 0.08, 0.06, 0.3, 0.3


def reply(messages: Sequence[Mapping[str, Any]]) -> str:
    """The request or the thought that is asked for; what the fences' marks are makes no difference."""
    asked = str(messages[-1]["content"])
    found = {label: text for label, _, text in _FENCED.findall(asked)}
    draw = random.Random(hashlib.sha256(re.sub(r"\b[0-9a-f]{16}\b", "", asked).encode()).digest())
    if call := found.get("NEXT CALL"):
        return _thought(call, found.get("CONVERSATION", ""), draw)
    outside = _FENCED.sub("", asked)
    kind, names = _KIND.search(outside), _NAME.findall(outside)
    ways = _grammar().get(kind[1]) if kind else None
    core = _filled(draw.choice(ways), names, draw) if ways else found["REQUEST TO WORD"]
    in_lower_case = ways and draw.random() < LOWER
    if not core.startswith(tuple(names)) and not core[:2].isupper():
        core = (core[:1].lower() if in_lower_case else core[:1].upper()) + core[1:]
    if draw.random() >= BARE and core[-1:] not in "?.!":
        core += "."
    lead = _filled(draw.choice(_grammar()["lead"]), names, draw) + " " if draw.random() < LEADS or not ways else ""
    tail = _filled(draw.choice(_grammar()["tail"]), names, draw) if draw.random() < TAILS or not ways else ""
    return lead + core + (f"{'' if core[-1:] in '?.!' else ','} {tail}" if tail else "")


def _thought(call: str, conversation: str, draw: random.Random) -> str:
    """What the last observation was good for, and what the call does, by its first argument."""
    made = json.loads(call)[0]
    shown = next((str(value) for value in made["arguments"].values()), "")
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+", made["name"])}
    ways = next((_grammar()[kind] for kind in ("grep", "glob", "edit", "read") if kind in words), _grammar()["bash"])
    said = _filled(draw.choice(ways), [f"`{shown}`" if len(shown) < 80 else "it"], draw)
    last = conversation.rpartition("\n[")[2]
    if not last.startswith("tool]"):
        return said[:1].upper() + said[1:] + "."
    before = _grammar()["reason" if _FAILED.search(last) else "found"]
    return f"{_filled(draw.choice(before), [], draw)}{draw.choice(['; ', ': ', ', so ', ' – '])}{said}."


def _filled(way: str, names: Sequence[str], draw: random.Random) -> str:
    way = "{" + way + "}"
    while named := _LIST.search(way):
        way = way[: named.start()] + "{" + draw.choice(_grammar()[named[1]]) + "}" + way[named.end() :]
    while found := _CHOICE.search(way):
        way = way[: found.start()] + draw.choice(found[1].split("|")) + way[found.end() :]
    way = re.sub(r"\s+", " ", way).replace(" ,", ",").strip()
    return re.sub(r"\$(\d)", lambda match: names[int(match[1]) - 1] if int(match[1]) <= len(names) else "it", way)
