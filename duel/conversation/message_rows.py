"""The one reader of rows with a list of chat messages, through which mine, export and prompt read.

Roles and keys have many spellings; actions are native calls or stand in the text (`duel.conversation.text_actions`).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from duel.conversation import text_actions, values
from duel.conversation.model import AgentCall, AgentReply, Lost, Said, Session
from duel.conversation.values import joined, loaded, parts, seconds, table, tables, text

_LISTS = ("messages", "trajectory", "conversations", "conversation")
_ROLES = "assistant=ai,gpt,model,bot,chatgpt user=human system=developer"
_ROLES += " tool=function,observation,environment,tool_response,ipython"
ROLES = {name: role for role, names in (kind.split("=") for kind in _ROLES.split()) for name in names.split(",")}
_CALL_ROLES = {"function_call", "tool_call", "function-call"}  # of ShareGPT's sets: the whole message is a call
_KNOWN = {"system", "user", "assistant", "tool", "exit"}
_IDS = ("session_id", "trajectory_id", "traj_id", "run_id", "uuid", "id")
_ROLLOUT = re.compile(r"(.+__.+-\d+)_(\d+)")  # SWE-Gym numbers the rollouts of one instance at the end of its id
# `owner__repo-123`, SWE-smith's `owner__repo.<commit>.<bug>`, and what mine.py calls a session of one's own.
_OWNER_REPO = re.compile(r"([^/\s]+?)__([^/\s]+?)(?:-\d+|-s[0-9a-f]{12}|\.[0-9a-f]{7,40}\..+)?")
# How harnesses that keep no flag say that a command failed.
_FAILED = re.compile(
    r"(?i)\A\s*(?:OBSERVATION:\s*)?(?:<returncode>(?!0<)-?\d+</returncode>|ERROR:|Traceback \(most)"
    r"|exit code:? (?!0\b)-?\d+\]?\s*\Z"
)


def conversation(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages of a row, with the usual keys `role` and `content`; [] where it has none."""
    for name in _LISTS:
        value = row.get(name)
        if isinstance(value, str):
            value = loaded(value) if value.lstrip().startswith("[") else None
        items = [loaded(item) for item in value] if isinstance(value, list) else []
        if items and all(isinstance(item, dict) for item in items):
            messages = [_usual(item) for item in items]
            if all(message["role"] for message in messages):
                return messages
    return []


def _usual(message: dict[str, Any]) -> dict[str, Any]:
    role = text(message, "role", "from").lower()
    if role in _CALL_ROLES:
        return {"role": "assistant", "content": "", "tool_calls": message.get("value") or message.get("content")}
    content = next((message[k] for k in ("content", "value", "text", "system_prompt") if message.get(k)), "")
    return {**message, "role": ROLES.get(role, role), "content": content}


def session(row: Mapping[str, Any], format: str, place: str, dialect: str = "") -> Session:
    """The session of one row; `place` names it where it has no id. What cannot be used at all says so in `refusal`."""
    result, messages = Session(format, next((str(row[key]) for key in _IDS if row.get(key)), place)), conversation(row)
    _facts(row, result)
    if unknown := next((message["role"] for message in messages if message["role"] not in _KNOWN), ""):
        result.refusal, result.detail = "unknown-role", f"a message has the role {unknown[:40]!r}"
    if any(not isinstance(message["content"], str | list) for message in messages):
        result.refusal, result.detail = "content-not-text", "a message holds something else than text"
    replied = {n: message for n, message in enumerate(messages) if message["role"] == "assistant"}
    calls = {n: values.calls_of(message, f"call_{n}_") for n, message in replied.items()}
    result.acts_in_text = bool(dialect) or not any(calls.values())
    if result.acts_in_text and not dialect:
        dialect = text_actions.spoken(parts(message["content"])[0] for message in replied.values())
    spoken = text_actions.DIALECTS.get(dialect, text_actions.NO_DIALECT)
    asked: list[AgentCall] = []  # the calls of the reply before, which the next messages may answer
    for number, message in enumerate(messages):
        if message["role"] == "system":
            told = result.system, parts(message["content"])[0]
            result.system = "\n\n".join(dict.fromkeys(filter(None, told)))
            result.tools = result.tools or _tools(message.get("functions"))
        elif message["role"] == "assistant":
            asked = _add_reply(result, message, number, calls[number], spoken)
        elif message["role"] == "exit":  # mini-swe-agent 2 closes its list with one
            result.exit_status = text(table(message.get("extra")), "exit_status") or result.exit_status
        elif message["role"] in ("user", "tool"):
            # Of several results in a row each is one call's; one alone may hold those of all.
            neighbors = *messages[max(number - 1, 0) : number], *messages[number + 1 : number + 2]
            alone = not any(other["role"] == "tool" for other in neighbors)
            _add_answer(result, message, asked, spoken, alone)
    if spoken.settle:
        spoken.settle(result.calls)
    # Where the log's actions are bash fences, prompt and replies already speak the project's protocol.
    result.keeps_protocol = dialect == "bash_block" and any(reply.verbatim for reply in result.replies)
    if result.acts_in_text and not result.keeps_protocol and result.system:
        result.counts["system prompts replaced"] += 1
    return result.tally()


def chat(format: str, identity: str, turns: Iterable[tuple[str, str]]) -> Session:
    """A session of the task `chat` out of (role, text): talk without tools, every reply of which is whole."""
    result = Session(format, identity, task="chat")
    for role, said in turns:
        result.entries.append(AgentReply(said, verbatim=said) if role == "assistant" else Said(said))
    return result.tally()


def _add_reply(
    result: Session, message: dict[str, Any], number: int, calls: list[AgentCall], spoken: text_actions.TextDialect
) -> list[AgentCall]:
    content, is_whole = parts(message["content"])[0], spoken is text_actions.DIALECTS["bash_block"]
    content, thinking = (content, "") if is_whole else text_actions.without_thinking(content)
    found = spoken.find(content, number) if result.acts_in_text else AgentReply(content.strip(), calls)
    reply = found or AgentReply(content.strip())
    if any(call.obstacle == values.BAD_ARGUMENTS for call in reply.calls):
        result.entries.append(Lost("a call whose arguments cannot be read"))
    thoughts = [part for part in tables(message.get("content")) if part.get("type") in ("reasoning", "thinking")]
    told = "\n\n".join(text(part, "value", "thinking", "text") for part in thoughts)
    reply.thinking = text(message, "reasoning_content", "reasoning", "thinking") or told or thinking
    last = result.last
    if not isinstance(last, AgentReply) or last.answered or is_whole:
        result.entries.append(reply)
        return reply.calls
    # One response that the set wrote as several messages: what was said, then a message a call.
    last.text, last.thinking = joined(last.text, reply.text), joined(last.thinking, reply.thinking)
    last.calls += reply.calls
    return last.calls


def _add_answer(
    result: Session, message: dict[str, Any], asked: list[AgentCall], spoken: text_actions.TextDialect, alone: bool
) -> None:
    content, images = parts(message["content"])
    waiting = [call for call in asked if call.result is None]
    blocks = [part for part in tables(message["content"]) if part.get("type") == "tool_result"]
    listed = message.get("tool_call_ids")
    identity = text(message, "tool_call_id") or (listed[0] if isinstance(listed, list) and listed else "")
    acts = result.acts_in_text and waiting and isinstance(result.last, AgentReply)
    answers: Iterable[tuple[AgentCall | None, tuple[str, int], bool]]
    if blocks:
        # One by one: several results may name the same id.
        calls = (values.waiting_for(asked, text(part, "tool_use_id")) for part in blocks)
        told = ((parts(part.get("content")), part.get("is_error") is True) for part in blocks)
        answers = ((call, *said) for call, said in zip(calls, told, strict=True))
    elif message["role"] == "user" and not acts:
        result.entries.append(Said(content, images))
        return
    elif spoken.results or (len(waiting) > 1 and not identity and alone):
        split = [] if spoken.results else values.split_result(content, len(waiting))
        shared = spoken.results(content) if spoken.results else [(one, bool(_FAILED.search(one))) for one in split]
        if len(shared) != len(waiting):
            result.entries.append(Lost("results of parallel calls that cannot be told apart"))
            return
        answers = [(call, (said, 0), failed) for call, (said, failed) in zip(waiting, shared, strict=True)]
    else:
        failed = message.get("is_error") is True or bool(_FAILED.search(content))
        answers = [(values.waiting_for(waiting, identity), (content, images), failed)]
    for call, said, is_error in answers:
        if call is None:
            result.entries.append(Lost("result without a call"))
        else:
            (call.result, call.images), call.is_error = said, is_error
    if blocks and content:
        result.entries.append(Said(content))


def repository_of(instance_id: str) -> str:
    """`owner/repo` as an instance id names them; "" where it does not."""
    named = _OWNER_REPO.fullmatch(instance_id)
    return f"{named[1]}/{named[2]}" if named else ""


def _facts(row: Mapping[str, Any], result: Session) -> None:
    result.instance_id = instance = text(row, "instance_id")
    if rollout := _ROLLOUT.fullmatch(instance):
        result.id = f"{result.id}/{rollout[2]}" if result.id != instance else instance
        result.instance_id = rollout[1]
    result.repo = text(row, "repo") or repository_of(result.instance_id)
    result.base_commit = text(row, "base_commit")
    result.exit_status = text(row, "exit_status") or text(table(row.get("info")), "exit_status")
    result.model = text(row, "model_name", "model")
    duration = row.get("duration_sec")
    result.seconds = float(duration) if isinstance(duration, (int, float)) else None
    result.started = seconds(row.get("timestamp") or row.get("created_at"))
    result.license = text(row, "license")
    result.system = text(row, "system")
    result.tools = _tools(row.get("tools") or row.get("available_tools"))
    report = table(table(row.get("test_result")).get("report"))
    for name, told in (("resolved", row), ("target", row), ("resolved", report)):
        if told.get(name) in (0, 1) and result.verdict == "unknown":  # -1 and null: not known
            result.verdict = "success" if told[name] else "failure"
            result.verdict_evidence = f"the source says {name} = {str(bool(told[name])).lower()}"


def _tools(value: Any) -> list[Any]:
    """Tool schemas in OpenAI's envelope: a list of objects or JSON texts, its JSON text, bare functions."""
    tools = (tool for tool in values.listed(value) if "function" in tool or text(tool, "name"))
    return [tool if "function" in tool else {"type": "function", "function": tool} for tool in tools]
