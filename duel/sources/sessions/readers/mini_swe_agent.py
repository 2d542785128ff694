"""mini-swe-agent `.traj.json`: version 1 (an object, bash fence), version 2 (text fence or native tool calls)."""

from collections.abc import Iterator
from typing import Any

from duel.conversation import message_rows
from duel.conversation.model import Session
from duel.conversation.values import table, text
from duel.sources.sessions.log import Log


def recognizes(sample: list[dict[str, Any]]) -> bool:
    first = sample[0] if sample else {}
    messages = first.get("messages")
    opens = text(table(messages[0]), "role") if isinstance(messages, list) and messages else ""
    is_run = bool(opens) and isinstance(first.get("info"), dict)
    is_list = opens == "system" and len(sample) == len(first) == 1
    return is_run or is_list or (first.get("role") == "system" and all("role" in r and "content" in r for r in sample))


def read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    runs: Iterator[dict[str, Any]] = log.values()
    if not any("messages" in record for record in log.sample):
        runs = iter([{"messages": list(runs)}])  # one message a line
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
