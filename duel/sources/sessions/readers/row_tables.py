"""Records that hold no list of messages: ATIF (Harbor RFC 0001), OpenAssistant, CodeContests, documented functions,
tables with a row a turn."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from duel.conversation.message_rows import chat
from duel.conversation.model import AgentCall, AgentReply, Lost, Said, Session
from duel.conversation.native_calls import waiting_for
from duel.conversation.values import joined, loaded, parts, seconds, table, tables, text
from duel.sources.sessions.log import Log, SessionReader, any_record

_DOCUMENTATION = ("func_documentation_string", "docstring", "doc", "nl")
_CODE = ("func_code_string", "whole_func_string", "code", "function", "original_string")
# CodeContests' own enumeration.
_LANGUAGES = {1: "python2", 2: "cpp", 3: "python", 4: "java"}
_TEXTS = ("content", "text", "message", "prompt", "response")
_RESULTS = ("tool_result", "tool_output", "output", "result")


def _atif(log: Log, all_branches: bool = False) -> Iterator[Session]:
    for number, document in enumerate(log.values()):
        agent, extra = table(document.get("agent")), table(loaded(document.get("extra")))
        session = Session("atif", text(document, "trajectory_id", "session_id") or log.name, row=number)
        session.model = text(agent, "model_name")
        session.tools = [table(loaded(tool)) for tool in agent.get("tool_definitions") or ()]
        session.instance_id, session.repo = text(extra, "instance_id"), text(extra, "repo")
        session.license = text(extra, "license")
        for step in tables(document.get("steps")):
            session.saw(seconds(step.get("timestamp")))
            spoken, images = parts(step.get("message"))
            if step.get("source") == "system":
                session.system = joined(session.system, spoken)
            elif step.get("source") != "agent":
                session.entries.append(Said(spoken, images))
            else:
                _add_step(step, spoken.strip(), session)
        yield session.tally()


def _add_step(step: dict[str, Any], spoken: str, session: Session) -> None:
    calls = [
        AgentCall(text(call, "tool_call_id"), text(call, "function_name"), table(loaded(call.get("arguments"))))
        for call in tables(step.get("tool_calls"))
    ]
    session.entries.append(AgentReply(spoken, calls, text(step, "reasoning_content")))
    for result in tables(table(step.get("observation")).get("results")):
        call = waiting_for(calls, text(result, "source_call_id"))
        if call is None:
            session.entries.append(Lost("result without a call"))
        else:
            call.result, call.images = parts(result.get("content"))


def _oasst(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """Message trees, as trees or a message a row; of each the branch that people ranked best.

    What was deleted or failed its review ends it.
    """
    for tree, rows in groupby(log.values(), lambda row: text(row, "message_tree_id", "message_id")):
        listed = list(rows)
        node, branch = _root(listed[0]), dict[str, tuple[str, str]]()
        if not node:
            nodes: dict[str, dict[str, Any]] = {text(row, "message_id"): {**row, "replies": []} for row in listed}
            for one in nodes.values():
                if (parent := nodes.get(text(one, "parent_id"))) and parent is not one:
                    parent["replies"].append(one)
            node = next((one for one in nodes.values() if not text(one, "parent_id")), {})
        while node and text(node, "message_id") not in branch:
            role = "user" if text(node, "role") == "prompter" else "assistant"
            branch[text(node, "message_id")] = role, text(node, "text")
            replies = tables(node.get("replies"))
            fit = [r for r in replies if not r.get("deleted") and r.get("review_result") is not False]
            node = min(fit, key=lambda r: (r.get("rank") is None, r.get("rank") or 0), default={})
        yield chat("oasst", tree, branch.values())


def _root(record: dict[str, Any]) -> dict[str, Any]:
    prompt = record.get("prompt")
    found = prompt if isinstance(prompt, dict) else record
    return found if "message_id" in found and isinstance(found.get("replies"), list) else {}


def _code_contests(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """A problem and, of each language, the first solution that was accepted."""
    for number, row in enumerate(log.values()):
        solutions = table(row.get("solutions"))
        firsts: dict[str, str] = {}
        for kind, source in zip(solutions.get("language") or (), solutions.get("solution") or (), strict=False):
            if isinstance(source, str) and isinstance(kind, int | str):
                firsts.setdefault(_LANGUAGES.get(kind, "") if isinstance(kind, int) else kind.lower(), source)
        for language, source in firsts.items():
            name = f"{text(row, 'name') or number} {language}"
            yield _answered("code-contests", name, number, text(row, "description"), language, source.rstrip())


def _docstrings(log: Log, all_branches: bool = False) -> Iterator[Session]:
    for number, row in enumerate(log.values()):
        asked, code, language = text(row, *_DOCUMENTATION), text(row, *_CODE), text(row, "language")
        name = f"{log.name} row {number}"
        session = _answered("docstrings", name, number, asked, language.lower(), code.strip())
        session.repo, session.license = text(row, "repository_name", "repo"), text(row, "license")
        yield session


def _answered(format: str, name: str, number: int, asked: str, language: str, code: str) -> Session:
    session = chat(format, name, [("user", asked), ("assistant", f"```{language}\n{code}\n```")])
    session.row = number
    return session


def _turn_tables(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """As SWE-chat holds real sessions, whose rows stand together."""
    for key, rows in groupby(log.values(), lambda row: str(row.get("session_id"))):
        session = Session("turn-tables", key)
        for row in sorted(rows, key=lambda row: n if isinstance(n := row.get("turn_number"), int) else 0):
            session.saw(seconds(row.get("timestamp")))
            session.repo = session.repo or text(row, "repo", "repository")
            session.model = text(row, "model") or session.model
            _add_turn(row, session)
        yield session.tally()


def _add_turn(row: dict[str, Any], session: Session) -> None:
    """A tool's row holds its call, and its result where the set has it; else the result has a row of its own."""
    kind, said, last = text(row, "turn_type", "role"), text(row, *_TEXTS), session.last
    if kind in ("user_prompt", "user", "human"):
        session.entries.append(Said(said))
    elif kind.startswith("tool") and not text(row, "tool_name") and isinstance(last, AgentReply):
        if call := waiting_for(last.calls, text(row, "tool_call_id")):
            call.result = said or text(row, *_RESULTS)
    elif kind.startswith("tool"):
        given = table(loaded(row.get("tool_input_json")))
        given = given or {k: row[k] for k in ("command", "file_path") if isinstance(row.get(k), str)}
        call = AgentCall(text(row, "tool_call_id"), text(row, "tool_name"), given)
        call.result = next((row[name] for name in _RESULTS if isinstance(row.get(name), str)), None)
        call.is_error = row.get("is_error") is True
        if not isinstance(last, AgentReply):
            session.entries.append(last := AgentReply())
        last.calls.append(call)
    elif kind in ("assistant_response", "assistant_thinking", "assistant"):
        if not isinstance(last, AgentReply) or last.calls:
            session.entries.append(last := AgentReply())
        if kind == "assistant_thinking":
            last.thinking = said
        else:
            last.text = joined(last.text, said)
    elif not session.refusal:
        session.refusal, session.detail = "unknown-role", f"a row has the type {kind[:40]!r}"


_FORMATS = {
    "atif-documents": (lambda row: text(row, "schema_version").startswith("ATIF"), _atif),
    "code-contests": (lambda row: "description" in row and "language" in table(row.get("solutions")), _code_contests),
    "docstrings": (lambda row: text(row, *_DOCUMENTATION) and text(row, *_CODE), _docstrings),
    "oasst": (lambda row: _root(row) or row.keys() >= {"message_id", "parent_id", "message_tree_id"}, _oasst),
    "turn-tables": (
        lambda row: row.keys() >= {"session_id", "turn_number"} and row.keys() & {"role", "turn_type"},
        _turn_tables,
    ),
}
FORMATS = {name: SessionReader(any_record(test), read) for name, (test, read) in _FORMATS.items()}
