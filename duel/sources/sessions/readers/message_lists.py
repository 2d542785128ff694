"""Records that are a list of chat messages or become one: rows of sets, mini-swe-agent `.traj.json`, SWE-agent `.traj`,
ATIF (Harbor RFC 0001), tables with a row a turn, OpenAssistant, CodeContests, documented functions."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from duel.conversation import message_rows, text_actions
from duel.conversation.message_rows import chat
from duel.conversation.model import Session
from duel.conversation.values import loaded, seconds, table, tables, text
from duel.sources.sessions.session_formats import Log, any_record, reads

_DOCUMENTATION = ("func_documentation_string", "docstring", "doc", "nl")
_CODE = ("func_code_string", "whole_func_string", "code", "function", "original_string")
_LANGUAGES = {1: "python2", 2: "cpp", 3: "python", 4: "java"}  # CodeContests' own enumeration
_TEXTS = ("content", "text", "message", "prompt", "response")
_RESULTS = ("tool_result", "tool_output", "output", "result")
_KINDS, _IDS = {"role", "turn_type"}, {"message_id", "parent_id", "message_tree_id"}
_TURNS = {"user_prompt": "user", "assistant_response": "assistant"}


@reads("messages", any_record(message_rows.conversation))
def _rows(log: Log, all_branches: bool = False, dialect: str = "") -> Iterator[Session]:
    for number, row in enumerate(log.values()):
        if message_rows.conversation(row):
            session = message_rows.session(row, "messages", f"{log.name} row {number}", dialect)
            session.row = number
            yield session
        else:
            log.notes["row without messages"] += 1


def _is_mini_swe_agent(sample: list[dict[str, Any]]) -> bool:
    first = sample[0] if sample else {}
    messages = first.get("messages")
    opens = text(table(messages[0]), "role") if isinstance(messages, list) and messages else ""
    is_run = bool(opens) and isinstance(first.get("info"), dict)
    is_list = opens == "system" and len(sample) == len(first) == 1
    return is_run or is_list or (first.get("role") == "system" and all("role" in r and "content" in r for r in sample))


@reads("mini-swe-agent", _is_mini_swe_agent)
def _mini_swe_agent(log: Log, all_branches: bool = False) -> Iterator[Session]:
    runs: Iterator[dict[str, Any]] = log.values()
    if not any("messages" in record for record in log.sample):
        runs = iter([{"messages": list(runs)}])
    for run in runs:
        configuration = table(table(run.get("info")).get("config"))
        session = message_rows.session(run, "mini-swe-agent", log.name)
        session.instance_id = text(run, "instance_id")
        session.id = session.instance_id or log.path.name.split(".")[0]
        session.model = text(table(configuration.get("model")), "model_name") or session.model
        session.folder = text(table(configuration.get("environment")), "cwd")
        yield session


@reads("swe-agent", any_record(lambda r: "history" in r and "trajectory" in r))
def _swe_agent(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """`history` is what the model saw; demonstrations in it are not this agent's work.

    Steps and assistant turns may differ in number (the last step may be an automatic submission), so only the history
    is read. Where replies hold no native calls, the parsed `action` and `thought` are surer than the text.
    """
    for run in log.values():
        history = [message for message in tables(run.get("history")) if not message.get("is_demo")]
        row = {"messages": history, "instance_id": log.path.name.split(".traj")[0], "info": run.get("info")}
        session = message_rows.session(row, "swe-agent", log.name)
        session.id = session.instance_id
        session.folder = text(run, "environment") if text(run, "environment").startswith("/") else ""
        replied = [message for message in history if message.get("role") == "assistant"]
        is_native = any(message.get("tool_calls") for message in replied)
        for reply, message in zip(session.replies, [] if is_native else replied, strict=False):
            if reply.calls and (action := text(message, "action").strip()):
                text_actions.of_command_line(action, reply.calls[0])
                reply.text = text(message, "thought").strip() or reply.text
        yield session


@reads("atif-documents", any_record(lambda row: text(row, "schema_version").startswith("ATIF")))
def _atif(log: Log, all_branches: bool = False) -> Iterator[Session]:
    for number, document in enumerate(log.values()):
        agent, steps = table(document.get("agent")), tables(document.get("steps"))
        messages: list[dict[str, Any]] = []
        for step in steps:
            calls = [
                _native(text(call, "tool_call_id"), text(call, "function_name"), call.get("arguments"))
                for call in tables(step.get("tool_calls"))
            ]
            role = {"system": "system", "agent": "assistant"}.get(text(step, "source"), "user")
            said = {"content": step.get("message"), "reasoning_content": step.get("reasoning_content")}
            messages.append({"role": role, **said, "tool_calls": calls})
            for result in tables(table(step.get("observation")).get("results")):
                answered = {"tool_call_id": text(result, "source_call_id"), "content": result.get("content")}
                messages.append({"role": "tool", **answered})
        facts = {"tools": agent.get("tool_definitions"), "model": agent.get("model_name"), "messages": messages}
        session = message_rows.session({**document, **table(loaded(document.get("extra"))), **facts}, "atif", log.name)
        session.row = number
        for step in steps:
            session.saw(seconds(step.get("timestamp")))
        yield session


def _native(identity: str, name: str, arguments: Any) -> dict[str, Any]:
    return {"id": identity, "function": {"name": name, "arguments": arguments}}


@reads("turn-tables", any_record(lambda r: r.keys() >= {"session_id", "turn_number"} and r.keys() & _KINDS))
def _turn_tables(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """As SWE-chat holds real sessions, whose rows stand together."""
    for key, grouped in groupby(log.values(), lambda row: str(row.get("session_id"))):
        rows = sorted(grouped, key=lambda row: n if isinstance(n := row.get("turn_number"), int) else 0)
        facts = {k: next((row[k] for row in rows if row.get(k)), "") for k in ("model", "repo", "repository")}
        messages = [message for row in rows for message in _turn(row)]
        session = message_rows.session({**facts, "session_id": key, "messages": messages}, "turn-tables", key)
        session.repo = session.repo or str(facts["repository"])
        for row in rows:
            session.saw(seconds(row.get("timestamp")))
        yield session


def _turn(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A tool's row holds its call, and its result where the set has it; else the result has a row of its own."""
    kind, said, identity = text(row, "turn_type", "role"), text(row, *_TEXTS), text(row, "tool_call_id")
    if kind == "assistant_thinking":
        yield {"role": "assistant", "reasoning_content": said}
    elif not kind.startswith("tool"):
        yield {"role": _TURNS.get(kind, kind), "content": said}
    elif name := text(row, "tool_name"):
        given = table(loaded(row.get("tool_input_json")))
        given = given or {k: row[k] for k in ("command", "file_path") if isinstance(row.get(k), str)}
        yield {"role": "assistant", "tool_calls": [_native(identity, name, given)]}
        if result := next((row[name] for name in _RESULTS if isinstance(row.get(name), str)), None):
            yield {"role": "tool", "tool_call_id": identity, "content": result, "is_error": row.get("is_error")}
    else:
        yield {"role": "tool", "tool_call_id": identity, "content": said or text(row, *_RESULTS)}


@reads("oasst", any_record(lambda row: _root(row) or row.keys() >= _IDS))
def _oasst(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """Message trees, as trees or a message a row: the branch that people ranked best, to what was deleted or failed."""
    for tree, rows in groupby(log.values(), lambda row: text(row, "message_tree_id", "message_id")):
        listed, below = list(rows), defaultdict[str, list[dict[str, Any]]](list)
        for row in listed:
            below[text(row, "parent_id")].append(row)
        node, branch = _root(listed[0]) or next(iter(below[""]), {}), dict[str, tuple[str, str]]()
        while node and text(node, "message_id") not in branch:
            role = "user" if text(node, "role") == "prompter" else "assistant"
            branch[text(node, "message_id")] = role, text(node, "text")
            replies = tables(node.get("replies")) or below[text(node, "message_id")]
            fit = [r for r in replies if not r.get("deleted") and r.get("review_result") is not False]
            node = min(fit, key=lambda r: (r.get("rank") is None, r.get("rank") or 0), default={})
        yield chat("oasst", tree, branch.values())


def _root(record: dict[str, Any]) -> dict[str, Any]:
    prompt = record.get("prompt")
    found = prompt if isinstance(prompt, dict) else record
    return found if "message_id" in found and isinstance(found.get("replies"), list) else {}


@reads("code-contests", any_record(lambda r: "description" in r and "language" in table(r.get("solutions"))))
def _code_contests(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """A problem and, of each language, the first solution that was accepted."""
    for number, row in enumerate(log.values()):
        solutions = table(row.get("solutions"))
        firsts: dict[str, str] = {}
        for kind, source in zip(solutions.get("language") or (), solutions.get("solution") or (), strict=False):
            if isinstance(source, str) and isinstance(kind, int | str):
                firsts.setdefault(_LANGUAGES.get(kind, "") if isinstance(kind, int) else kind.lower(), source)
        for language, source in firsts.items():
            said = [("user", text(row, "description")), ("assistant", f"```{language}\n{source.rstrip()}\n```")]
            session = chat("code-contests", f"{text(row, 'name') or number} {language}", said)
            session.row = number
            yield session


@reads("docstrings", any_record(lambda row: text(row, *_DOCUMENTATION) and text(row, *_CODE)))
def _docstrings(log: Log, all_branches: bool = False) -> Iterator[Session]:
    for number, row in enumerate(log.values()):
        code = f"```{text(row, 'language').lower()}\n{text(row, *_CODE).strip()}\n```"
        said = [("user", text(row, *_DOCUMENTATION)), ("assistant", code)]
        session = chat("docstrings", f"{log.name} row {number}", said)
        session.row, session.license = number, text(row, "license")
        session.repo = text(row, "repository_name", "repo")
        yield session
