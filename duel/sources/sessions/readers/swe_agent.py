"""SWE-agent `.traj`: one JSON object with `trajectory`, `history` and `info`.

`history` is what the model saw; demonstrations in it are not this agent's work. Steps and assistant turns may differ in
number (the last step may be an automatic submission), so only the history is read.
"""

from collections.abc import Iterator
from typing import Any

from duel.conversation import message_rows, text_actions
from duel.conversation.model import Session
from duel.conversation.values import table, tables, text
from duel.sources.sessions.log import Log


def recognizes(sample: list[dict[str, Any]]) -> bool:
    first = sample[0] if sample else {}
    return isinstance(first.get("history"), list) and isinstance(first.get("trajectory"), list)


def read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    for run in log.values():
        history = [message for message in tables(run.get("history")) if not message.get("is_demo")]
        info = table(run.get("info"))
        row = {"messages": history, "instance_id": log.path.name.split(".traj")[0]}
        session = message_rows.session(row, "swe-agent", log.name)
        session.id = session.instance_id
        session.exit_status = text(info, "exit_status")
        session.folder = text(run, "environment") if text(run, "environment").startswith("/") else ""
        _use_actions(session, [message for message in history if message.get("role") == "assistant"])
        yield session


def _use_actions(session: Session, history: list[dict[str, Any]]) -> None:
    """Where replies hold no native calls, the parsed `action` and `thought` are surer than the text."""
    if any(message.get("tool_calls") for message in history):
        return
    for reply, message in zip(session.replies, history, strict=False):
        action = text(message, "action").strip()
        if reply.calls and action:
            call = text_actions.command_line_call(action, reply.calls[0].id)
            reply.calls[0].name, reply.calls[0].arguments = call.name, call.arguments
            reply.calls[0].obstacle = call.obstacle
            reply.text = text(message, "thought").strip() or reply.text
