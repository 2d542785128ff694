"""What the stand-in says: a role told by the request's content, and a reply made by rules for it.

Nothing here is learned or drawn at random: a reply depends on the request alone.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_FENCE = re.compile(r"^=== (REPLY 1|TURN|REQUEST TO WORD|NEXT CALL|REASONS|HIDDEN PULL REQUEST) \w+ ===$", re.MULTILINE)


def role(messages: Sequence[Mapping[str, Any]], model: str = "") -> str:
    """Who is asked for, told by the fences of the prompt and by the name of an agent's model."""
    asked, alone = str(messages[-1]["content"]), len(messages) == 1
    if alone and asked.startswith("You oversee a coding agent"):
        return "overseer"
    if re.search(r"\bagent-\d+$", model):
        return "agent"
    labels = set(_FENCE.findall(asked))
    if "REPLY 1" in labels:
        return "judge"
    if alone and labels & {"TURN", "REQUEST TO WORD", "NEXT CALL"}:
        return "auditor" if "TURN" in labels else "wording"
    if "REASONS" in labels:
        return "reviser"
    systems = [str(message["content"]) for message in messages[:2] if message["role"] == "system"]
    return "challenger" if any("HIDDEN PULL REQUEST" in _FENCE.findall(text) for text in systems) else "king"


def reply(body: Mapping[str, Any]) -> str:
    from duel.offline.rules import agent, judge, row_words

    messages, seed, model = body["messages"], int(body.get("seed") or 0), str(body["model"])
    replies: dict[str, Callable[[], str]] = {
        "judge": lambda: judge.reply(messages, model),
        "auditor": lambda: judge.claims(messages),
        "wording": lambda: row_words.reply(messages),
        "overseer": lambda: agent.overseer(str(messages[0]["content"])),
        "agent": lambda: agent.agent(messages, int(model.rpartition("-")[2])),
        "reviser": lambda: agent.reviser(messages, model),
        "challenger": lambda: agent.challenger(messages, seed),
        "king": lambda: agent.king(messages, seed),
    }
    return replies[role(messages, model)]()
