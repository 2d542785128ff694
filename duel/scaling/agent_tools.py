"""The tools that synthetic rows call: ours, or a user's own agent's, whose listing says what ours are called there.

A listing is what an MCP server answers to `tools/list`, a list of functions in OpenAI's or Anthropic's shape, or rows
with a `tools` column, as `duel scale sessions` writes them. What its tools cannot do is done by its shell.
"""

import re
import shlex
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson

from duel.conversation import values
from duel.conversation.model import AgentCall
from duel.errors import ItemError, SourceError
from duel.scaling import table

_TOLD = re.compile(r"description|explanation|reason|summary|justification")
_LISTING = "an MCP server's answer to tools/list, a list of functions, or rows of `duel scale sessions`"


def ours() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table("agent_tools")["tools"]
    return found


@dataclass(frozen=True)
class Toolset:
    """The tools of a row, in OpenAI's shape, and which of them does what ours do."""

    declared: list[dict[str, Any]] = field(default_factory=ours)

    @cached_property
    def names(self) -> dict[str, tuple[str, dict[str, str]]]:
        """{ours: (theirs, {our argument: theirs})}, by the words of a tool's name and by its arguments."""
        names: dict[str, tuple[str, dict[str, str]]] = {}
        known = table("agent_tools")
        for mine, tool in product(ours(), self.declared):
            own, called = mine["function"]["name"], tool["function"]["name"]
            (wanted, must), (has, asks) = _arguments(mine), _arguments(tool)
            spelled = {key: next((name for name in known["spelled"][key].split() if name in has), "") for key in wanted}
            spelled = {key: name for key, name in spelled.items() if name}
            words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", called)}
            fits = {*must} <= spelled.keys() and {key for key in asks if not _TOLD.fullmatch(key)} <= {
                *spelled.values()
            }
            if fits and words.intersection(known["words"][own].split()):
                names.setdefault(own, (called, spelled))
        return names

    def adapted(self, call: AgentCall) -> AgentCall:
        """The call as these tools can make it: itself, or in the shell. Raises ItemError (`no-tool`, `schema`)."""
        if call.name in self.names and call.arguments.keys() <= self.names[call.name][1].keys():
            self.spoken(call)
            return call
        if "bash" not in self.names or (command := shell_form(call)) is None:
            raise ItemError("no-tool", call.name)
        return AgentCall("", "bash", {"command": command})

    def spoken(self, call: AgentCall) -> AgentCall:
        """The call in these tools' words. Raises ItemError (`schema`) where their schema does not take it."""
        name, spelled = self.names.get(call.name, (call.name, {}))
        must = [key for tool in self.declared if tool["function"]["name"] == name for key in _arguments(tool)[1]]
        made = {key: call.name for key in must if _TOLD.fullmatch(key)}
        made |= {spelled.get(key, key): value for key, value in call.arguments.items()}
        validator = validators(orjson.dumps(self.declared)).get(name)
        if error := next(validator.iter_errors(made), None) if validator else None:
            raise ItemError("schema", f"{name}: {error.message[:200]}")
        return AgentCall("", name, made)

    def meant(self, name: str, arguments: dict[str, Any]) -> AgentCall:
        for ours, (theirs, spelled) in self.names.items():
            back = {value: key for key, value in spelled.items()}
            if theirs == name and {key for key in arguments if not _TOLD.fullmatch(key)} <= back.keys():
                return AgentCall("", ours, {back[key]: value for key, value in arguments.items() if key in back})
        raise ItemError("no-tool", name)


def shell_form(call: AgentCall) -> str | None:
    asked = {key: shlex.quote(str(value)) for key, value in call.arguments.items()}
    if call.name == "read":
        first = call.arguments.get("offset", 1)
        return f"cat -n {asked['path']} | sed -n '{first},{first + call.arguments.get('limit', 200) - 1}p'"
    if call.name == "grep":
        return f"grep -rnE --exclude-dir=.git {asked['pattern']} {asked.get('path', '.')}"
    if call.name == "glob":
        return f"find . -name {asked['pattern']} -not -path './.git/*'"
    return str(call.arguments["command"]) if call.name == "bash" else None


def _arguments(tool: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What a tool takes, and what of it must be there."""
    schema = values.table(tool["function"].get("parameters"))
    must = schema.get("required")
    names = must if isinstance(must, list) else []
    return values.table(schema.get("properties")), [name for name in names if isinstance(name, str)]


def of_file(path: Path) -> Toolset:
    """The tools of a listing or of sessions. Raises SourceError where they have no shell, or the file has no tools."""
    try:
        data = path.read_bytes()
        try:
            listings = [orjson.loads(data)]
        except orjson.JSONDecodeError:
            listings = [orjson.loads(line) for line in data.splitlines() if line.strip()]
    except (OSError, orjson.JSONDecodeError) as error:
        raise SourceError("cannot be read", where=path, value=error, hint=_LISTING) from None
    declared: dict[str, dict[str, Any]] = {}
    for listing in listings:
        if refusal := values.table(listing).get("error"):
            told = values.table(refusal).get("message", refusal)
            what = "the server answered with an error and lists no tools"
            raise SourceError(what, where=path, value=told, hint=_LISTING)
        for key in ("result", "tools"):
            listing = values.table(listing).get(key, listing)
        declared |= {tool["function"]["name"]: tool for tool in envelopes(listing)}
    tools = Toolset([*declared.values()])
    if "bash" not in tools.names:
        value = ", ".join(declared) or "no tools"
        raise SourceError("no tool that runs a command", where=path, value=value, hint=_LISTING)
    return tools


def envelopes(tools: Any) -> list[dict[str, Any]]:
    """Declared tools in OpenAI's shape, whether they had the envelope, Anthropic's or MCP's schema, or neither."""
    found = []
    for tool in values.tables(tools):
        function = values.table(tool.get("function", tool))
        if isinstance(function.get("name"), str):
            schemas = (function.get(key) for key in ("parameters", "input_schema", "inputSchema"))
            parameters = next((schema for schema in schemas if isinstance(schema, dict)), {})
            plain = {"name": function["name"], "description": str(function.get("description") or "")}
            found.append({"type": "function", "function": {**plain, "parameters": parameters}})
    return found


@lru_cache(maxsize=512)
def validators(tools: bytes) -> dict[str, Any]:
    """{tool: its validator} of tools as JSON, None where a schema is none by itself. Rows share their tools."""

    def refused(uri: str) -> Any:
        """A schema is outside data: what it refers to is no file of this machine, and no address to ask."""
        raise ValueError(uri)

    found: dict[str, Any] = {}
    for tool in values.tables(orjson.loads(tools)):
        function = values.table(tool.get("function"))
        if isinstance(function.get("name"), str):
            found[function["name"]] = None
            with suppress(ValueError, TypeError):
                schema = function.get("parameters") or {}
                found[function["name"]] = jsonschema_rs.validator_for(schema, retriever=refused)
    return found
