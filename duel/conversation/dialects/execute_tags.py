"""CodeAct: Python in `<execute>` (bash in `<execute_bash>`), the answer in `<solution>`, results from the user."""

from __future__ import annotations

import re

from duel.conversation.model import AgentCall, AgentReply

_ACTION = re.compile(r"<(execute(?:_bash|_ipython)?|solution)>[ \t]*\n?(.*?)\n?[ \t]*</\1>", re.DOTALL)
_RAISED = re.compile(r"^(?:Traceback \(most recent call last\)|(?:\w+\.)*\w*(?:Error|Exception): )", re.MULTILINE)


def find(content: str, number: int) -> AgentReply | None:
    """`<execute>` is a call of `python`, which keeps its state between calls; `<solution>` hands over."""
    calls = []
    for order, action in enumerate(_ACTION.finditer(content)):
        key = f"call_{number}" + (f"_{order}" if order else "")
        if action[1] == "solution":
            calls.append(AgentCall(key, "finish", {"message": action[2].strip()}))
        elif action[1] == "execute_bash":
            calls.append(AgentCall(key, "bash", {"command": action[2]}))
        else:
            calls.append(AgentCall(key, "python", {"code": action[2]}))
    prose = [part.strip() for part in _ACTION.sub("\0", content).split("\0")]
    return AgentReply("\n\n".join(filter(None, prose)), calls) if calls else None


def results(content: str) -> list[tuple[str, bool]]:
    """One observation; Python's own words tell that it failed."""
    return [(content, bool(_RAISED.search(content)))]
