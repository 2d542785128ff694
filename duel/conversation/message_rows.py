"""The one reader of rows with a list of chat messages: the Hub's sets, JSONL, parquet, this project's own files.

The list stands in `messages`, `trajectory` or `conversations`, as a list or as JSON text. Roles and keys have many
spellings (`ai`, `gpt`, `from`/`value`, `text`); actions are native calls (`duel.conversation.native_calls`) or stand in
the text (`duel.conversation.text_actions`). mine, export and prompt read rows through this module alone.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from duel.conversation import text_actions
from duel.conversation.model import AgentCall, AgentReply, Lost, Said, Session
from duel.conversation.native_calls import BAD_ARGUMENTS, calls_of, split_result, waiting_for
from duel.conversation.values import joined, loaded, parts, seconds, table, tables, text

_LISTS = ("messages", "trajectory", "conversations", "conversation")
_ROLES = "assistant=ai,gpt,model,bot,chatgpt user=human system=developer"
_ROLES += " tool=function,observation,environment,tool_response,ipython"
ROLES = {name: role for role, names in (kind.split("=") for kind in _ROLES.split()) for name in names.split(",")}
# Roles of ShareGPT's sets whose whole message is a call.
_CALL_ROLES = {"function_call", "tool_call", "function-call"}
_KNOWN = {"system", "user", "assistant", "tool", "exit"}
_IDS = ("session_id", "trajectory_id", "traj_id", "run_id", "uuid", "id")
# SWE-Gym numbers the rollouts of one instance at the end of its id.
_ROLLOUT = re.compile(r"(.+__.+-\d+)_(\d+)")
# `owner__repo-123`, and SWE-smith's `owner__repo.<commit>.<bug>`.
_OWNER_REPO = re.compile(r"([^/\s]+?)__([^/\s]+?)(?:-\d+|\.[0-9a-f]{7,40}\..+)?$")
# How harnesses that keep no flag say that a command failed.
_FAILED = re.compile(
    r"\A\s*(?:OBSERVATION:\s*)?(?:<returncode>(?!0<)-?\d+</returncode>|ERROR:|Traceback \(most)"
    r"|exit code:? (?!0\b)-?\d+\]?\s*\Z",
    re.IGNORECASE,
)


def conversation(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages of a row, with the usual keys `role` and `content`; [] where it has none."""
    for name in _LISTS:
        value = row.get(name)
        if isinstance(value, str):
            value = loaded(value) if value.lstrip().startswith("[") else None
        if isinstance(value, list) and value and all(isinstance(loaded(item), dict) for item in value):
            messages = [_usual(loaded(item)) for item in value]
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
    result = Session(format, next((str(row[key]) for key in _IDS if row.get(key)), place))
    _facts(row, result)
    messages = conversation(row)
    unknown = next((message["role"] for message in messages if message["role"] not in _KNOWN), "")
    if unknown:
        result.refusal, result.detail = "unknown-role", f"a message has the role {unknown[:40]!r}"
    if any(not isinstance(message["content"], str | list) for message in messages):
        result.refusal, result.detail = "content-not-text", "a message holds something else than text"
    calls = [calls_of(m, f"call_{n}_") if m["role"] == "assistant" else [] for n, m in enumerate(messages)]
    if dialect or not any(calls):
        texts = [parts(message["content"])[0] for message in messages if message["role"] == "assistant"]
        dialect = dialect or text_actions.spoken(texts)
        result.acts_in_text = True
    _Rows(result, dialect, messages, calls).read()
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


class _Rows:
    def __init__(
        self, result: Session, dialect: str, messages: list[dict[str, Any]], calls: list[list[AgentCall]]
    ) -> None:
        self.result, self.entries, self.dialect = result, result.entries, dialect
        self.spoken = text_actions.DIALECTS.get(dialect, text_actions.NO_DIALECT)
        self.messages, self.calls = messages, calls
        self.open: list[AgentCall] = []
        """The calls of the reply before, which the next messages may answer."""

    def read(self) -> None:
        result = self.result
        for number, message in enumerate(self.messages):
            role = message["role"]
            content, images = parts(message["content"])
            if role == "system":
                result.system = "\n\n".join(dict.fromkeys(filter(None, (result.system, content))))
                result.tools = result.tools or _tools(message.get("functions"))
            elif role == "assistant":
                self._replied(message, content, number)
            elif role == "exit":  # mini-swe-agent 2 closes its list with one
                result.exit_status = text(table(message.get("extra")), "exit_status") or result.exit_status
            elif role in ("user", "tool"):
                self._answered(message, content, images, number)
        if self.spoken.settle:
            self.spoken.settle(result.calls)

    def _replied(self, message: dict[str, Any], content: str, number: int) -> None:
        if self.result.acts_in_text:
            reply = text_actions.reply_in(self.dialect, content, number)
        else:
            content, thinking = text_actions.without_thinking(content)
            reply = AgentReply(content.strip(), self.calls[number], thinking)
            if any(call.obstacle == BAD_ARGUMENTS for call in reply.calls):
                self.entries.append(Lost("a call whose arguments cannot be read"))
        thoughts = [part for part in tables(message.get("content")) if part.get("type") in ("reasoning", "thinking")]
        told = "\n\n".join(text(part, "value", "thinking", "text") for part in thoughts)
        reply.thinking = text(message, "reasoning_content", "reasoning", "thinking") or told or reply.thinking
        last = self.result.last
        if isinstance(last, AgentReply) and not last.results and self.dialect != "bash_block":
            # One response that the set wrote as several messages: what was said, then a message a call.
            last.text = joined(last.text, reply.text)
            last.thinking = joined(last.thinking, reply.thinking)
            last.calls += reply.calls
            reply = last
        else:
            self.entries.append(reply)
        self.open = reply.calls

    def _answered(self, message: dict[str, Any], content: str, images: int, number: int) -> None:
        if blocks := [part for part in tables(message.get("content")) if part.get("type") == "tool_result"]:
            for part in blocks:
                call = waiting_for(self.open, text(part, "tool_use_id"))
                self._give(call, *parts(part.get("content")), part.get("is_error") is True)
            if content:
                self.entries.append(Said(content))
            return
        failed = bool(_FAILED.search(content))
        waiting = [call for call in self.open if call.result is None]
        acts = self.result.acts_in_text and waiting and isinstance(self.result.last, AgentReply)
        neighbors = self.messages[max(number - 1, 0) : number] + self.messages[number + 1 : number + 2]
        if message["role"] == "user" and not acts:
            self.entries.append(Said(content, images))
        elif self.spoken.results:
            self._share(self.spoken.results(content), waiting)
        elif identity := text(message, "tool_call_id") or next(iter(message.get("tool_call_ids") or ()), ""):
            self._give(waiting_for(self.open, identity), content, images, failed)
        elif len(waiting) > 1 and not any(other["role"] == "tool" for other in neighbors):
            self._share([(one, bool(_FAILED.search(one))) for one in split_result(content, len(waiting))], waiting)
        else:
            self._give(waiting[0] if waiting else None, content, images, failed)

    def _share(self, results: list[tuple[str, bool]], waiting: list[AgentCall]) -> None:
        if len(results) != len(waiting):
            self.entries.append(Lost("results of parallel calls that cannot be told apart"))
            return
        for call, (said, failed) in zip(waiting, results, strict=True):
            self._give(call, said, 0, failed)

    def _give(self, call: AgentCall | None, content: str, images: int, failed: bool) -> None:
        if call is None:
            self.entries.append(Lost("result without a call"))
        else:
            call.result, call.images, call.is_error = content, images, failed


def _facts(row: Mapping[str, Any], result: Session) -> None:
    instance = text(row, "instance_id")
    rollout = _ROLLOUT.fullmatch(instance)
    if rollout:
        result.id = f"{result.id}/{rollout[2]}" if result.id != instance else instance
    result.instance_id = rollout[1] if rollout else instance
    named = _OWNER_REPO.fullmatch(result.instance_id)
    result.repo = text(row, "repo") or (f"{named[1]}/{named[2]}" if named else "")
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
    value = loaded(value)
    tools = [table(loaded(item)) for item in (value if isinstance(value, list) else [value])]
    return [
        tool if "function" in tool else {"type": "function", "function": tool}
        for tool in tools
        if "function" in tool or text(tool, "name")
    ]
