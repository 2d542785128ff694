"""Lists of chat messages: rows of JSONL, parquet and the Hub's sets, mini-swe-agent `.traj.json`, SWE-agent `.traj`."""

from collections.abc import Iterator
from typing import Any

from duel.conversation import message_rows, text_actions
from duel.conversation.model import Session
from duel.conversation.values import table, tables, text
from duel.sources.sessions.log import Log, SessionReader, any_record


def _rows(log: Log, all_branches: bool = False, dialect: str = "") -> Iterator[Session]:
    for number, row in enumerate(log.values()):
        if message_rows.conversation(row):
            session = message_rows.session(row, "messages", f"{log.name} row {number}", dialect)
            session.row = number
            yield session
        else:
            log.note("row without messages")


def _is_mini_swe_agent(sample: list[dict[str, Any]]) -> bool:
    first = sample[0] if sample else {}
    messages = first.get("messages")
    opens = text(table(messages[0]), "role") if isinstance(messages, list) and messages else ""
    is_run = bool(opens) and isinstance(first.get("info"), dict)
    is_list = opens == "system" and len(sample) == len(first) == 1
    return is_run or is_list or (first.get("role") == "system" and all("role" in r and "content" in r for r in sample))


def _mini_swe_agent(log: Log, all_branches: bool = False) -> Iterator[Session]:
    runs: Iterator[dict[str, Any]] = log.values()
    if not any("messages" in record for record in log.sample):
        runs = iter([{"messages": list(runs)}])
    for run in runs:
        info = table(run.get("info"))
        session = message_rows.session(run, "mini-swe-agent", log.name)
        session.exit_status = text(info, "exit_status") or session.exit_status
        session.instance_id = text(run, "instance_id")
        session.id = session.instance_id or log.path.name.split(".")[0]
        configuration = table(info.get("config"))
        session.model = text(table(configuration.get("model")), "model_name") or session.model
        session.folder = text(table(configuration.get("environment")), "cwd")
        yield session


def _is_swe_agent(sample: list[dict[str, Any]]) -> bool:
    return bool(sample) and all(isinstance(sample[0].get(name), list) for name in ("history", "trajectory"))


def _swe_agent(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """`history` is what the model saw; demonstrations in it are not this agent's work.

    Steps and assistant turns may differ in number (the last step may be an automatic submission), so only the history
    is read. Where replies hold no native calls, the parsed `action` and `thought` are surer than the text.
    """
    for run in log.values():
        history = [message for message in tables(run.get("history")) if not message.get("is_demo")]
        row = {"messages": history, "instance_id": log.path.name.split(".traj")[0]}
        session = message_rows.session(row, "swe-agent", log.name)
        session.id = session.instance_id
        session.exit_status = text(table(run.get("info")), "exit_status")
        session.folder = text(run, "environment") if text(run, "environment").startswith("/") else ""
        replied = [message for message in history if message.get("role") == "assistant"]
        is_native = any(message.get("tool_calls") for message in replied)
        for reply, message in zip(session.replies, [] if is_native else replied, strict=False):
            if reply.calls and (action := text(message, "action").strip()):
                call = text_actions.command_line_call(action, reply.calls[0].id)
                reply.calls[0].name, reply.calls[0].arguments = call.name, call.arguments
                reply.calls[0].obstacle = call.obstacle
                reply.text = text(message, "thought").strip() or reply.text
        yield session


FORMATS = {
    "messages": SessionReader(any_record(message_rows.conversation), _rows),
    "mini-swe-agent": SessionReader(_is_mini_swe_agent, _mini_swe_agent),
    "swe-agent": SessionReader(_is_swe_agent, _swe_agent),
}
