"""A Hub on loopback: dataset repositories whose tree, revisions and files are served as the real one serves them.

    with LoopbackHub() as hub:
        hub.add("someone/rollouts", {"data/train-00000.parquet": some_bytes})
        environment = hub.environment

Served: `GET /api/datasets/{id}[/revision/{rev}]`, `GET /api/datasets/{id}/tree/{rev}` in pages, and `HEAD` / `GET
/datasets/{id}/resolve/{rev}/{path}`, which redirects to another host as the real one does to its CDN, where ranges are
honoured. `refuse` makes the next requests answer 429 with the headers of the real rate limiter.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

TREE_PAGE = 8  # a small page, so that paging is always exercised


@dataclass
class Repository:
    """One dataset: the files of its only commit, and who may read it."""

    files: dict[str, Path | bytes]
    sha: str
    token: str = ""

    def open(self, path: str) -> BinaryIO:
        file = self.files[path]
        return BytesIO(file) if isinstance(file, bytes) else file.open("rb")

    def size(self, path: str) -> int:
        file = self.files[path]
        return len(file) if isinstance(file, bytes) else file.stat().st_size

    def etag(self, path: str) -> str:
        return hashlib.sha256(f"{self.sha} {path}".encode()).hexdigest()


@dataclass
class LoopbackHub:
    """The server; a context manager."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    """Method and path of every request, in order."""
    refusals: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    cuts: list[str] = field(default_factory=list)

    def __enter__(self) -> LoopbackHub:
        hub = self

        class Handler(_Handler):
            served_by = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to take this for the Hub."""
        return {"HF_ENDPOINT": self.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}

    def add(self, dataset: str, files: dict[str, Path | bytes], token: str = "") -> str:
        """Serve a dataset; its commit sha."""
        sha = hashlib.sha1(f"{dataset} {sorted(files)}".encode()).hexdigest()
        self.repositories[dataset] = Repository(files, sha, token)
        return sha

    def refuse(self, path: str, headers: dict[str, str]) -> None:
        """Answer 429 to the next request whose path contains `path`. Call it again for a second refusal."""
        self.refusals.append((path, headers))

    def cut(self, path: str) -> None:
        """Break the connection half-way through the next download of `path`."""
        self.cuts.append(path)

    def downloads(self) -> Counter[str]:
        """How often the content of each file was sent."""
        return Counter(line.partition("?path=")[2] for line in self.requests if line.startswith("GET /cdn/"))


class _Handler(BaseHTTPRequestHandler):
    served_by: LoopbackHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or a body waits 40 ms for the receipt of its head

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, parts = self.served_by, urlsplit(self.path)
        hub.requests.append(f"{self.command} {unquote(self.path)}")
        for refusal in hub.refusals:
            if refusal[0] in unquote(self.path):
                hub.refusals.remove(refusal)
                return self.reply(429, {"error": "rate limit"}, refusal[1])
        path = unquote(parts.path)
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            return self.info(match[1], match[2] or "main")
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)", path):
            return self.tree(match[1], match[2], int(parse_qs(parts.query).get("cursor", ["0"])[0]))
        if match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.resolve(*match.groups())
        if match := re.fullmatch(r"/cdn/([^/]+/[^/]+)", path):
            return self.content(match[1], parse_qs(parts.query)["path"][0])
        return self.reply(404, {"error": "not found"})

    def repository(self, dataset: str, revision: str) -> Repository | None:
        """The repository, or None after the answer that says why not."""
        found = self.served_by.repositories.get(dataset)
        if found is None or (found.token and self.headers.get("Authorization") != f"Bearer {found.token}"):
            self.reply(401 if found else 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        if revision not in ("main", found.sha):
            self.reply(404, {"error": f"Invalid rev id: {revision}"}, {"X-Error-Code": "RevisionNotFound"})
            return None
        return found

    def info(self, dataset: str, revision: str) -> None:
        if repository := self.repository(dataset, revision):
            siblings = [{"rfilename": path} for path in repository.files]
            self.reply(200, {"_id": "0", "id": dataset, "sha": repository.sha, "private": False, "siblings": siblings})

    def tree(self, dataset: str, revision: str, start: int) -> None:
        repository = self.repository(dataset, revision)
        if repository is None:
            return
        entries = [{"type": "directory", "path": "data", "oid": "0" * 40}] if start == 0 else []
        paths = sorted(repository.files)
        for path in paths[start : start + TREE_PAGE]:
            size, etag = repository.size(path), repository.etag(path)
            lfs = {"oid": etag, "size": size, "pointerSize": 134}
            entries.append({"type": "file", "path": path, "size": size, "oid": etag[:40], "lfs": lfs})
        following = f"{self.served_by.url}/api/datasets/{dataset}/tree/{revision}?recursive=True&cursor="
        more = start + TREE_PAGE < len(paths)
        self.reply(200, entries, {"Link": f'<{following}{start + TREE_PAGE}>; rel="next"'} if more else {})

    def resolve(self, dataset: str, revision: str, path: str) -> None:
        repository = self.repository(dataset, revision)
        if repository is None:
            return
        if path not in repository.files:
            self.reply(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        headers = {
            "Location": f"http://localhost:{self.served_by.server.server_port}/cdn/{dataset}?path={path}",
            "X-Repo-Commit": repository.sha,
            "X-Linked-Etag": f'"{repository.etag(path)}"',
            "X-Linked-Size": str(repository.size(path)),
        }
        self.send(302, b"", headers)

    def content(self, dataset: str, path: str) -> None:
        repository = self.served_by.repositories[dataset]
        size = repository.size(path)
        start, end, status = 0, size, 200
        headers = {"ETag": f'"{repository.etag(path)}"', "Accept-Ranges": "bytes"}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start, end, status = int(asked[1]), int(asked[2] or size - 1) + 1, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self.begin(status, end - start, headers)
        if self.command == "HEAD":
            return
        if path in self.served_by.cuts:
            self.served_by.cuts.remove(path)
            self.close_connection = True
            end = start + (end - start) // 2
        with repository.open(path) as file:
            if isinstance(file, BytesIO):
                self.wfile.write(file.getvalue()[start:end])
            else:  # the kernel sends a large file: reading it here took a tenth of the machine that the bench measures
                self.connection.sendfile(file, start, end - start)

    def reply(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send(status, body, {"Content-Type": "application/json", **(headers or {})})

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.begin(status, len(body), headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def begin(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
