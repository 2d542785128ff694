"""Uploads, against a Hub on loopback that speaks the real protocol."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from huggingface_hub import constants

from duel.workspace import Workspace

# The library's own, where it uploads a large file.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
TOKEN = "hf_madeUpTokenOfThisTest"


@dataclass
class Hub:
    """What the stand-in knows and what it was told."""

    private: dict[str, bool] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    refuse: int = 0
    makes_public: bool = False
    url: str = ""


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or a body waits 40 ms for the receipt of its head

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, body: object, status: int = 200, **headers: str) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.calls.append(f"{self.command} {self.path.split('?')[0]}")
            if self.headers.get("Authorization"):
                state.tokens.add(self.headers["Authorization"])
            parts = self.path.split("?")[0].strip("/").split("/")
            if self.command == "PUT":
                state.blobs[parts[-1]] = body
                return self.answer({})
            if self.path == "/api/repos/create":
                return self.create(json.loads(body))
            if self.path == "/api/validate-yaml":
                return self.answer({"errors": [], "warnings": []})
            if parts[-1] == "batch":
                return self.batch(json.loads(body))
            if "preupload" in parts:
                return self.preupload(json.loads(body))
            if "commit" in parts:
                return self.commit(body)
            if self.path.endswith("/verify"):
                return self.answer({})
            return self.info("/".join(parts[2:4]))

        do_GET = do_POST = do_PUT = handle_any  # noqa: N815 - the server's own names

        def create(self, asked: dict[str, Any]) -> None:
            if state.refuse:
                return self.answer({"error": f"token {TOKEN} may not do this"}, state.refuse)
            name = f"{asked.get('organization')}/{asked['name']}"
            private = asked.get("visibility") == "private" or asked.get("private") is True
            state.private[name] = private and not state.makes_public
            return self.answer({"url": f"{state.url}/datasets/{name}", "name": name, "id": name})

        def info(self, name: str) -> None:
            if name not in state.private:
                return self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
            return self.answer(
                {"id": name, "private": state.private[name], "sha": "a" * 40, "tags": [], "siblings": []}
            )

        def preupload(self, asked: dict[str, Any]) -> None:
            modes = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith(".parquet") else "regular",
                    "shouldIgnore": False,
                }
                for f in asked["files"]
            ]
            return self.answer({"files": modes})

        def batch(self, asked: dict[str, Any]) -> None:
            def actions(identity: str) -> dict[str, Any]:
                return {"upload": {"href": f"{state.url}/blob/{identity}"}, "verify": {"href": f"{state.url}/verify"}}

            objects = [{**one, "actions": actions(one["oid"])} for one in asked["objects"]]
            return self.answer({"transfer": "basic", "objects": objects})

        def commit(self, body: bytes) -> None:
            for line in body.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "file":
                    state.files[value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    state.files[value["path"]] = state.blobs[value["oid"]]
            url = f"{state.url}/datasets/ann/turns/commit/{'b' * 40}"
            return self.answer({"success": True, "commitOid": "b" * 40, "commitUrl": url, "hookOutput": ""})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def push(
    script: Callable[..., Any], workspace: Workspace, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """`duel export --push` with the stand-in as the Hub; what the library reads from the environment is set as read."""

    def call(*flags: str, code: int, hub_url: str = hub.url, **env: str) -> Any:
        read = {"ENDPOINT": hub_url, "HF_HUB_DISABLE_XET": True, "HF_HUB_OFFLINE": False}
        for name, value in read.items():
            monkeypatch.setattr(constants, name, value)
        words = ("--workspace", workspace.root, "--push", "ann/turns", *flags)
        done = script("export", *words, code=code, **{"HF_TOKEN": TOKEN, **env})
        assert TOKEN not in done.out + done.err
        return done

    return call


def test_a_process_reads_where_the_hub_is_from_its_environment(
    program: Callable[..., Any], workspace: Workspace, hub: Hub
) -> None:
    env = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN}
    done = program("export", "--workspace", workspace.root, "--push", "ann/turns", code=0, **env)
    assert TOKEN not in done.out + done.err
    assert hub.private == {"ann/turns": True} and "README.md" in hub.files


def test_a_push_makes_a_private_repository_with_every_file(
    push: Callable[..., Any], hub: Hub, workspace: Workspace
) -> None:
    done = push(code=0)
    assert f"{hub.url}/datasets/ann/turns/commit/" in done.out
    assert hub.private == {"ann/turns": True}
    folder = workspace.root / "export"
    written = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert hub.files == written
    assert hub.tokens == {f"Bearer {TOKEN}"}


def test_public_must_be_asked_for(push: Callable[..., Any], hub: Hub) -> None:
    push("--public", code=0)
    assert hub.private == {"ann/turns": False}


def test_an_existing_repository_is_not_overwritten_without_a_yes(push: Callable[..., Any], hub: Hub) -> None:
    hub.private["ann/turns"] = True
    assert "--yes" in push(code=2).err
    assert hub.files == {}
    push("--yes", code=0)
    assert "README.md" in hub.files


def test_a_public_repository_never_gets_what_should_be_private(push: Callable[..., Any], hub: Hub) -> None:
    hub.private["ann/turns"] = False
    assert "is public, and a private one was asked for" in push("--yes", code=2).err
    hub.private.clear()
    hub.makes_public = True
    assert "made the repository public" in push(code=2).err
    assert hub.files == {}


def test_a_refusal_tells_what_to_do_and_never_the_token(push: Callable[..., Any], hub: Hub) -> None:
    hub.refuse = 403
    done = push(code=2)
    assert "the Hub refused the upload" in done.err
    assert "write access" in done.err


def test_without_a_token_nothing_is_asked(push: Callable[..., Any], hub: Hub) -> None:
    assert "HF_TOKEN" in push(code=2, HF_TOKEN="").err
    assert hub.calls == []
    assert "owner/name" in push("--push", "no name", code=2).err


def test_a_hub_that_does_not_answer_is_told_plainly(push: Callable[..., Any], workspace: Workspace) -> None:
    done = push(code=2, hub_url="http://127.0.0.1:9")
    assert "the Hub refused the upload" in done.err
    assert (workspace.root / "export" / "manifest.json").exists()
