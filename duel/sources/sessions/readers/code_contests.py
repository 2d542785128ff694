"""CodeContests: a problem and, of each language, the first solution that was accepted. Rows of the task `chat`."""

from collections.abc import Iterator
from typing import Any

from duel.conversation.message_rows import chat
from duel.conversation.model import Session
from duel.conversation.values import table, text
from duel.sources.sessions.log import Log

# The set's own enumeration.
_LANGUAGES = {1: "python2", 2: "cpp", 3: "python", 4: "java"}


def recognizes(sample: list[dict[str, Any]]) -> bool:
    return any("description" in record and "language" in table(record.get("solutions")) for record in sample)


def read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    for number, row in enumerate(log.values()):
        solutions = table(row.get("solutions"))
        pairs = zip(solutions.get("language") or (), solutions.get("solution") or (), strict=False)
        firsts: dict[str, str] = {}
        for kind, source in pairs:
            if isinstance(source, str) and isinstance(kind, int | str):
                firsts.setdefault(_LANGUAGES.get(kind, "") if isinstance(kind, int) else kind.lower(), source)
        for language, source in firsts.items():
            reply = f"```{language}\n{source.rstrip()}\n```"
            name = f"{text(row, 'name') or number} {language}"
            session = chat("code-contests", name, [("user", text(row, "description")), ("assistant", reply)])
            session.row = number
            yield session
