"""Tools of a user's own agent: read from a listing, called by their names, with the shell for what they lack."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from duel.conversation.model import AgentCall
from duel.errors import ItemError, SourceError
from duel.execution.executor import Start
from duel.scaling.agent_tools import Toolset, of_file, ours
from duel.scaling.row_checks import validators
from tests.scaling.conftest import carried_out


def listing(path: Path, shape: str = "mcp") -> Path:
    def tool(name: str, required: str, **properties: str) -> dict[str, Any]:
        typed = {key: {"type": kind} for key, kind in properties.items()}
        schema = {"type": "object", "properties": typed, "required": required.split(), "additionalProperties": False}
        return {"name": name, "description": "", {"mcp": "inputSchema"}.get(shape, "parameters"): schema}

    tools = [
        tool("Read", "file_path", file_path="string", offset="integer", limit="integer"),
        tool("Bash", "command description", command="string", description="string"),
        tool("StrReplace", "path old_str new_str", path="string", old_str="string", new_str="string"),
        tool("web_search", "query", query="string"),
    ]
    rows = {"mcp": {"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}, "rows": {"id": "s", "tools": tools}}
    path.write_text(json.dumps(rows.get(shape, tools)) + ("\n" + json.dumps(rows["rows"]) if shape == "rows" else ""))
    return path


@pytest.mark.parametrize("shape", ["mcp", "list", "rows"])
def test_a_listing_says_what_our_tools_are_called_there(tmp_path: Path, shape: str) -> None:
    tools = of_file(listing(tmp_path / "tools.json", shape))
    assert tools.spoken(AgentCall("", "read", {"path": "a.py", "limit": 3})) == AgentCall(
        "", "Read", {"file_path": "a.py", "limit": 3}
    )
    assert tools.spoken(AgentCall("", "bash", {"command": "ls"})).arguments == {"command": "ls", "description": "bash"}
    assert tools.meant("Bash", {"command": "ls", "description": "x"}) == AgentCall("", "bash", {"command": "ls"})
    assert [tool["function"]["name"] for tool in tools.declared] == ["Read", "Bash", "StrReplace", "web_search"]


def test_what_the_tools_cannot_do_the_shell_does_or_the_plan_is_left_out(tmp_path: Path) -> None:
    tools = of_file(listing(tmp_path / "tools.json"))
    edit = AgentCall("", "edit", {"path": "a", "old": "b", "new": "c"})
    assert tools.adapted(AgentCall("", "glob", {"pattern": "x y.py"})).arguments == {
        "command": "find . -name 'x y.py' -not -path './.git/*'"
    }
    assert tools.adapted(edit) == edit and tools.spoken(edit).name == "StrReplace"
    with pytest.raises(ItemError, match="edit"):
        tools.adapted(AgentCall("", "edit", {**edit.arguments, "all": True}))


def test_rows_call_the_tools_of_the_listing_and_fit_their_schemas(
    tmp_path: Path,
    mirrors: Path,
    shop: Start,
) -> None:
    made, _ = carried_out(mirrors, shop, 8, of_file(listing(tmp_path / "tools.json")))
    calls = [(row, call) for row in made for call in row.calls()]
    assert {call.name for _, call in calls} >= {"Read", "Bash"}
    for row, call in calls:
        assert not [*validators(json.dumps(row.tools).encode())[call.name].iter_errors(call.arguments)]


def test_our_own_tools_are_called_by_their_names() -> None:
    call = AgentCall("", "grep", {"pattern": "x", "path": "src"})
    assert Toolset().spoken(call) == Toolset().adapted(call) == Toolset().meant("grep", call.arguments) == call
    assert len(ours()) == 5


def test_an_error_of_the_server_is_told_in_its_words(tmp_path: Path) -> None:
    answer = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "Method not found: tools/list"}}
    (tmp_path / "tools.json").write_text(json.dumps(answer))
    with pytest.raises(SourceError, match="Method not found"):
        of_file(tmp_path / "tools.json")


DAMAGED = json.dumps([{"name": "bash", "parameters": {"required": None, "properties": []}}, {"name": 3}, None])


@pytest.mark.parametrize("text", ["", "{", '{"tools": []}', '[{"name": "read"}]', "3", "null", DAMAGED])
def test_a_file_without_a_shell_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "tools.json").write_text(text)
    with pytest.raises(SourceError, match=r"tools\.json"):
        of_file(tmp_path / "tools.json")


def test_a_schema_of_somebody_else_reads_no_file_and_asks_no_address(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('{"type": "object"}')
    asked: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        refers = {"file": (tmp_path / "own.json").as_uri(), "address": f"http://127.0.0.1:{server.server_port}/x.json"}
        tools = [{"function": {"name": name, "parameters": {"$ref": uri}}} for name, uri in refers.items()]
        found = validators(json.dumps(tools).encode())
        server.shutdown()
    assert (found, asked) == ({"file": None, "address": None}, [])
