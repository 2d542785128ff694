"""What the stand-in says: a role told by the request's content, and a reply made by rules for it.

Nothing here is learnt or drawn at random: a reply depends on the request alone.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_REPLY_1 = re.compile(r"^=== REPLY 1 \w+ ===$", re.MULTILINE)
_AUDITED_TURN = re.compile(r"^=== TURN \w+ ===$", re.MULTILINE)
_WORDED = re.compile(r"^=== (?:REQUEST TO WORD|NEXT CALL) \w+ ===$", re.MULTILINE)
_REASONS = re.compile(r"^=== REASONS \w+ ===$", re.MULTILINE)
_OVERSEEN = re.compile(r"^You oversee a coding agent")
_PULL_REQUEST = re.compile(r"^=== HIDDEN PULL REQUEST \w+ ===$", re.MULTILINE)


def role(messages: Sequence[Mapping[str, Any]], model: str = "") -> str:
    """Who is asked for: "judge", "auditor", "wording", "overseer", "reviser", "challenger", "agent" or "king".

    The fences of the prompt tell, and the name of an agent's model.
    """
    asked = str(messages[-1]["content"])
    if len(messages) == 1 and _OVERSEEN.match(asked):
        return "overseer"
    if re.search(r"\bagent-\d+$", model):
        return "agent"
    if _REPLY_1.search(asked):
        return "judge"
    if len(messages) == 1 and _AUDITED_TURN.search(asked):
        return "auditor"
    if len(messages) == 1 and _WORDED.search(asked):
        return "wording"
    if _REASONS.search(asked):
        return "reviser"
    if any(message["role"] == "system" and _PULL_REQUEST.search(str(message["content"])) for message in messages[:2]):
        return "challenger"
    return "king"


def reply(body: Mapping[str, Any]) -> str:
    """The content of the reply to one chat completion request."""
    from duel.offline.rules import agent, auditing, guided_work, judge, planted, row_words

    messages, seed = body["messages"], int(body.get("seed") or 0)
    model = str(body["model"])
    match role(messages, model):
        case "judge":
            return judge.reply(messages, model)
        case "king" | "challenger" if planted.plays(model):
            return planted.turn(messages, model, seed)
        case "overseer":
            return guided_work.overseer(str(messages[0]["content"]))
        case "agent":
            return guided_work.agent(messages, int(model.rpartition("-")[2]))
        case "auditor":
            return auditing.reply(messages)
        case "wording":
            return row_words.reply(messages)
        case "reviser":
            return agent.reviser(messages, model)
        case "challenger":
            return agent.challenger(messages, seed)
        case _:
            return agent.king(messages, seed)
