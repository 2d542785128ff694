"""Actions that stand in a reply's text: the dialects in which agents write them, and what only looks like an action."""

import contextlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import orjson

from duel import turn
from duel.conversation.model import AgentCall, AgentReply
from duel.conversation.values import joined, loaded, python_calls, table, tables, text

_THINKING = re.compile(r"\A\s*<think(?:ing)?>(.*?)</think(?:ing)?>\s*", re.DOTALL)
# Text that some agent's harness would have run, and that may therefore never be taken for a thought.
LOOKS_LIKE_ACTION = re.compile(
    r"</?(?:execute\w*|solution|tool_call|function_calls?|invoke|action)\b|<function=|<\|(?:python_tag|tool_call\w*)\|>"
    r"|^\s*(?:Action|Act|Action Input|Command): ?\S|^```(?:bash|sh|shell|sql|tool_code|mswea_bash_command)\s*$"
    r"|\A\s*\[?\{\s*\"(?:name|commands|keystrokes|action|tool|function|tool_calls)\""
    r"|\A\s*\[[A-Za-z_][\w. ]*\(.*\)\]\s*\Z",
    re.MULTILINE,
)


class TextDialect(NamedTuple):
    find: Callable[[str, int], AgentReply | None]  # takes the calls out of a text; the number makes their ids unique
    results: Callable[[str], list[tuple[str, bool]]] | None = None  # splits an answer into (text, is_error) a call
    settle: Callable[[list[AgentCall]], None] | None = None  # marks what only the calls of a whole session tell


def spoken(replies: Iterable[str]) -> str:
    """The dialect in which most replies act; "" where none does."""
    texts = [without_thinking(reply)[0] for reply in replies]
    found = ((name, dialect.find(said, 0)) for name, dialect in DIALECTS.items() for said in texts)
    acts = Counter(name for name, reply in found if reply and (reply.calls or reply.verbatim))
    return max(DIALECTS, key=acts.__getitem__) if acts else ""


def without_thinking(content: str) -> tuple[str, str]:
    """(the text behind a `<think>` block in front, what stands in the block)."""
    found = _THINKING.match(content)
    return (content[found.end() :], found[1].strip()) if found else (content, "")


def _bash_block(content: str, number: int) -> AgentReply | None:
    """A reply in the project's own protocol stays verbatim; one with several blocks was refused and has no call."""
    found = turn.blocks(content)
    calls = [AgentCall(f"call_{number}", "bash", {"command": found[0]})] if len(found) == 1 else []
    return AgentReply(turn.thought(content), calls, verbatim=content) if found else None


_Told: TypeAlias = tuple[str, dict[str, Any]] | None
_PARAMETER = re.compile(r"<parameter=([\w.-]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_RAISED = re.compile(r"^(?:Traceback \(most recent call last\)|(?:\w+\.)*\w*(?:Error|Exception): )", re.MULTILINE)


def _marked(pattern: str, read: Callable[[re.Match[str]], _Told]) -> Callable[[str, int], AgentReply | None]:
    """Every match of the pattern is a call, which `read` tells (None: it is text); what stands around them is prose."""
    compiled = re.compile(pattern, re.DOTALL)

    def find(content: str, number: int) -> AgentReply | None:
        calls: list[AgentCall] = []

        def take(found: re.Match[str]) -> str:
            if (told := read(found)) is None:
                return found[0]
            calls.append(AgentCall(f"call_{number}" + (f"_{len(calls)}" if calls else ""), *told))
            return "\0"

        prose = joined(*(part.strip() for part in compiled.sub(take, content).split("\0")))
        return AgentReply(prose, calls) if calls else None

    return find


def _executed(found: re.Match[str]) -> _Told:
    known = {"solution": ("finish", "message"), "execute_bash": ("bash", "command")}
    name, argument = known.get(found[1], ("python", "code"))
    return name, {argument: found[2].strip() if name == "finish" else found[2]}


def _hermes(found: re.Match[str]) -> _Told:
    call = table(loaded(found[1]))
    name, arguments = text(call, "name"), loaded(call.get("arguments", {}))
    return (name, arguments) if name and isinstance(arguments, dict) else None


def _hermes_results(content: str) -> list[tuple[str, bool]]:
    """JSON or text in `<tool_response>`; an exit code other than 0 and an `error` in it say that the call failed."""
    results = []
    for raw in re.findall(r"<tool_response>\s*(.*?)\s*</tool_response>", content, re.DOTALL):
        held = loaded(raw)
        held = table(held).get("content", held)
        said = held if isinstance(held, str) else raw if held is None else orjson.dumps(held).decode()
        fields = table(held)
        if fields.keys() <= {"output", "exit_code", "error"} and isinstance(fields.get("output"), str):
            said = fields["output"] + (f"\n{fields['error']}" if isinstance(fields.get("error"), str) else "")
        results.append((said, bool(fields.get("error")) or fields.get("exit_code", 0) not in (0, None)))
    return results or [(content, False)]


# What changes the terminal for all that follows, so that a later command by itself would do something else.
_STATEFUL = re.compile(
    r"^\s*(?:(?:cd|pushd|popd|export|source|\.|set|alias|unset|exec|su|ssh|conda|screen|tmux|vim?|nano|less|more|man|top)\b"
    r"|(?:python3?|node|bash|sh|psql|mysql|sqlite3)\s*$)",
    re.MULTILINE,
)
_KEY = re.compile(r"^(?:[CM]-.|Enter|Escape|Tab|Up|Down|Left|Right|BSpace|Space)$")


def _terminus(content: str, number: int) -> AgentReply | None:
    """Terminus 2 (Terminal-Bench): a JSON object with `analysis`, `plan` and `commands` of keystrokes.

    They go to one terminal, and what it shows is the next user message: so the batch is one call.
    """
    start = content.find("{") if '"commands"' in content or '"task_complete"' in content else -1
    while start >= 0:
        value, end = None, start + 1
        with contextlib.suppress(ValueError, RecursionError):
            value, end = json.JSONDecoder().raw_decode(content, start)
        if isinstance(value, dict) and (isinstance(value.get("commands"), list) or "task_complete" in value):
            break
        start = content.find("{", end)
    else:
        return None
    outside = re.sub(r"```(?:json)?", "", f"{content[:start]}\n{content[end:]}").strip()
    reply = AgentReply(joined(outside, text(value, "analysis").strip(), text(value, "plan").strip()))
    if commands := tables(value.get("commands")):
        reply.calls.append(AgentCall(f"call_{number}", "keystrokes", {"commands": commands}))
    if value.get("task_complete") is True:
        reply.calls.append(AgentCall(f"call_{number}_end", "finish", {}))
    return reply if reply.calls or "commands" in value else None


def _settle_terminal(calls: list[AgentCall]) -> None:
    """Where the terminal is no longer as a fresh shell is, a command by itself says something else."""
    changed = ""
    for call in calls:
        keys = [text(command, "keystrokes") for command in tables(call.arguments.get("commands"))]
        if any(_KEY.match(key.strip()) or (key.strip() and not key.endswith("\n")) for key in keys):
            call.obstacle = "keys for a running program"
        if changed and call.name == "keystrokes":
            call.obstacle = call.obstacle or changed
        if call.obstacle or any(map(_STATEFUL.search, keys)):
            changed = "depends on what a terminal kept from an earlier command"


def _python_calls(content: str, number: int) -> AgentReply | None:
    listed = re.fullmatch(r"\s*\[(.*)\]\s*", content, re.DOTALL)
    calls = python_calls(listed[1], f"call_{number}_") if listed else []
    return AgentReply("", calls) if calls else None


_EDITOR = "str_replace_editor"
# The commands of SWE-agent's first interface. They act on a window that the tool keeps open, not on files as a shell
# sees them, so no shell command does the same.
_WINDOW_COMMANDS = frozenset(
    "open goto scroll_up scroll_down create edit append insert undo_edit set_cursors"
    " search_file search_dir find_file exit_forfeit exit_context exit_cost exit_format exit_error exit_api".split()
)


def _ticks(content: str, number: int) -> AgentReply | None:
    """SWE-agent's first interface: the last fence without a label holds a command line of its own tools or of bash."""
    fences = list(re.finditer(r"^```\n(.*?)^```[ \t]*$", content, re.DOTALL | re.MULTILINE))
    if not fences:
        return None
    call = of_command_line(fences[-1][1].strip("\n"), AgentCall(f"call_{number}", "", {}))
    return AgentReply(content[: fences[-1].start()].strip(), [call])


def of_command_line(command: str, call: AgentCall) -> AgentCall:
    """Make `call` that of a SWE-agent action: its editor's and its submit command by name, anything else is bash."""
    first = command.split(None, 1)[0] if command.strip() else ""
    call.name, call.arguments, call.obstacle = first, {}, ""
    if first not in ("submit", _EDITOR):
        call.name, call.arguments = "bash", {"command": command}
        call.obstacle = f"`{first}` is a command of SWE-agent's window" if first in _WINDOW_COMMANDS else ""
    elif first == _EDITOR:
        try:
            words = shlex.split(command)[1:]
        except ValueError:
            call.obstacle = "the editor's command line cannot be read"
            return call
        call.arguments, option = dict(zip(("command", "path"), words, strict=False)), ""
        for word in words[2:]:
            if word.startswith("--") and word[2:].isidentifier():
                option = word[2:]
            elif option == "view_range":
                call.arguments.setdefault(option, []).append(int(word) if word.lstrip("-").isdigit() else 0)
            elif option:
                call.arguments[option] = word
    return call


NO_DIALECT = TextDialect(lambda content, number: None)
# Where two find equally many actions, the first counts: the more particular sign comes first.
DIALECTS = {
    "bash_block": TextDialect(_bash_block),
    # `<function=NAME><parameter=KEY>…</parameter></function>`: SWE-smith's XML split, OpenHands without native calls.
    "function_tags": TextDialect(
        _marked(
            r"(?:<tool_call>\s*)?<function=([\w.-]+)>(.*?)(?:</function>(?:\s*</tool_call>)?|\Z)",
            lambda found: (found[1], dict(_PARAMETER.findall(found[2]))),
        )
    ),
    # JSON in `<tool_call>`: an object with a name is a call; what is none stays where it stands.
    "hermes": TextDialect(_marked(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", _hermes), _hermes_results),
    # CodeAct: Python, which keeps its state between calls, in `<execute>`; `<solution>` hands over.
    "execute_tags": TextDialect(
        _marked(r"<(execute(?:_bash|_ipython)?|solution)>[ \t]*\n?(.*?)\n?[ \t]*</\1>", _executed),
        lambda content: [(content, bool(_RAISED.search(content)))],
    ),
    "terminus_2": TextDialect(_terminus, settle=_settle_terminal),
    "python_calls": TextDialect(_python_calls),
    "ticks": TextDialect(_ticks),
}
