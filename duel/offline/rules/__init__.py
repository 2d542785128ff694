"""What the stand-in says: a role told by the request's content, and a reply made by rules for it.

Nothing here is learnt or drawn at random: a reply depends on the request alone.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_REPLY_1 = re.compile(r"^=== REPLY 1 \w+ ===$", re.MULTILINE)
_AUDITED_TURN = re.compile(r"^=== TURN \w+ ===$", re.MULTILINE)
_WORDED = re.compile(r"^=== (?:REQUEST TO WORD|NEXT CALL) \w+ ===$", re.MULTILINE)
_PULL_REQUEST = re.compile(r"^=== HIDDEN PULL REQUEST \w+ ===$", re.MULTILINE)


def role(messages: Sequence[Mapping[str, Any]]) -> str:
    """ "judge", "auditor", "wording", "challenger" or "king": who is asked for, told by the fences of the prompt."""
    asked = str(messages[-1]["content"])
    if _REPLY_1.search(asked):
        return "judge"
    if len(messages) == 1 and _AUDITED_TURN.search(asked):
        return "auditor"
    if len(messages) == 1 and _WORDED.search(asked):
        return "wording"
    if any(message["role"] == "system" and _PULL_REQUEST.search(str(message["content"])) for message in messages[:2]):
        return "challenger"
    return "king"


def reply(body: Mapping[str, Any]) -> str:
    """The content of the reply to one chat completion request."""
    from duel.offline.rules import agent, auditing, judge, row_words

    messages = body["messages"]
    match role(messages):
        case "judge":
            return judge.reply(messages, str(body["model"]))
        case "auditor":
            return auditing.reply(messages)
        case "wording":
            return row_words.reply(messages)
        case "challenger":
            return agent.challenger(messages)
        case _:
            return agent.king(messages)
