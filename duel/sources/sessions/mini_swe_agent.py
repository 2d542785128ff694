"""mini-swe-agent `.traj.json`: version 1 (an object, bash fence), version 2 (text fence or native tool calls)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from duel.sources.sessions import messages
from duel.sources.sessions.log import Log
from duel.sources.sessions.session import Session, table, text

NAME = "mini-swe-agent"


def recognises(sample: list[dict[str, Any]]) -> bool:
    """True for the object of a run, and for a bare list of chat messages (one run's messages, nothing else)."""
    first = sample[0] if sample else {}
    is_run = isinstance(first.get("messages"), list) and isinstance(first.get("info"), dict)
    return is_run or (first.get("role") == "system" and all("role" in r and "content" in r for r in sample))


def read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """The one run of a file."""
    if log.is_lines and not any("messages" in record for record in log.sample):
        documents: Iterator[Any] = iter([list(log.records())])  # one message a line
    else:
        documents = log.values()
    for document in documents:
        run = {"messages": document} if isinstance(document, list) else table(document)
        info = table(run.get("info"))
        session = messages.session(run, NAME, log)
        session.exit_status = text(info, "exit_status") or session.exit_status
        session.instance_id = text(run, "instance_id")
        session.id = session.instance_id or log.path.name.split(".")[0]
        configuration = table(info.get("config"))
        session.model = text(table(configuration.get("model")), "model_name") or session.model
        session.folder = text(table(configuration.get("environment")), "cwd")
        yield session
