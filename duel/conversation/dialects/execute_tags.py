"""CodeAct: Python in `<execute>` (bash in `<execute_bash>`), the answer in `<solution>`, results from the user."""

import re

from duel.conversation.model import AgentCall, AgentReply
from duel.conversation.values import around

_ACTION = re.compile(r"<(execute(?:_bash|_ipython)?|solution)>[ \t]*\n?(.*?)\n?[ \t]*</\1>", re.DOTALL)
_PYTHON = ("python", "code")
_CALLS = {
    "solution": ("finish", "message"),
    "execute_bash": ("bash", "command"),
    "execute": _PYTHON,
    "execute_ipython": _PYTHON,
}
_RAISED = re.compile(r"^(?:Traceback \(most recent call last\)|(?:\w+\.)*\w*(?:Error|Exception): )", re.MULTILINE)


def find(content: str, number: int) -> AgentReply | None:
    """`<execute>` is a call of `python`, which keeps its state between calls; `<solution>` hands over."""
    calls = []
    for order, action in enumerate(_ACTION.finditer(content)):
        key = f"call_{number}" + (f"_{order}" if order else "")
        name, argument = _CALLS[action[1]]
        calls.append(AgentCall(key, name, {argument: action[2].strip() if name == "finish" else action[2]}))
    return AgentReply(around(_ACTION, content), calls) if calls else None


def results(content: str) -> list[tuple[str, bool]]:
    """One observation; Python's own words tell that it failed."""
    return [(content, bool(_RAISED.search(content)))]
